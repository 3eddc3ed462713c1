//! Under which names S3 is asked here, and which of them name a bucket: a client that has the bucket in `Host` and is taken for one
//! that has it in the path would make buckets of keys, and delete buckets where it means objects.
//!
//! What can be told apart by a name alone:
//!
//! | Host | |
//! |---|---|
//! | an IP address, a name of one label, `localhost`, the node's own name | the bucket is in the path |
//! | a name of `[r2] host` | the bucket is in the path |
//! | below a name of `[r2] host`, below `localhost` | the bucket is what is before it |
//! | a name of two labels, without `[r2] host` | an endpoint's, such as `s3.internal`: the bucket is in the path |
//! | any other | may begin with a bucket's name, and is refused |

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Request, StatusCode, Version, header};
use proxima_chassis::NODE_DOMAIN;
use proxima_model::NodeName;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    host::{S3Host, VirtualHost},
};

/// A name of this machine's own, and all below it are (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";
/// Labels of the longest name that is an endpoint's where nobody has said which one is: with a bucket before one, there were more.
const UNNAMED_LABELS_MAX: usize = 2;

/// The names under which S3 is asked here. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hosts {
    /// `[r2] host`. None lies below another, so that each bucket's host is below one of them.
    endpoints: Arc<[String]>,
    /// The name in the node's own certificate.
    own: Arc<str>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// All buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

impl Hosts {
    /// Of a node, with buckets as hosts below each of `endpoints`.
    pub(crate) fn new(endpoints: &[String], node: &NodeName) -> Self {
        let endpoints = endpoints.iter().map(|host| name_of(host)).collect();
        Self { endpoints, own: format!("{}.{NODE_DOMAIN}", node.as_str()).to_ascii_lowercase().into() }
    }

    /// The bucket that a host names, if it names one.
    fn bucket_in(&self, given: &str) -> S3Result<Option<String>> {
        if given.parse::<SocketAddr>().is_ok() || given.parse::<IpAddr>().is_ok() {
            return Ok(None);
        }
        let name = name_of(given);
        let labels = name.split('.').count();
        if labels == 1 || name.starts_with('[') || name == *self.own {
            return Ok(None);
        }
        for endpoint in self.endpoints.iter().map(String::as_str).chain([LOCALHOST]) {
            match name.strip_suffix(endpoint) {
                Some("") => return Ok(None),
                Some(before) if before.ends_with('.') => {
                    return Ok(Some(before.trim_end_matches('.').to_owned()));
                }
                _ => {}
            }
        }
        if self.endpoints.is_empty() && labels <= UNNAMED_LABELS_MAX {
            return Ok(None);
        }
        let what = match &*self.endpoints {
            [] => "whose name this is nobody has said here, it may begin with a bucket's".to_owned(),
            endpoints => format!("S3 is asked at {} here", endpoints.join(", ")),
        };
        let told = format!(
            "Host: {what}: have your client use path style, at an IP address or a name of one label, or have `[r2] host` of \
             node.toml name the endpoint, which both styles may then use"
        );
        let mut refusal = S3Error::with_message(S3ErrorCode::InvalidRequest, told);
        refusal.set_status_code(StatusCode::BAD_REQUEST);
        Err(refusal)
    }

    /// The bucket that a request names by its host, if it does.
    pub(super) fn bucket_of<B>(&self, request: &Request<B>) -> S3Result<Option<String>> {
        self.bucket_in(given(request))
    }

    /// What a request is about, as `s3s` reads it.
    pub(super) fn level<B>(&self, request: &Request<B>) -> S3Result<Level> {
        let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let path = path.strip_prefix('/').unwrap_or_default();
        Ok(match (self.bucket_of(request)?, path.split_once('/')) {
            (Some(_), _) if path.is_empty() => Level::Bucket,
            (Some(_), _) => Level::Object,
            (None, _) if path.is_empty() => Level::Service,
            (None, None | Some((_, ""))) => Level::Bucket,
            (None, Some(_)) => Level::Object,
        })
    }
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let told = VirtualHost::new(host);
        Ok(match self.bucket_in(host)? {
            Some(bucket) => told.with_bucket(bucket),
            None => told,
        })
    }
}

/// A host without its port, as it is compared.
pub(crate) fn name_of(given: &str) -> String {
    let name = match given.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => given,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The host of a request, where `s3s` finds it.
fn given<B>(request: &Request<B>) -> &str {
    let field = request.headers().get(header::HOST).map(|value| value.to_str().unwrap_or_default());
    let authority = request.uri().authority().filter(|_| request.version() >= Version::HTTP_2);
    field.or_else(|| authority.map(http::uri::Authority::as_str)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Those of a node `fra1`.
    pub(in crate::s3) fn hosts(endpoints: &[&str]) -> Hosts {
        let endpoints: Vec<_> = endpoints.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(&endpoints, &NodeName::parse("fra1").unwrap())
    }

    #[test]
    fn a_name_is_an_endpoints_or_a_buckets_or_refused() {
        let refused = || Err(());
        let bucket = |name: &str| Ok(Some(name.to_owned()));
        let none: &[&str] = &[];
        let configured: &[&str] = &["S3.example.com:9000"];
        let both: &[&str] = &["s3.corp.example", "s3.example.com", "as3.corp.example", "below.localhost"];
        for (host, given, expected) in [
            (none, "", Ok(None)),
            (none, "127.0.0.1:9000", Ok(None)),
            (none, "192.0.2.1", Ok(None)),
            (none, "[::1]:9000", Ok(None)),
            (none, "[::1]", Ok(None)),
            (none, "::1", Ok(None)),
            (none, "proxima:9000", Ok(None)),
            (none, "localhost:9000", Ok(None)),
            (none, "photos.localhost:9000", bucket("photos")),
            (none, "PHOTOS.LocalHost.", bucket("photos")),
            (none, "photoslocalhost", Ok(None)),
            (none, "s3.internal:9000", Ok(None)),
            (none, "fra1.node.internal:9000", Ok(None)),
            (none, "photos.fra1.node.internal", refused()),
            (none, "photos.s3.internal", refused()),
            (none, "s3.example.com", refused()),
            (configured, "s3.example.com", Ok(None)),
            (configured, "s3.example.com.:443", Ok(None)),
            (configured, "photos.S3.example.com:9000", bucket("photos")),
            (configured, "photos.localhost", bucket("photos")),
            (configured, "127.0.0.1:9000", Ok(None)),
            (configured, "proxima", Ok(None)),
            (configured, "fra1.node.internal", Ok(None)),
            (configured, "photoss3.example.com", refused()),
            (configured, "s3.internal", refused()),
            (configured, "example.com", refused()),
            (both, "s3.corp.example", Ok(None)),
            (both, "S3.Example.com:443", Ok(None)),
            (both, "as3.corp.example", Ok(None)),
            (both, "below.localhost", Ok(None)),
            (both, "photos.s3.corp.example:9000", bucket("photos")),
            (both, "photos.s3.example.com", bucket("photos")),
            (both, "photos.as3.corp.example", bucket("photos")),
            (both, "photos.below.localhost", bucket("photos")),
            (both, "a.photos.s3.example.com", bucket("a.photos")),
            (both, "photos.localhost", bucket("photos")),
            (both, "corp.example", refused()),
            (both, "photos.s3.corp.example.com", refused()),
            (both, "s3.internal", refused()),
        ] {
            let told = hosts(host).bucket_in(given);
            if let Err(refusal) = &told {
                let message = refusal.message().unwrap_or_default();
                assert!(message.contains("path style") && message.contains("[r2] host"), "{message}");
                assert_eq!(refusal.status_code(), Some(StatusCode::BAD_REQUEST));
            }
            assert_eq!(told.map_err(drop), expected, "{given} with {host:?}");
        }
    }

    #[test]
    fn what_a_request_is_about_is_told_by_host_and_path() {
        use Level::{Bucket, Object, Service};
        for (given, path, expected) in [
            ("127.0.0.1", "/", Service),
            ("127.0.0.1", "/b", Bucket),
            ("127.0.0.1", "/b/", Bucket),
            ("127.0.0.1", "/b/k", Object),
            ("127.0.0.1", "/b//", Object),
            ("127.0.0.1", "/b%2Fk", Object),
            ("127.0.0.1", "//k", Object),
            ("b.localhost", "/", Bucket),
            ("b.localhost", "/k", Object),
            ("b.localhost", "//", Object),
        ] {
            let request = Request::builder().uri(path).header("host", given).body(()).unwrap();
            assert_eq!(hosts(&[]).level(&request).unwrap(), expected, "{given} {path}");
        }
        let request =
            Request::builder().version(Version::HTTP_2).uri("http://b.localhost/k").body(()).unwrap();
        assert_eq!(hosts(&[]).level(&request).unwrap(), Object);
        let request = Request::builder().uri("/k").header("host", "b.s3.example.com").body(()).unwrap();
        assert!(hosts(&[]).level(&request).is_err());
    }
}
