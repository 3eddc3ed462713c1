//! What of a request's head is refused before `s3s` sees it, and so before anything of the body is read.
//!
//! * What `s3s` would take that is not offered here: forms, whose files it gathers in memory before it looks at their signature,
//!   and every way of signing but AWS4-HMAC-SHA256.
//! * What is not signed at all, but for preflights.
//! * What is not signed and would be believed: whoever has a URL that was signed for one upload must not make a copy of another
//!   object of it, by a field that its signer never saw. So every `x-amz-` field and `Host`, which may name the bucket, is signed.
//! * What is asked of a host that may begin with a bucket's name, or may not: that is told by [`Hosts`].
//! * What is not offered and said by a field, or by a parameter, that `s3s` passes over.

use http::{HeaderMap, Method, Request, StatusCode, header};
use s3s::{S3Error, S3ErrorCode};

use super::{error::not_offered, hoisted::Hoisted, hosts::Hosts, shapes};

/// For how many seconds a URL may be signed; what S3 takes: a week.
const EXPIRES_SECONDS_MAX: i64 = 604_800;
/// The one way of signing.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The type of a form that brings a file.
const FORM: &[u8] = b"multipart/form-data";
/// The fields whose names begin so say what is done, and are signed.
const SIGNED_PREFIX: &str = "x-amz-";

/// Refuses it before anything of it is read; or tells which fields stand in its query, to be put beside those that it has.
pub(super) fn check<B>(request: &Request<B>, hosts: &Hosts) -> Result<HeaderMap, S3Error> {
    let headers = request.headers();
    if request.method() == Method::POST && headers.get_all(header::CONTENT_TYPE).iter().any(is_form) {
        return Err(not_offered("uploading by forms"));
    }
    let query = Query::of(request.uri().query().unwrap_or_default());
    let authorization = headers.get(header::AUTHORIZATION).map(|_| text(headers, &header::AUTHORIZATION));
    let is_other = authorization.is_some_and(|value| !value.trim_start().starts_with(ALGORITHM));
    if is_other || query.has("Signature") || query.has("AWSAccessKeyId") {
        let what = "this way of signing is not offered: have your client sign by AWS4-HMAC-SHA256, which is version 4";
        return Err(refusal(S3ErrorCode::InvalidRequest, what));
    }
    let signed = match (query.has("X-Amz-Signature"), authorization) {
        (true, Some(_)) => {
            return Err(refusal(
                S3ErrorCode::InvalidRequest,
                "sign by the query or by Authorization, not by both",
            ));
        }
        (true, None) => {
            check_expires(query.get("X-Amz-Expires"))?;
            query.get("X-Amz-SignedHeaders").unwrap_or_default()
        }
        (false, Some(authorization)) => {
            let parts = authorization.split([',', ' ']).map(str::trim);
            parts.filter_map(|part| part.strip_prefix("SignedHeaders=")).next().unwrap_or_default()
        }
        // Browsers sign no preflight.
        (false, None) if request.method() == Method::OPTIONS => return Ok(HeaderMap::new()),
        (false, None) => return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "sign the request")),
    };
    let is_signed = |name: &str| signed.split(';').any(|one| one.eq_ignore_ascii_case(name));
    check_signed(headers, is_signed)?;
    let level = hosts.level(request)?;
    check_offered(headers, &query)?;
    let method = request.method();
    // Of what is asked for by a preflight, nothing is done.
    if method == Method::OPTIONS {
        return Ok(HeaderMap::new());
    }
    let is_url = query.has("X-Amz-Signature");
    let hoisted = if is_url { Hoisted::of(method, level, &query) } else { Hoisted::none() };
    check_lost(method, &query, &hoisted)?;
    shapes::check(method, level, &query)?;
    hoisted.read(&query, headers, is_signed)
}

/// Compared as octets: `s3s` takes parameters that are not ASCII.
fn is_form(content_type: &http::HeaderValue) -> bool {
    let given = content_type.as_bytes().trim_ascii_start().get(..FORM.len());
    given.is_some_and(|given| given.eq_ignore_ascii_case(FORM))
}

/// What would be lost if it were passed over, and its owner would rely on. Some clients write fields into the query of a URL that
/// they sign.
fn check_offered(headers: &HeaderMap, query: &Query) -> Result<(), S3Error> {
    let has = |name: &str, taken: &[&str]| {
        let given = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        given.chain(query.fields(name)).any(|value| !taken.contains(&value))
    };
    if has("x-amz-acl", &["private", "bucket-owner-full-control"]) {
        return Err(not_offered("who may reach an object is said by tokens: an access control list"));
    }
    let is_grant = |name: &str| name.to_ascii_lowercase().starts_with("x-amz-grant-");
    if headers.keys().any(|name| is_grant(name.as_str())) || query.names().any(is_grant) {
        return Err(not_offered("who may reach an object is said by tokens: a grant"));
    }
    if has("x-amz-server-side-encryption", &["AES256"]) {
        return Err(not_offered("encryption with keys of another service"));
    }
    if has("x-amz-website-redirect-location", &[]) {
        return Err(not_offered("a redirect in an object's place"));
    }
    if has("x-amz-rename-source", &[]) {
        return Err(not_offered("renaming an object"));
    }
    Ok(())
}

/// Fields that may stand in a query and are not taken from it: those of the signature, those that are read there, and those that say
/// nothing more. The values of some were looked at before.
const IN_QUERIES: [&str; 13] = [
    "x-amz-acl",
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expected-bucket-owner",
    "x-amz-expires",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-server-side-encryption",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-source-expected-bucket-owner",
];
/// The same: digests, which are compared where they are fields, and what a client calls itself.
const PREFIXES_IN_QUERIES: [&str; 2] = ["x-amz-checksum-", "x-amz-user-agent"];

/// Whatever else is written there, and is not taken for a field, would be lost: what is known of an object, where it is appended; and
/// from where it is copied, whatever is asked for.
fn check_lost(method: &Method, query: &Query, hoisted: &Hoisted) -> Result<(), S3Error> {
    let writes = [Method::PUT, Method::POST].contains(method);
    let is_lost = |name: &str| {
        let name = name.to_ascii_lowercase();
        let may_be = IN_QUERIES.contains(&name.as_str())
            || PREFIXES_IN_QUERIES.iter().any(|prefix| name.starts_with(prefix));
        name.starts_with(SIGNED_PREFIX)
            && (writes && !may_be || name == "x-amz-copy-source")
            && !hoisted.has(&name)
    };
    query.names().find(|name| is_lost(name)).map_or(Ok(()), |name| {
        let name: String = name.chars().take(64).collect();
        Err(not_offered(&format!("{name} in this query (sign it as a field of the request, and send it so)")))
    })
}

/// Every field that says what is done is signed.
fn check_signed(headers: &HeaderMap, is_signed: impl Fn(&str) -> bool) -> Result<(), S3Error> {
    let mut unsigned = headers.keys().map(header::HeaderName::as_str);
    let unsigned = unsigned.find(|name| name.starts_with(SIGNED_PREFIX) && !is_signed(name));
    let unsigned = unsigned.or_else(|| (!is_signed("host")).then_some("host"));
    unsigned.map_or(Ok(()), |name| {
        let what = format!("a field of the request is not signed, and has to be: {name}");
        Err(S3Error::with_message(S3ErrorCode::AccessDenied, what))
    })
}

/// A URL is signed for a week at the most. Whether its time has passed, `s3s` looks at.
fn check_expires(seconds: Option<&str>) -> Result<(), S3Error> {
    let seconds = seconds.and_then(|text| text.parse::<i64>().ok());
    if seconds.is_some_and(|seconds| (1..=EXPIRES_SECONDS_MAX).contains(&seconds)) {
        return Ok(());
    }
    let what = format!("X-Amz-Expires: give 1 to {EXPIRES_SECONDS_MAX} seconds");
    Err(refusal(S3ErrorCode::AuthorizationQueryParametersError, what))
}

fn refusal(code: S3ErrorCode, what: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    let mut refusal = S3Error::with_message(code, what);
    refusal.set_status_code(StatusCode::BAD_REQUEST);
    refusal
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A query as `s3s` reads it: names are decoded, too, so that none is overlooked for how it is written.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(text: &str) -> Self {
        let decoded = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What stands here of a field of the request, in whatever case.
    pub(super) fn fields(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::hosts::tests::hosts, *};

    fn refused(method: Method, uri: &str, fields: &[(&str, &str)]) -> Option<(String, String)> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let error = check(&request.body(()).unwrap(), &hosts(&[])).err()?;
        Some((error.code().as_str().to_owned(), error.message().unwrap_or_default().to_owned()))
    }

    fn code(method: Method, uri: &str, fields: &[(&str, &str)]) -> Option<String> {
        refused(method, uri, fields).map(|(code, _)| code)
    }

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=k/20260101/auto/s3/aws4_request, \
                          SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=s";

    #[test]
    fn forms_and_other_signatures_are_refused_however_they_are_written() {
        let form = [("content-type", "Multipart/Form-Data; boundary=x")];
        assert_eq!(code(Method::POST, "/b", &form).as_deref(), Some("NotImplemented"));
        // Of octets beyond ASCII `s3s` reads the type all the same.
        let form = [("content-type", "multipart/form-data; boundary=x; a=\"\u{e9}\"")];
        assert_eq!(code(Method::POST, "/b", &form).as_deref(), Some("NotImplemented"));
        let put = code(Method::PUT, "/b/k?X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=s", &form);
        assert_eq!(put, None, "an object may be one");
        for value in ["AWS k:s", "Bearer x", "AWS4-ECDSA-P256-SHA256 x", ""] {
            let refused = refused(Method::GET, "/b", &[("authorization", value)]).unwrap();
            assert!(refused.0 == "InvalidRequest" && refused.1.contains("AWS4-HMAC-SHA256"), "{refused:?}");
        }
        for query in
            ["AWSAccessKeyId=k&Expires=1&Signature=s", "%41WSAccessKeyId=k", "a=b&Signatur%65=s", "Signature"]
        {
            let uri = format!("/b/k?{query}");
            assert_eq!(code(Method::GET, &uri, &[]).as_deref(), Some("InvalidRequest"), "{query}");
        }
        let both = [("authorization", SIGNED)];
        assert_eq!(code(Method::GET, "/b/k?X-Amz-Signature=s", &both).as_deref(), Some("InvalidRequest"));
        assert_eq!(code(Method::GET, "/b/k?list-type=2", &[]).as_deref(), Some("AccessDenied"));
        assert_eq!(code(Method::OPTIONS, "/b/k", &[]), None, "a preflight is not signed");
    }

    #[test]
    fn a_field_that_says_what_is_done_is_signed() {
        let dated = ("x-amz-date", "20260101T000000Z");
        let head = |more: &[(&str, &str)]| {
            let fields = [&[("authorization", SIGNED), dated], more].concat();
            refused(Method::PUT, "/b/k", &fields)
        };
        assert_eq!(head(&[]), None);
        assert_eq!(head(&[("content-type", "text/x"), ("if-none-match", "*")]), None);
        let signed = SIGNED.replace("x-amz-date", "x-amz-acl;x-amz-date");
        for (acl, is_taken) in [("private", true), ("public-read", false)] {
            let fields = [("authorization", signed.as_str()), dated, ("x-amz-acl", acl)];
            let told = code(Method::PUT, "/b/k", &fields);
            assert_eq!(told.as_deref(), (!is_taken).then_some("NotImplemented"), "{acl}");
        }
        for name in ["x-amz-copy-source", "X-Amz-Meta-A", "x-amz-storage-class", "x-amz-security-token"] {
            let (code, told) = head(&[(name, "x")]).expect(name);
            assert!(code == "AccessDenied" && told.contains(&name.to_ascii_lowercase()), "{told}");
        }
        let url = "/b/k?X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-amz-meta-a&X-Amz-Signature=s";
        assert_eq!(code(Method::PUT, url, &[("x-amz-meta-a", "x")]), None);
        for url in [url.to_owned(), url.replace("X-Amz-Sig", "X%2DAmz-Sig")] {
            let refused = refused(Method::PUT, &url, &[("x-amz-copy-source", "/b/other")]);
            assert_eq!(refused.unwrap().0, "AccessDenied", "{url}");
        }
        let hostless = url.replace("host%3B", "");
        assert_eq!(refused(Method::PUT, &hostless, &[]).unwrap().1.rsplit(' ').next(), Some("host"));
    }

    #[test]
    fn what_is_not_offered_is_refused_wherever_it_is_said() {
        let url = "/b/k?X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=s";
        assert_eq!(code(Method::PUT, url, &[]), None);
        for more in [
            "x-amz-acl=private",
            "x-id=PutObject",
            "x-amz-checksum-crc32=AAAAAA%3D%3D",
            "X-Amz-User-Agent=a",
            "x-amz-meta-a=1",
            "X-Amz-Storage-Class=STANDARD_IA",
            "x-amz-copy-source=%2Fb%2Fother",
        ] {
            assert_eq!(code(Method::PUT, &format!("{url}&{more}"), &[]), None, "{more}");
        }
        assert_eq!(code(Method::GET, &format!("{url}&x-amz-meta-a=1"), &[]), None, "nothing is kept by that");
        for more in [
            "x-amz-acl=public-read",
            "X-Amz-Acl=public-read",
            "x-amz-grant-read=id%3Da",
            "x-amz-acl=private&X-Amz-Acl=public-read",
            "x-amz-meta-a=1&partNumber=1&uploadId=u",
            "x-amz-server-side-encryption-customer-algorithm=AES256",
            "x-amz-rename-source=%2Fb%2Fother",
            "x-amz-server-side-encryption=aws%3Akms",
            "annotation",
            "renameObject",
            "x-amz-write-offset-bytes=3",
        ] {
            let told = code(Method::PUT, &format!("{url}&{more}"), &[]);
            assert_eq!(told.as_deref(), Some("NotImplemented"), "{more}");
        }
        for more in ["x-amz-meta-a=1", "x-amz-storage-class=STANDARD_IA", "X-Amz-Copy-Source=%2Fb%2Fother"] {
            let told = code(Method::PUT, &format!("/b/k?{more}"), &[("authorization", SIGNED)]);
            assert_eq!(told.as_deref(), Some("NotImplemented"), "{more} where fields are signed");
            let told = code(Method::PUT, &format!("/b/k?{more}"), &[]);
            assert_eq!(told.as_deref(), Some("AccessDenied"), "{more} where nothing is");
        }
        let copied = code(Method::GET, &format!("{url}&x-amz-copy-source=%2Fb%2Fother"), &[]);
        assert_eq!(copied.as_deref(), Some("NotImplemented"), "nothing is copied by that");
        assert_eq!(
            code(Method::OPTIONS, &format!("{url}&annotation&x-amz-copy-source=a&x-amz-meta-a=%00"), &[]),
            None,
            "a preflight does nothing"
        );
        let signed = SIGNED.replace("x-amz-date", "x-amz-date;x-amz-rename-source");
        let fields = [("authorization", signed.as_str()), ("x-amz-rename-source", "/b/other")];
        assert_eq!(code(Method::PUT, "/b/k", &fields).as_deref(), Some("NotImplemented"));
        let elsewhere = [("authorization", SIGNED), ("host", "b.s3.example.com")];
        let (code, told) = refused(Method::PUT, "/k", &elsewhere).unwrap();
        assert!(code == "InvalidRequest" && told.contains("[r2] host"), "{told}");
    }

    #[test]
    fn a_url_is_signed_for_a_week_at_the_most() {
        for (seconds, is_taken) in [
            ("1", true),
            ("604800", true),
            ("604801", false),
            ("0", false),
            ("-1", false),
            ("4294967295", false),
            ("x", false),
        ] {
            let url = format!("/b/k?X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host&X-Amz-Signature=s");
            let told = code(Method::GET, &url, &[]);
            let expected = (!is_taken).then_some("AuthorizationQueryParametersError");
            assert_eq!(told.as_deref(), expected, "{seconds}");
        }
        let without = "/b/k?X-Amz-SignedHeaders=host&X-Amz-Signature=s";
        assert!(code(Method::GET, without, &[]).is_some());
    }
}
