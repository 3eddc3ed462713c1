//! Which coding a client gets (RFC 9110, 12.5.3).

use http::{HeaderMap, HeaderValue, header};
use proxima_pipeline::{
    Exchange,
    lists::{WEIGHT_MAX, members, members_of, weight},
};

use crate::fields;

/// A content coding that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// GZIP (RFC 1952).
    Gzip,
}

impl Coding {
    /// The order among those that a client likes alike: zstd costs least by far for its size; brotli costs as much as gzip,
    /// and where it is kept it is smaller (see [`crate::encoder`]).
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// As `Content-Encoding` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The value of `Content-Encoding`.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Zstd => 0,
            Self::Br => 1,
            Self::Gzip => 2,
        }
    }
}

/// What a request says of codings: their weights, in thousandths.
#[derive(Debug, Default)]
struct Accepted {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    others: Option<u16>,
}

impl Accepted {
    /// Reads all members. One that is malformed says nothing; one that comes again is read as it came first.
    fn read<'a>(members: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut accepted = Self::default();
        for member in members {
            let mut parts = member.split(|octet| *octet == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = weight_among(parts) else { continue };
            if let Some(said) = accepted.of(name) {
                said.get_or_insert(weight);
            }
        }
        accepted
    }

    /// The coding that is liked best, out of those that are `offered`.
    fn best(&self, offered: impl Fn(Coding) -> bool) -> Option<Coding> {
        let of = |coding: Coding| self.codings[coding.index()].or(self.others).unwrap_or(0);
        let mut best = None;
        let mut quality = 0;
        for coding in Coding::ALL.into_iter().filter(|coding| offered(*coding)) {
            if of(coding) > quality {
                (best, quality) = (Some(coding), of(coding));
            }
        }
        // Said to be liked better than any coding: then it is.
        best.filter(|_| self.identity.is_none_or(|identity| identity <= quality))
    }

    fn of(&mut self, name: &[u8]) -> Option<&mut Option<u16>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("identity") {
            return Some(&mut self.identity);
        }
        if name == b"*" {
            return Some(&mut self.others);
        }
        // RFC 9110, 8.4.1.3: x-gzip is gzip.
        let known = |coding: &Coding| is(coding.name()) || (*coding == Coding::Gzip && is("x-gzip"));
        Coding::ALL.into_iter().find(known).map(|coding| &mut self.codings[coding.index()])
    }
}

/// The `q` among parameters; 1 if there is none, `None` if it is malformed.
fn weight_among<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    for parameter in parameters {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            return weight(value);
        }
    }
    Some(WEIGHT_MAX)
}

/// The coding that a request wants, out of those that are `offered`; `None`: the content as it is. A request that says
/// nothing gets it as it is, although it might get anything: who understands codings says so. So does one that forbids
/// all that there is, `identity` included: an answer is better than none.
pub fn negotiate(request: &HeaderMap, offered: impl Fn(Coding) -> bool) -> Option<Coding> {
    if !request.contains_key(header::ACCEPT_ENCODING) {
        return None;
    }
    Accepted::read(members(request, &header::ACCEPT_ENCODING)).best(offered)
}

/// The same for a request of which that one line is known; `None` if it has none.
pub fn negotiate_line(line: Option<&[u8]>, offered: impl Fn(Coding) -> bool) -> Option<Coding> {
    Accepted::read(members_of(line?)).best(offered)
}

/// The coding for a request, with or without brotli, as its zone has it (`brotli` in its settings); none if the request
/// forbids that anything be transformed.
pub fn wanted(exchange: &Exchange) -> Option<Coding> {
    let request = &exchange.request.headers;
    let brotli = exchange.site.as_ref().is_some_and(|site| site.zone.settings.brotli);
    let coding = negotiate(request, |coding| coding != Coding::Br || brotli)?;
    (!fields::forbids_transforming(request)).then_some(coding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepting(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| (header::ACCEPT_ENCODING, HeaderValue::from_str(line).expect("a value")))
            .collect()
    }

    #[test]
    fn the_best_liked_coding_is_chosen_and_of_equals_the_first_of_ours() {
        for (line, expected) in [
            ("", None),
            ("identity", None),
            ("deflate, compress", None),
            ("gzip", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            ("gzip, deflate, br", Some(Coding::Br)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip;q=1.0, br;q=0.5, zstd;q=0.499", Some(Coding::Gzip)),
            ("gzip ; q=0.3 , br ;Q=0.7", Some(Coding::Br)),
            ("gzip;q=0", None),
            ("gzip;q=0.000, br", Some(Coding::Br)),
            ("*", Some(Coding::Zstd)),
            ("*;q=0", None),
            ("zstd;q=0, *", Some(Coding::Br)),
            ("zstd;q=0, br;q=0, gzip;q=0, *", None),
            ("gzip, *;q=0", Some(Coding::Gzip)),
            ("identity;q=0", None),
            ("identity;q=0, *;q=0", None),
            ("identity;q=0, gzip;q=0.1", Some(Coding::Gzip)),
            ("identity;q=1, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some(Coding::Gzip)),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            ("gzip;q=x, br", Some(Coding::Br)),
            ("gzip;q=0, gzip", None),
        ] {
            assert_eq!(negotiate(&accepting(&[line]), |_| true), expected, "{line}");
            assert_eq!(negotiate_line(Some(line.as_bytes()), |_| true), expected, "{line}");
        }
        assert_eq!(negotiate_line(None, |_| true), None);
        assert_eq!(negotiate(&HeaderMap::new(), |_| true), None);
        assert_eq!(
            negotiate(&accepting(&["gzip", "br"]), |_| true),
            Some(Coding::Br),
            "two lines are one list"
        );
        let without_brotli = |coding| coding != Coding::Br;
        assert_eq!(negotiate(&accepting(&["br, gzip;q=0.1"]), without_brotli), Some(Coding::Gzip));
    }

    proptest! {
        #[test]
        fn whatever_is_said_nothing_panics(line in "[ -~]{0,64}") {
            negotiate(&accepting(&[&line]), |_| true);
        }

        #[test]
        fn no_coding_is_chosen_that_another_beats(q in proptest::collection::vec(0_u16..=1_000, 5)) {
            let names = ["zstd", "br", "gzip", "identity", "*"];
            let written = |q: u16| format!("{}.{:03}", q / 1_000, q % 1_000);
            let members: Vec<String> =
                names.iter().zip(&q).map(|(name, q)| format!("{name};q={}", written(*q))).collect();
            match negotiate(&accepting(&[&members.join(",")]), |_| true) {
                Some(coding) => {
                    let chosen = q[coding.index()];
                    prop_assert!(chosen > 0 && q[..4].iter().all(|other| *other <= chosen));
                    prop_assert!(q[..coding.index()].iter().all(|earlier| *earlier < chosen));
                }
                None => prop_assert!(q[..3].iter().all(|coding| *coding == 0 || *coding < q[3])),
            }
        }
    }
}
