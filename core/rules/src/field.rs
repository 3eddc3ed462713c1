//! The fields: what a request is asked for. Only what the edge can really tell is here.

use std::fmt;

use crate::limits::PROPOSALS_MAX;

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $id:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in expressions.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }
        }
    };
}

named! {
    /// Fields of text.
    Text {
        /// The host asked for: lower case, without port.
        Host = "http.host",
        /// The method.
        Method = "http.request.method",
        /// Path and query.
        Uri = "http.request.uri",
        /// The path, as the client wrote it.
        Path = "http.request.uri.path",
        /// What follows the last dot of the path's last segment, in lower case.
        Extension = "http.request.uri.path.extension",
        /// What follows the first `?`.
        Query = "http.request.uri.query",
        /// Scheme, host, path and query.
        FullUri = "http.request.full_uri",
        /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
        Version = "http.request.version",
        /// The header `cookie`, whole.
        Cookie = "http.cookie",
        /// The header `user-agent`.
        UserAgent = "http.user_agent",
        /// The header `referer`.
        Referer = "http.referer",
        /// The header `x-forwarded-for`, as the client sent it.
        XForwardedFor = "http.x_forwarded_for",
        /// The SHA-256 of the client's certificate, in hexadecimal; empty without one.
        CertFingerprint = "cf.tls_client_auth.cert_fingerprint_sha256",
    }
}

named! {
    /// Fields that are true or false.
    Flag {
        /// Whether the client came by TLS.
        Ssl = "ssl",
        /// Whether the client presented a certificate.
        CertPresented = "cf.tls_client_auth.cert_presented",
        /// Whether it holds for the host asked for.
        CertVerified = "cf.tls_client_auth.cert_verified",
    }
}

named! {
    /// Fields that are integers.
    Number {
        /// Seconds since 1970 when the request came.
        Timestamp = "http.request.timestamp.sec",
    }
}

named! {
    /// Fields that have values under names, several under one name.
    Map {
        /// The headers; names in lower case.
        Headers = "http.request.headers",
        /// The cookies.
        Cookies = "http.request.cookies",
        /// The arguments of the query, not decoded.
        Args = "http.request.uri.args",
    }
}

named! {
    /// Fields that are lists of text.
    Listing {
        /// Names of headers, in lower case, each once.
        HeaderNames = "http.request.headers.names",
        /// Values of headers.
        HeaderValues = "http.request.headers.values",
        /// Names of arguments.
        ArgNames = "http.request.uri.args.names",
        /// Values of arguments.
        ArgValues = "http.request.uri.args.values",
    }
}

/// A field of any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Text(Text),
    Flag(Flag),
    Number(Number),
    Map(Map),
    Listing(Listing),
    /// `ip.src`: the client's address.
    Address,
}

/// The only field that is an address.
pub(crate) const ADDRESS: &str = "ip.src";

impl Field {
    fn all() -> impl Iterator<Item = Self> {
        let text = Text::ALL.iter().copied().map(Self::Text);
        let flags = Flag::ALL.iter().copied().map(Self::Flag);
        let numbers = Number::ALL.iter().copied().map(Self::Number);
        let maps = Map::ALL.iter().copied().map(Self::Map);
        let listings = Listing::ALL.iter().copied().map(Self::Listing);
        text.chain(flags).chain(numbers).chain(maps).chain(listings).chain([Self::Address])
    }

    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Text(field) => field.id(),
            Self::Flag(field) => field.id(),
            Self::Number(field) => field.id(),
            Self::Map(field) => field.id(),
            Self::Listing(field) => field.id(),
            Self::Address => ADDRESS,
        }
    }

    pub(crate) fn by_id(id: &str) -> Option<Self> {
        Self::all().find(|field| field.id() == id)
    }

    /// The names that are nearest to one that does not exist.
    pub(crate) fn near(id: &str) -> Vec<&'static str> {
        let mut all: Vec<_> = Self::all().map(|field| (distance(id, field.id()), field.id())).collect();
        all.sort_unstable();
        all.into_iter().take(PROPOSALS_MAX).map(|(_, id)| id).collect()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// How many octets have to be put in, taken out or changed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (at, right) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
