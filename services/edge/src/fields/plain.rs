//! Requests of HTTP/2 that are answered as they were decoded: what can be said of their fields without making a head of them.

use proxima_http1::{PlainRequest, is_field_value, is_token, plain};
use proxima_pipeline::Scheme;

use super::{FieldError, FieldList, RequestFields, head::is_padded};

/// Octets of a request line of HTTP/1.1 by GET beside its target, and of the empty line behind the fields.
const LINE_OCTETS: usize = "GET  HTTP/1.1\r\n\r\n".len();
/// Octets of a field line of HTTP/1.1 beside its name and value.
const FIELD_OCTETS: usize = ": \r\n".len();
/// What joins the pieces in which cookies come.
const COOKIE_JOINT: usize = "; ".len();

/// A plain request, as by HTTP/1.1: a GET for a path, of one host in its usual spelling, without body and with none of the
/// fields that mean something to anybody; and what its client says of how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainFields<'a> {
    pub(crate) request: PlainRequest<'a>,
    /// `priority` (RFC 9218, 5).
    pub(crate) priority: Option<&'a [u8]>,
}

/// The pseudo-header fields, each there once (RFC 9113, 8.3.1).
#[derive(Default)]
struct Pseudo<'a> {
    is_get: bool,
    is_of_scheme: bool,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
}

impl<'a> Pseudo<'a> {
    fn set(&mut self, name: &[u8], value: &'a [u8], scheme: Scheme) -> Option<()> {
        match name {
            b":method" if !self.is_get => self.is_get = value == b"GET",
            b":scheme" if !self.is_of_scheme => self.is_of_scheme = value == scheme.name().as_bytes(),
            b":authority" if self.authority.is_none() => self.authority = Some(value),
            b":path" if self.path.is_none() => self.path = Some(value),
            _ => return None,
        }
        Some(())
    }
}

impl FieldList {
    /// The request, if it is a plain one; `heeded` says which fields mean something to those behind us. Then the head that
    /// [begins](Self::begun) with them says the same.
    pub(crate) fn plain(&self, scheme: Scheme, heeded: impl Fn(&[u8]) -> bool) -> Option<PlainFields<'_>> {
        let mut pseudo = Pseudo::default();
        let (mut accept_encoding, mut priority) = (None, None);
        let (mut bytes, mut fields_begun, mut has_cookies) = (LINE_OCTETS, false, false);
        for (name, value) in self.iter() {
            if name.first() == Some(&b':') {
                (!fields_begun).then(|| pseudo.set(name, value, scheme))??;
                continue;
            }
            fields_begun = true;
            let odd = name.iter().any(|octet| octet.is_ascii_uppercase() || *octet == b'_');
            if odd || !is_token(name) || !is_field_value(value) || is_padded(value) {
                return None;
            }
            match name {
                b"accept-encoding" if accept_encoding.is_none() => accept_encoding = Some(value),
                // It means something on this connection only, wherever it is heeded besides.
                b"priority" if !heeded(name) => priority = priority.or(Some(value)),
                b"host" | b"connection" | b"accept-encoding" => return None,
                _ if plain::is_of_the_connection(name) || heeded(name) => return None,
                b"cookie" if std::mem::replace(&mut has_cookies, true) => {
                    bytes += COOKIE_JOINT + value.len();
                    continue;
                }
                _ => {}
            }
            bytes += name.len() + value.len() + FIELD_OCTETS;
        }
        let target = pseudo.path.filter(|path| plain::is_target(path))?;
        if !pseudo.is_get || !pseudo.is_of_scheme {
            return None;
        }
        let authority = pseudo.authority?;
        let (host, port) = plain::place(authority, scheme.default_port())?;
        bytes += target.len() + "host".len() + authority.len() + FIELD_OCTETS;
        let target = std::str::from_utf8(target).ok()?;
        let request = PlainRequest { host, port, target, accept_encoding, bytes: bytes as u64 };
        Some(PlainFields { request, priority })
    }

    /// What a head begins with these fields.
    ///
    /// # Errors
    /// [`FieldError::Malformed`], if none does.
    pub(crate) fn begun(&self) -> Result<RequestFields, FieldError> {
        let mut head = RequestFields::default();
        self.iter().try_for_each(|(name, value)| head.add(name, value))?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Version};
    use proptest::prelude::*;
    use proxima_http1::Host;

    use super::*;

    fn heeded(name: &[u8]) -> bool {
        name == b"range"
    }

    /// Looks at fields both ways; both must say the same. Whether they are plain.
    fn look(fields: &[(&str, &str)]) -> bool {
        let mut list = FieldList::default();
        fields.iter().for_each(|(name, value)| list.push(name.as_bytes(), value.as_bytes()));
        let Some(PlainFields { request, priority }) = list.plain(Scheme::Https, heeded) else { return false };
        let head =
            list.begun().and_then(|head| head.finish(Version::HTTP_2)).expect("what is plain is well-formed");
        assert_eq!((head.method(), head.uri().scheme_str()), (&Method::GET, Some("https")));
        let authority = head.uri().authority().expect("it has one").as_str();
        let host = Host::parse(&bytes::Bytes::copy_from_slice(authority.as_bytes())).expect("a host");
        assert_eq!((host.name(), host.port()), (request.host, request.port));
        assert_eq!(head.uri().path_and_query().map(|target| target.as_str()), Some(request.target));
        let headers = head.headers();
        let first = |name: &str| headers.get(name).map(|value| value.as_bytes());
        assert_eq!((first("accept-encoding"), first("priority")), (request.accept_encoding, priority));
        assert!(headers.get_all("accept-encoding").iter().count() <= 1);
        assert!(!headers.keys().any(|name| heeded(name.as_str().as_bytes())));
        true
    }

    const PSEUDO: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/a?b")];

    #[test]
    fn a_get_for_one_host_in_its_usual_spelling_is_plain() {
        for more in [
            &[][..],
            &[("accept-encoding", "gzip, br"), ("cookie", "a=b"), ("cookie", "c"), ("user-agent", "x")],
            &[("priority", "u=1, i"), ("accept", "text/html"), ("accept", "*/*"), ("empty", "")],
        ] {
            assert!(look(&[&PSEUDO[..], more].concat()), "{more:?}");
        }
        for (place, value) in
            [(2, "a.example:8443"), (2, "x_y.example"), (3, "//a"), (3, "/a/b.css?x=%20&y=@")]
        {
            let mut fields = PSEUDO;
            fields[place].1 = value;
            assert!(look(&fields), "{fields:?}");
        }
        for more in [
            ("host", "a.example"),
            ("connection", "keep-alive"),
            ("te", "trailers"),
            ("content-length", "0"),
            ("expect", "100-continue"),
            ("range", "bytes=0-"),
            ("x_y", "1"),
            ("X", "1"),
            ("x", " 1"),
            ("x", "1\t"),
            ("x", "\u{7f}"),
            ("x y", "1"),
            ("", "1"),
            (":path", "/"),
            (":protocol", "websocket"),
        ] {
            assert!(!look(&[&PSEUDO[..], &[more]].concat()), "{more:?}");
        }
        for (place, value) in
            [(0, "HEAD"), (1, "http"), (2, "A.example"), (2, "a:443"), (2, ""), (3, "*"), (3, "")]
        {
            let mut fields = PSEUDO;
            fields[place].1 = value;
            assert!(!look(&fields), "{fields:?}");
        }
        for field in PSEUDO {
            let without: Vec<_> = PSEUDO.into_iter().filter(|other| *other != field).collect();
            assert!(!look(&without) && !look(&[&PSEUDO[..], &[field]].concat()), "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_said_of_fields_is_what_is_in_them(
            method in proptest::sample::select(&["GET", "GET", "GET", "POST"][..]),
            scheme in proptest::sample::select(&["https", "https", "https", "http"][..]),
            authority in proptest::sample::select(&[
                "a", "a.example:8443", "x_y.example", "1.2.3.4", "a.", "a@b", "a..b", "a:443", "a:0", "[::1]", "a%41",
            ][..]),
            path in proptest::sample::select(&["/", "/a?b=%20", "/~;,d!$'()*+:@", "//a", "a", "/#", "/a b", "/{", "*"][..]),
            order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
            other in proptest::option::weighted(0.1, (0..4_usize, any::<bool>())),
            fields in proptest::collection::vec(proptest::sample::select(&[
                ("accept", "x"), ("accept-encoding", "gzip"), ("accept-encoding", ""), ("cookie", "a"), ("cookie", "b"),
                ("priority", "u=1"), ("priority", "i"), ("host", "a"), ("range", "x"), ("x-y", "1"), ("x-\u{e9}", "1"),
                ("x", "\u{e9}"), ("x", "\r\n"), ("upgrade", "x"), ("keep-alive", "1"), (":path", "/"),
            ][..]), 0..6),
        ) {
            let all = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
            let mut pseudo: Vec<_> = order.iter().map(|place| all[*place]).collect();
            match other {
                Some((place, true)) => pseudo.push(pseudo[place]),
                Some((place, false)) => {
                    pseudo.remove(place);
                }
                None => {}
            }
            look(&[&pseudo[..], &fields].concat());
        }
    }
}
