//! What expressions mean, and what is refused.

use std::{borrow::Cow, net::IpAddr, ops::ControlFlow};

use proptest::prelude::*;
use proxima_rules::{Expression, Flag, Listing, Map, Number, ParseError, Request, Text, limits};

/// A request as a table.
struct Asked;

const HEADERS: [(&str, &[&str]); 3] = [
    ("accept", &["text/html", "application/json"]),
    ("user-agent", &["Mozilla/5.0 (X11)"]),
    ("cookie", &["session=abc; theme=dark"]),
];
const ARGS: [(&str, &[&str]); 2] = [("a", &["1", "2"]), ("q", &["x y"])];

fn table(map: Map) -> &'static [(&'static str, &'static [&'static str])] {
    match map {
        Map::Headers => &HEADERS,
        Map::Args => &ARGS,
        Map::Cookies => &[("session", &["abc"]), ("theme", &["dark"])],
    }
}

fn show(texts: impl IntoIterator<Item = &'static str>, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
    for text in texts {
        if see(text.as_bytes()).is_break() {
            return;
        }
    }
}

impl Request for Asked {
    fn text(&self, field: Text) -> Cow<'_, [u8]> {
        Cow::Borrowed(match field {
            Text::Host => b"www.example.com",
            Text::Method => b"GET",
            Text::Uri => b"/a/B.JPG?a=1&q=x%20y&a=2",
            Text::Path => b"/a/B.JPG",
            Text::Extension => b"jpg",
            Text::Query => b"a=1&q=x%20y&a=2",
            Text::FullUri => b"https://www.example.com/a/B.JPG?a=1&q=x%20y&a=2",
            Text::Version => b"HTTP/2",
            Text::Cookie => b"session=abc; theme=dark",
            Text::UserAgent => b"Mozilla/5.0 (X11)",
            Text::Referer | Text::XForwardedFor => b"",
            Text::CertFingerprint => b"af363d",
        })
    }

    fn flag(&self, _: Flag) -> bool {
        true
    }

    fn number(&self, _: Number) -> i64 {
        1_700_000_000
    }

    fn address(&self) -> IpAddr {
        "::ffff:192.0.2.7".parse().expect("an address")
    }

    fn values(&self, map: Map, name: &[u8], see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let found = table(map).iter().find(|(known, _)| known.as_bytes() == name);
        show(found.map_or(&[][..], |(_, values)| values).iter().copied(), see);
    }

    fn listing(&self, listing: Listing, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        match listing {
            Listing::HeaderNames => show(HEADERS.iter().map(|(name, _)| *name), see),
            Listing::ArgNames => show(ARGS.iter().map(|(name, _)| *name), see),
            Listing::HeaderValues => show(HEADERS.iter().flat_map(|(_, values)| values.iter().copied()), see),
            Listing::ArgValues => show(ARGS.iter().flat_map(|(_, values)| values.iter().copied()), see),
        }
    }
}

fn parse(text: &str) -> Expression {
    Expression::parse(text).unwrap_or_else(|error| panic!("{}", error.pointed(text)))
}

#[test]
fn what_holds_holds_and_its_negation_does_not() {
    for text in [
        "true",
        "http.host eq \"www.example.com\"",
        "http.host == \"www.example.com\"",
        "http.host ne \"WWW.example.com\"",
        "http.host contains \"example\"",
        "http.host matches r\"^www\\.\"",
        "http.host ~ \"^www\\\\.example\\\\.(com|net)$\"",
        "http.request.uri.path ~ r#\"^/a/[A-Z\"]\"#",
        "http.request.method in {\"GET\" \"HEAD\"}",
        "not http.request.method in {\"POST\"}",
        "!(http.request.method == \"POST\")",
        "http.request.uri.path wildcard \"/A/*.jpg\"",
        "http.request.uri.path strict wildcard \"/a/*\"",
        "not http.request.uri.path strict wildcard \"/A/*\"",
        "http.request.full_uri wildcard \"http*://*.example.com/*\"",
        "http.request.uri.path wildcard \"/a/b.jpg\"",
        "not http.request.uri.path wildcard r\"/a/\\*\"",
        "http.request.uri.path lt \"/b\" and http.request.uri.path ge \"/a\"",
        "ssl",
        "cf.tls_client_auth.cert_presented and cf.tls_client_auth.cert_verified",
        "cf.tls_client_auth.cert_fingerprint_sha256 eq \"af363d\"",
        "ip.src eq 192.0.2.7",
        "ip.src ne 192.0.2.8",
        "ip.src in {10.0.0.0/8 192.0.2.0/24}",
        "ip.src in {192.0.2.1..192.0.2.9}",
        "not ip.src in {2001:db8::/32 ::1}",
        "http.request.timestamp.sec gt 1600000000",
        "http.request.timestamp.sec in {1..2 1700000000}",
        "len(http.host) eq 15",
        "len(http.request.uri.args[\"a\"]) == 2",
        "len(http.request.headers.names) le 3",
        "lower(http.request.uri.path) eq \"/a/b.jpg\"",
        "upper(http.host) contains \"EXAMPLE\"",
        "concat(http.host, \":\", lower(http.request.method)) eq \"www.example.com:get\"",
        "starts_with(http.request.uri.path, \"/a/\") and ends_with(http.request.uri.path, \".JPG\")",
        "any(http.request.headers[\"accept\"][*] contains \"json\")",
        "all(http.request.headers[\"accept\"][*] contains \"/\")",
        "not all(http.request.headers[\"accept\"][*] contains \"json\")",
        "not all(http.request.headers[\"none\"][*] contains \"\")",
        "any(lower(http.request.headers.names[*])[*] eq \"accept\")",
        "any(starts_with(http.request.uri.args.values[*], \"x\"))",
        "any(http.request.uri.args.names[*] in {\"q\"})",
        "any(concat(\"<\", http.request.headers.values[*], \">\") eq \"<text/html>\")",
        "http.request.headers[\"accept\"][1] eq \"application/json\"",
        "not http.request.headers[\"accept\"][2] ne \"x\"",
        "http.request.cookies[\"session\"][0] eq \"abc\"",
        "http.cookie contains \"session=\"",
        "http.referer eq \"\"",
        "http.request.version eq \"HTTP/2\" && http.request.uri.path.extension eq \"jpg\"",
        // Tighter before looser: not, and, xor, or.
        "true or true and false",
        "true xor false and false",
        "true or true xor true",
        "not false and true",
        "not (true and false)",
        "true ^^ false ^^ false",
        "false || true",
        "http.host eq \"\\x77ww.example\\056com\"",
        " ( ( true ) ) ",
        "http.request.uri\n  contains\t\"?\"",
    ] {
        let expression = parse(text);
        assert!(expression.holds(&Asked), "{text}");
        assert!(!parse(&format!("not ({text})")).holds(&Asked), "not ({text})");
        assert_eq!(parse(&expression.to_string()), expression, "{expression}");
    }
}

#[test]
fn an_error_says_where_and_what_to_do() {
    for (text, line, column, words) in [
        ("", 1, 1, "a field or a function"),
        ("http.hsot eq \"x\"", 1, 1, "http.host"),
        ("true and\n  http.hots eq \"x\"", 2, 3, "near it are http.host"),
        ("http.host eq www", 1, 14, "put it into quotes"),
        ("http.host", 1, 10, "an operator for text"),
        ("http.host eq \"x", 1, 14, "does not end"),
        ("http.host eq r\"x", 1, 14, "does not end"),
        ("http.host matches \"a\\.b\"", 1, 21, "raw string"),
        ("http.host matches \"(\"", 1, 19, "no regular expression"),
        ("http.host matches \"(a{1000}){1000}\"", 1, 19, "no regular expression"),
        ("http.host matches \"(?=a)\"", 1, 19, "look-around"),
        ("http.host in {\"a\", \"b\"}", 1, 18, "use spaces"),
        ("http.host in {}", 1, 16, "empty"),
        ("http.host in {\"a\"", 1, 18, "does not end"),
        ("ip.src in $office", 1, 11, "do not exist yet"),
        ("ip.src eq \"192.0.2.1\"", 1, 11, "without quotes"),
        ("ip.src lt 192.0.2.1", 1, 8, "for addresses"),
        ("ip.src in {192.0.2.9..192.0.2.1}", 1, 12, "range is empty"),
        ("len(http.host) eq \"x\"", 1, 19, "an integer"),
        ("len(http.host) contains \"x\"", 1, 16, "for integers"),
        ("ssl eq true", 1, 5, "true or false"),
        ("(true", 1, 6, "`)` is missing"),
        ("true)", 1, 5, "should end here"),
        ("true and", 1, 9, "a field or a function"),
        ("\"a\" eq \"a\"", 1, 1, "a constant"),
        ("http.request.headers eq \"x\"", 1, 22, "name what is wanted"),
        ("http.request.headers[\"Accept\"][0] eq \"x\"", 1, 22, "lower case"),
        ("http.request.headers[\"accept\"] eq \"x\"", 1, 1, "is a list"),
        ("http.request.headers[\"accept\"][*] eq \"x\"", 1, 1, "any(…)"),
        ("any(http.host eq \"x\")", 1, 5, "goes over no list"),
        ("http.host wildcard \"**\"", 1, 20, "side by side"),
        ("http.host wildcard r\"\\a\"", 1, 20, "backslash"),
        ("cidr(ip.src, 24, 64) eq 192.0.2.0", 1, 1, "there is no function cidr"),
        (
            "any(concat(http.request.headers.names[*], http.request.headers.values[*]) eq \"x\")",
            1,
            12,
            "only one",
        ),
        ("http.host eq \"ä\" §", 1, 18, "begins nothing"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
        let caret = error.pointed(text).lines().nth(1).and_then(|line| line.find('^'));
        assert_eq!(caret, Some(column - 1), "{}", error.pointed(text));
    }
}

#[test]
fn what_has_no_end_has_a_bound() {
    let nested = |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(limits::NESTING_MAX)).is_ok());
    let set = |members: usize| format!("len(http.host) in {{{}}}", "1 ".repeat(members));
    assert!(Expression::parse(&set(limits::SET_MEMBERS_MAX)).is_ok());
    let regexes = |count| vec!["http.host ~ \"a\""; count].join(" or ");
    assert_eq!(parse(&regexes(limits::REGEXES_MAX)).regexes(), limits::REGEXES_MAX);
    for text in [
        nested(limits::NESTING_MAX + 1),
        "not ".repeat(limits::NESTING_MAX + 1) + "true",
        set(limits::SET_MEMBERS_MAX + 1),
        regexes(limits::REGEXES_MAX + 1),
        format!("concat(http.host{}) eq \"\"", ", http.host".repeat(limits::CONCATENATED_MAX)),
        format!("http.host wildcard \"{}\"", "*a".repeat(limits::WILDCARD_STARS_MAX + 1)),
        format!("http.host eq \"{}\"", "a".repeat(limits::EXPRESSION_OCTETS_MAX)),
    ] {
        assert!(Expression::parse(&text).is_err(), "{text:.60}");
    }
}

/// Expressions of every form, as text.
fn written() -> impl Strategy<Value = String> {
    let literal = || "[ -!#-\\[\\]-~]{0,6}".prop_map(|text| format!("\"{text}\""));
    let value = prop_oneof![
        Just("http.host".to_owned()),
        Just("lower(http.request.uri.path)".to_owned()),
        Just("concat(http.host, \"\\\\\", http.cookie)".to_owned()),
        Just("http.request.headers[\"a\"][3]".to_owned()),
    ];
    let operator = prop_oneof![Just("eq"), Just("ne"), Just("<"), Just(">="), Just("contains")];
    let leaf = prop_oneof![
        (value, operator, literal()).prop_map(|(value, op, text)| format!("{value} {op} {text}")),
        (literal(), literal()).prop_map(|(one, other)| format!("http.host in {{{one} {other}}}")),
        "[a-z*]{0,1}[a-z]{1,4}[*]{0,1}".prop_map(|text| format!("http.host strict wildcard \"{text}\"")),
        (0_i64..99, 0_i64..99)
            .prop_map(|(from, more)| format!("len(http.host) in {{{from}..{}}}", from + more)),
        any::<IpAddr>().prop_map(|address| format!("ip.src in {{{address} 10.0.0.0/8}}")),
        any::<IpAddr>().prop_map(|address| format!("ip.src ne {address}")),
        literal().prop_map(|text| format!("any(upper(http.request.headers.names[*]) eq {text})")),
        Just("ssl".to_owned()),
        Just("false".to_owned()),
        Just("http.host matches r\"^[a\\\"b]+$\"".to_owned()).prop_map(|text| text.replace("\\\"", "")),
    ];
    leaf.prop_recursive(5, 32, 3, |inner| {
        prop_oneof![
            (prop_oneof![Just("and"), Just("or"), Just("xor")], prop::collection::vec(inner.clone(), 2..4))
                .prop_map(|(word, all)| format!("({})", all.join(&format!(" {word} ")))),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} or {b} and {c})")),
            inner.prop_map(|inner| format!("not {inner}")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_and_parsed_as_the_same(text in written()) {
        let parsed = |text: &str| {
            let bounded = |error: &ParseError| error.problem.contains("more than") || error.problem.contains("longer");
            match Expression::parse(text) {
                Err(error) if bounded(&error) => Err(TestCaseError::reject("beyond a bound")),
                parsed => parsed.map_err(|error| TestCaseError::fail(format!("{text}: {error}"))),
            }
        };
        let expression = parsed(&text)?;
        prop_assert_eq!(parsed(&expression.to_string())?, expression);
    }

    #[test]
    fn arbitrary_text_is_parsed_or_refused(text in "\\PC{0,80}|([a-z.\"\\\\*{}\\[\\]()<>=!~ 0-9:/]|and|or|in|http\\.host|\"|any\\(){0,40}") {
        match Expression::parse(&text) {
            Ok(expression) => {
                let shown = expression.to_string();
                prop_assert_eq!(Expression::parse(&shown).ok(), Some(expression.clone()));
                let _held = expression.holds(&Asked);
            }
            Err(error) => {
                let _shown = (error.to_string(), error.pointed(&text));
            }
        }
    }
}
