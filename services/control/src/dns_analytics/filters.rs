//! `filters`: which queries count.
//!
//! ```text
//!  filters   = all *( ( "," / " OR " ) all )
//!  all       = condition *( ( ";" / " AND " ) condition )
//!  condition = dimension ( "==" / "!=" / "<" / ">" / "<=" / ">=" ) value
//! ```
//!
//! A backslash takes from the octet behind it what it would mean here, and stays where it is, as names are written with it.

use std::fmt;

use proxima_model::{excerpt, type_code};
use proxima_pipeline::{QueryComparison, QueryCondition, QueryDimension};

use super::dimension;

/// Conditions of one report: each is looked at for each row.
const CONDITIONS_MAX: usize = 64;

/// Those that are longer first, which begin as the others do.
const OPERATORS: [(&str, QueryComparison); 6] = [
    ("==", QueryComparison::Equal),
    ("!=", QueryComparison::NotEqual),
    ("<=", QueryComparison::LessOrEqual),
    (">=", QueryComparison::GreaterOrEqual),
    ("<", QueryComparison::Less),
    (">", QueryComparison::Greater),
];

/// What was understood: all conditions of any of these hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filters(pub(super) Vec<Vec<QueryCondition>>);

impl Filters {
    /// Reads them, or says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut any_of = Vec::new();
        let mut conditions = 0;
        for all in split(text, ',', " OR ") {
            let all: Vec<&str> = split(all, ';', " AND ");
            conditions += all.len();
            if conditions > CONDITIONS_MAX {
                return Err(format!("there are more than {CONDITIONS_MAX} conditions"));
            }
            any_of.push(all.into_iter().map(condition).collect::<Result<_, _>>()?);
        }
        Ok(Self(any_of))
    }
}

/// As it would be parsed again.
impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, all) in self.0.iter().enumerate() {
            f.write_str(if number > 0 { "," } else { "" })?;
            for (number, QueryCondition { dimension, comparison, value }) in all.iter().enumerate() {
                f.write_str(if number > 0 { ";" } else { "" })?;
                let operator = OPERATORS.iter().find(|(_, known)| known == comparison);
                write!(f, "{}{}{value}", dimension.name(), operator.map_or("", |(text, _)| *text))?;
            }
        }
        Ok(())
    }
}

/// The parts between these signs or words, of which none is behind a backslash.
fn split<'t>(text: &'t str, sign: char, word: &str) -> Vec<&'t str> {
    let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some(next) = text[at..].chars().next() {
        if next == '\\' {
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
            continue;
        }
        let octets = if next == sign {
            sign.len_utf8()
        } else if text[at..].starts_with(word) {
            word.len()
        } else {
            at += next.len_utf8();
            continue;
        };
        parts.push(&text[begin..at]);
        at += octets;
        begin = at;
    }
    parts.push(&text[begin..]);
    parts
}

fn condition(text: &str) -> Result<QueryCondition, String> {
    let text = text.trim();
    let operator = OPERATORS.iter().filter_map(|(operator, comparison)| {
        text.find(operator).map(|at| (at, std::cmp::Reverse(operator.len()), *operator, *comparison))
    });
    let Some((at, _, operator, comparison)) = operator.min_by_key(|(at, length, ..)| (*at, *length)) else {
        return Err(format!(
            "{} is not a dimension, one of == != < > <= >=, and a value",
            excerpt(if text.is_empty() { "nothing" } else { text })
        ));
    };
    let dimension = dimension(text[..at].trim())?;
    let value = text[at + operator.len()..].trim();
    let backslashes = value.len() - value.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        return Err(format!("{} ends with a backslash that nothing follows", excerpt(text)));
    }
    if operator.len() == 1 && value.starts_with('=') {
        return Err(format!("in {} the two signs of an operator are apart", excerpt(text)));
    }
    let value = value_of(dimension, value)?;
    Ok(QueryCondition { dimension, comparison, value })
}

/// A value as the dimension's are written.
fn value_of(dimension: QueryDimension, text: &str) -> Result<String, String> {
    let one_of = |values: &[&str]| match values.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is {}, not {}", dimension.name(), values.join(" or "), excerpt(text))),
    };
    match dimension {
        // In names they are written as numbers.
        QueryDimension::Name if text.contains(char::is_whitespace) => {
            Err(format!("{} is not a name: there is space in it", excerpt(text)))
        }
        QueryDimension::Name => {
            let mut name = text;
            while let Some(rest) = name.strip_suffix('.').filter(|rest| !rest.ends_with('\\')) {
                name = rest;
            }
            Ok(name.to_ascii_lowercase())
        }
        // What has no mnemonic is empty.
        QueryDimension::Type if !text.is_empty() && type_code(text).is_none() => {
            Err(format!("{} is not a type of records", excerpt(text)))
        }
        QueryDimension::ResponseCode | QueryDimension::Colo
            if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_alphanumeric()) =>
        {
            Err(format!("{} is no {}", excerpt(text), dimension.name()))
        }
        QueryDimension::Type | QueryDimension::ResponseCode | QueryDimension::Colo => {
            Ok(text.to_ascii_uppercase())
        }
        QueryDimension::Tcp => one_of(&["0", "1"]),
        QueryDimension::IpVersion => one_of(&["4", "6"]),
        QueryDimension::DayOfWeek => one_of(&["1", "2", "3", "4", "5", "6", "7"]),
    }
}

/// Reads a text as filters; what is read is written and read as the same.
pub(crate) fn exercise(text: &str) {
    match Filters::parse(text) {
        Ok(filters) => {
            let count: usize = filters.0.iter().map(Vec::len).sum();
            assert!((1..=CONDITIONS_MAX).contains(&count) && filters.0.iter().all(|all| !all.is_empty()));
            assert_eq!(Filters::parse(&filters.to_string()).as_ref(), Ok(&filters), "{filters}");
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> String {
        Filters::parse(text).map_or_else(|why| format!("! {why}"), |filters| filters.to_string())
    }

    #[test]
    fn conditions_are_read_as_the_v4_api_writes_them() {
        assert_eq!(parsed("responseCode==noerror"), "responseCode==NOERROR");
        let both = "queryName==WWW.example.com.;queryType!=aaaa,coloName==fra";
        assert_eq!(parsed(both), "queryName==www.example.com;queryType!=AAAA,coloName==FRA");
        assert_eq!(
            parsed("queryType==AAAA AND tcp==1 OR ipVersion >= 6"),
            "queryType==AAAA;tcp==1,ipVersion>=6"
        );
        assert_eq!(parsed("dayOfWeek<6"), "dayOfWeek<6");
        assert_eq!(parsed("queryName==a\\;b\\,c.example"), "queryName==a\\;b\\,c.example");
        assert_eq!(parsed("queryName==a=b==c"), "queryName==a=b==c");
        assert_eq!(parsed("queryType=="), "queryType==");
        assert_eq!(parsed("queryName==a.."), "queryName==a");
        assert_eq!(parsed("queryName==a\\."), "queryName==a\\.");
        assert_eq!(
            Filters::parse("tcp==1;tcp==0,tcp!=1").unwrap().0.iter().map(Vec::len).collect::<Vec<_>>(),
            [2, 1]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "nothing"),
            ("queryName", "queryName"),
            ("queryName=a", "queryName=a"),
            ("queryname==a", "queryname"),
            ("responseTimeAvg>5", "responseTimeAvg"),
            ("origin==a", "not told here"),
            ("queryType==NONSENSE", "NONSENSE"),
            ("tcp==yes", "0 or 1"),
            ("ipVersion==5", "4 or 6"),
            ("dayOfWeek==0", "1 or 2"),
            ("tcp==1,", "nothing"),
            ("tcp==1;;tcp==0", "nothing"),
            ("tcp==1 or tcp==0", "0 or 1"),
            ("queryName==a b", "space"),
            ("queryName==a\\ ;tcp==1", "backslash"),
            ("queryName< =a", "apart"),
            ("responseCode==NO ERROR", "responseCode"),
            ("coloName==", "coloName"),
        ] {
            let why = Filters::parse(text).unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
        let many = vec!["tcp==1"; CONDITIONS_MAX];
        assert!(Filters::parse(&many.join(",")).is_ok());
        assert!(Filters::parse(&[many.join(";"), "tcp==0".to_owned()].join(",")).is_err());
    }

    fn filters() -> impl Strategy<Value = Filters> {
        let value = prop_oneof![
            "[a-z0-9_*.-]{0,20}[a-z0-9]".prop_map(|name| (QueryDimension::Name, name)),
            "(A|AAAA|TXT|HTTPS|)".prop_map(|name| (QueryDimension::Type, name)),
            "[A-Z]{3,10}".prop_map(|name| (QueryDimension::ResponseCode, name)),
            "[0-1]".prop_map(|digit| (QueryDimension::Tcp, digit)),
            "[1-7]".prop_map(|digit| (QueryDimension::DayOfWeek, digit)),
        ];
        let condition = (value, 0..OPERATORS.len()).prop_map(|((dimension, value), operator)| {
            QueryCondition { dimension, comparison: OPERATORS[operator].1, value }
        });
        let all = proptest::collection::vec(condition, 1..5);
        proptest::collection::vec(all, 1..5).prop_map(Filters)
    }

    proptest! {
        #[test]
        fn filters_are_read_as_they_were_written(filters in filters()) {
            prop_assert_eq!(Filters::parse(&filters.to_string()), Ok(filters.clone()));
            let spaced = filters.to_string().replace(';', " AND ").replace(',', " OR ");
            prop_assert_eq!(Filters::parse(&spaced), Ok(filters));
        }

        #[test]
        fn no_text_breaks_them(text in "(queryName|tcp|[=!<>;,\\\\ ]|AND|OR|\\PC){0,60}") {
            exercise(&text);
        }
    }
}
