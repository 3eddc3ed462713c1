//! `[[dns.resolver.locations]]`: places whose clients have a policy of their own, wherever they ask from. The ground for
//! filtering that customers set up for their offices and their people's devices.
//!
//! ```text
//!  https://NAME/dns-query/TOKEN ─┐
//!  https://TOKEN.NAME/dns-query ─┼▶ SHA-256 ─▶ known? ─yes─▶ the token's location, within the token's rate ─┐
//!  TOKEN.NAME over TLS and QUIC ─┘               │ no                                                      │
//!                                                └▶ refused, whatever the address                          ├▶ its policy
//!  no token ─▶ `allow` has the client? ─yes─▶ the location with the longest network that has it ────────────┘
//!                │ no                          └ none ─▶ the first policy whose networks have it
//!                └▶ refused
//! ```
//!
//! A token lets clients in that `allow` does not have: that is what it is for. Networks of a location let nobody in; they say
//! only whose policy it is.
//!
//! Invariants:
//! * **No token is known here, written or told.** The configuration has digests; what a client shows is hashed before it is
//!   compared, so that how long the comparison takes says nothing of any token. A token is random and has at least
//!   [`TOKEN_OCTETS_MIN`] characters, so that no dictionary finds it by its digest.
//! * **A token that is not known is refused,** also where everybody may ask without one.
//! * **A token is one client:** it has a rate, over all transports and addresses, and as many questions may wait for it as for
//!   any client.
//!
//! A name that is asked for by TLS or QUIC stands in the handshake in clear: on its way others see it, and can ask with it. A
//! path does not.
//!
//! Limits: [`LOCATIONS_MAX`], [`TOKENS_MAX`], [`NETWORKS_MAX`], [`RATE_MAX`].

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use serde::Deserialize;

use super::metrics::{LocationMetrics, RecursiveMetrics};
use crate::{
    DnsError,
    asker::{Asker, Shown},
};

/// Locations of a server.
const LOCATIONS_MAX: usize = 1_024;
/// Tokens of a location: one in use and the next, for a few kinds of devices.
const TOKENS_MAX: usize = 16;
/// Networks of a location.
const NETWORKS_MAX: usize = 256;
/// Octets of a token: 80 bits of chance in base 32, and what a label of a name may have.
const TOKEN_OCTETS_MIN: usize = 16;
const TOKEN_OCTETS_MAX: usize = 63;
/// Octets of a location's name: a label.
const NAME_OCTETS_MAX: usize = 63;
/// Questions of one token in a second, unless given: an office of some thousand people.
const RATE_DEFAULT: u32 = 1_000;
/// The highest rate: a question costs a microsecond of the bucket at least.
const RATE_MAX: u32 = 1_000_000;
/// Seconds' worth of questions that may come at once: a page asks for dozens of names.
const BURST_SECONDS: u64 = 2;
/// Octets of a digest.
const DIGEST_OCTETS: usize = 32;

type Digest = [u8; DIGEST_OCTETS];

/// A place whose clients have a policy of their own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocationConfig {
    /// What it is called in metrics and explanations: letters, digits, `-` and `_`.
    pub name: String,
    /// The policy that its clients have, by its name; unless given the one that they would have without it.
    pub policy: String,
    /// From where its clients ask, if they show no token.
    pub networks: Vec<IpNet>,
    /// SHA-256 of the tokens that its clients show, in hexadecimal digits.
    pub tokens: Vec<String>,
    /// Questions in a second with one token, whatever their transport; 0: no limit.
    pub queries_per_second_max: u32,
}

impl Default for LocationConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            policy: String::new(),
            networks: Vec::new(),
            tokens: Vec::new(),
            queries_per_second_max: RATE_DEFAULT,
        }
    }
}

impl LocationConfig {
    /// What the tables alone tell; there are policies of these names.
    pub(crate) fn check(locations: &[Self], policies: &[&str]) -> Result<(), DnsError> {
        if locations.len() > LOCATIONS_MAX {
            return refuse("more than 1024");
        }
        let (mut names, mut networks, mut digests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for location in locations {
            let name = &location.name;
            let is_of_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
            if name.is_empty() || name.len() > NAME_OCTETS_MAX || !name.bytes().all(is_of_name) {
                return refuse(format!("{name:?} is no name: give 1 to 63 letters, digits, - and _"));
            }
            if !names.insert(name) {
                return refuse(format!("{name}: there are two of this name"));
            }
            if !location.policy.is_empty() && !policies.contains(&&*location.policy) {
                return refuse(format!("{name}: there is no policy {:?}", location.policy));
            }
            if location.networks.len() > NETWORKS_MAX || location.tokens.len() > TOKENS_MAX {
                return refuse(format!("{name}: more than 256 networks, or 16 tokens"));
            }
            if location.networks.is_empty() && location.tokens.is_empty() {
                return refuse(format!("{name}: nobody is there: give networks or tokens"));
            }
            if let Some(twice) = location.networks.iter().find(|network| !networks.insert(network.trunc())) {
                return refuse(format!("{name}: {twice} is given twice; a network is in one location"));
            }
            for token in &location.tokens {
                let Some(digest) = parse_digest(token) else {
                    // What stands there may be the token itself.
                    return refuse(format!(
                        "{name}: a token is given by its SHA-256 in 64 hexadecimal digits: \
                         printf %s TOKEN | sha256sum"
                    ));
                };
                if !digests.insert(digest) {
                    return refuse(format!("{name}: a token is given twice"));
                }
            }
            if location.queries_per_second_max > RATE_MAX {
                return refuse(format!(
                    "{name}: queries_per_second_max: give 1 to 1000000, or 0 for no limit"
                ));
            }
        }
        Ok(())
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, DnsError> {
    Err(DnsError::Config { field: "resolver.locations", problem: problem.into() })
}

fn parse_digest(text: &str) -> Option<Digest> {
    let mut octets = [0; DIGEST_OCTETS];
    if text.len() != 2 * DIGEST_OCTETS || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(octets)
}

/// All locations, ready.
pub(crate) struct Locations {
    all: Box<[Location]>,
    /// Of all of them.
    tokens: Box<[Token]>,
    by_digest: HashMap<Digest, u16>,
    by_network: HashMap<IpNet, u16>,
    /// Lengths of IPv4 and of IPv6 networks that there are, the longest first.
    lengths: [Vec<u8>; 2],
}

/// A place.
pub(crate) struct Location {
    pub(crate) name: String,
    /// Its policy, if it names one.
    pub(crate) policy: Option<usize>,
    pub(crate) metrics: Arc<LocationMetrics>,
}

struct Token {
    location: u16,
    rate: Option<Bucket>,
}

/// Questions that may come with a token.
struct Bucket {
    /// Microseconds that one takes.
    cost_us: u64,
    /// When it is full again, in microseconds of the clock.
    full_at_us: AtomicU64,
}

impl Locations {
    /// Makes them; `policies` are the names of those that there are, in order.
    pub(crate) fn new(configs: &[LocationConfig], policies: &[&str], metrics: &RecursiveMetrics) -> Self {
        let (mut tokens, mut by_digest, mut by_network) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        let number = |index: usize| u16::try_from(index).expect("there are at most 16 * 1024");
        for (index, config) in configs.iter().enumerate() {
            for network in &config.networks {
                lengths[family(network.addr())].insert(network.prefix_len());
                by_network.insert(network.trunc(), number(index));
            }
            for digest in config.tokens.iter().filter_map(|token| parse_digest(token)) {
                by_digest.insert(digest, number(tokens.len()));
                let rate = Bucket::new(config.queries_per_second_max);
                tokens.push(Token { location: number(index), rate });
            }
        }
        let location = |config: &LocationConfig| Location {
            name: config.name.clone(),
            policy: policies.iter().position(|name| !name.is_empty() && *name == config.policy),
            metrics: Arc::new(metrics.location(&config.name)),
        };
        Self {
            all: configs.iter().map(location).collect(),
            tokens: tokens.into(),
            by_digest,
            by_network,
            lengths: lengths.map(|lengths| lengths.into_iter().rev().collect()),
        }
    }

    /// Whether there are tokens at all.
    pub(crate) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether this may be a token, by its length alone.
    pub(crate) fn may_be_token(&self, text: &str) -> bool {
        self.has_tokens() && (TOKEN_OCTETS_MIN..=TOKEN_OCTETS_MAX).contains(&text.len())
    }

    /// What a client shows by a token. Letters count the same in either case: names have none.
    pub(crate) fn shown(&self, token: &str) -> Shown {
        if !(TOKEN_OCTETS_MIN..=TOKEN_OCTETS_MAX).contains(&token.len()) {
            return Shown::UnknownToken;
        }
        let digest: Digest = digest(&SHA256, token.to_ascii_lowercase().as_bytes())
            .as_ref()
            .try_into()
            .expect("SHA-256 has 32 octets");
        self.by_digest.get(&digest).map_or(Shown::UnknownToken, |token| Shown::Token(*token))
    }

    /// What a client shows by the name that it knows the server by, in lower case: a token is the one label before a name of
    /// the resolver's own.
    pub(crate) fn shown_by_name(&self, name: &str, is_own: impl Fn(&str) -> bool) -> Shown {
        let below = name.split_once('.').filter(|(_, above)| is_own(above));
        match below {
            Some((token, _)) if self.has_tokens() && !is_own(name) => self.shown(token),
            _ => Shown::Nothing,
        }
    }

    /// Where an asker is, if that is one of the places.
    pub(crate) fn of(&self, asker: Asker) -> Option<&Location> {
        let index = match asker.shown {
            Shown::Token(token) => self.tokens.get(usize::from(token))?.location,
            Shown::UnknownToken => return None,
            Shown::Nothing => self.at(asker.address.to_canonical())?,
        };
        self.all.get(usize::from(index))
    }

    fn at(&self, client: IpAddr) -> Option<u16> {
        let of_length = |length: &u8| IpNet::new(client, *length).ok().map(|network| network.trunc());
        self.lengths[family(client)]
            .iter()
            .filter_map(of_length)
            .find_map(|network| self.by_network.get(&network).copied())
    }

    /// Whether a question with this token is within its rate, at a time in milliseconds.
    pub(crate) fn take(&self, token: u16, now_ms: i64) -> bool {
        let token = self.tokens.get(usize::from(token));
        let rate = token.and_then(|token| token.rate.as_ref());
        rate.is_none_or(|rate| rate.take(now_ms.max(0).cast_unsigned().saturating_mul(1_000)))
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

impl Bucket {
    fn new(rate: u32) -> Option<Self> {
        let cost_us = 1_000_000_u64.checked_div(u64::from(rate))?;
        Some(Self { cost_us: cost_us.max(1), full_at_us: AtomicU64::new(0) })
    }

    fn take(&self, now_us: u64) -> bool {
        let most = BURST_SECONDS * 1_000_000;
        let taken = self.full_at_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            // Further ahead than it can be empty: the clock was set back.
            let lacks = full_at.checked_sub(now_us).filter(|lacks| *lacks <= most).unwrap_or(0);
            (lacks + self.cost_us <= most).then_some(now_us.saturating_add(lacks + self.cost_us))
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::asker::Transport;

    const TOKEN: &str = "5f1c0e9a7b3d42688e0f";

    fn hex(token: &str) -> String {
        digest(&SHA256, token.as_bytes()).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn location(name: &str, networks: &[&str], tokens: &[&str]) -> LocationConfig {
        LocationConfig {
            name: name.to_owned(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            tokens: tokens.iter().map(|token| hex(token)).collect(),
            ..LocationConfig::default()
        }
    }

    fn locations(configs: &[LocationConfig]) -> Locations {
        LocationConfig::check(configs, &["school"]).unwrap();
        Locations::new(configs, &["school"], &RecursiveMetrics::register(&mut Registry::default()).0)
    }

    fn found<'l>(locations: &'l Locations, address: &str, shown: Shown) -> Option<&'l str> {
        let asker = Asker { shown, ..Asker::new(address.parse().unwrap(), Transport::Https) };
        locations.of(asker).map(|location| &*location.name)
    }

    #[test]
    fn a_token_tells_the_location_wherever_it_is_asked_from_and_no_other_token_does() {
        let office = LocationConfig { policy: "school".to_owned(), ..location("office", &[], &[TOKEN]) };
        let locations = locations(&[location("home", &["192.0.2.0/24"], &[]), office]);
        let shown = locations.shown(TOKEN);
        assert_eq!(found(&locations, "192.0.2.1", shown), Some("office"));
        assert_eq!(found(&locations, "2001:db8::1", shown), Some("office"));
        assert_eq!(locations.all[1].policy, Some(0));
        assert_eq!(locations.shown(&TOKEN.to_ascii_uppercase()), shown);
        for unknown in ["", "5f1c", &TOKEN[1..], &format!("{TOKEN}0"), &hex(TOKEN), &"x".repeat(64)] {
            assert_eq!(locations.shown(unknown), Shown::UnknownToken, "{unknown}");
        }
        assert_eq!(found(&locations, "192.0.2.1", Shown::UnknownToken), None);
        assert_eq!(found(&locations, "192.0.2.1", Shown::Nothing), Some("home"));
    }

    #[test]
    fn a_token_is_the_label_before_a_name_of_its_own_and_nothing_where_there_are_none() {
        let with = locations(&[location("office", &[], &[TOKEN])]);
        let without = locations(&[location("home", &["192.0.2.0/24"], &[])]);
        assert!(with.may_be_token(TOKEN) && !with.may_be_token("www") && !without.may_be_token(TOKEN));
        let known = with.shown(TOKEN);
        // One of them below another, whichever is first.
        for own in [["example.com", "dns.example.com"], ["dns.example.com", "example.com"]] {
            for (name, expected) in [
                (format!("{TOKEN}.dns.example.com"), known),
                (format!("{TOKEN}.example.com"), known),
                ("other.dns.example.com".to_owned(), Shown::UnknownToken),
                ("dns.example.com".to_owned(), Shown::Nothing),
                ("example.com".to_owned(), Shown::Nothing),
                (format!("{TOKEN}.example.org"), Shown::Nothing),
                (format!("x{TOKEN}dns.example.net"), Shown::Nothing),
                (String::new(), Shown::Nothing),
            ] {
                assert_eq!(with.shown_by_name(&name, |name| own.contains(&name)), expected, "{name}");
                assert_eq!(
                    without.shown_by_name(&name, |name| own.contains(&name)),
                    Shown::Nothing,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn without_a_token_the_longest_network_tells_the_location() {
        let locations = locations(&[
            location("wide", &["192.0.2.0/24", "2001:db8::/32"], &[]),
            location("narrow", &["192.0.2.128/25", "2001:db8:1::/48"], &[]),
        ]);
        for (address, expected) in [
            ("192.0.2.1", Some("wide")),
            ("192.0.2.129", Some("narrow")),
            ("::ffff:192.0.2.129", Some("narrow")),
            ("198.51.100.1", None),
            ("2001:db8::1", Some("wide")),
            ("2001:db8:1::1", Some("narrow")),
            ("2001:db9::1", None),
        ] {
            assert_eq!(found(&locations, address, Shown::Nothing), expected, "{address}");
        }
        assert!(!locations.has_tokens());
    }

    #[test]
    fn a_token_has_its_rate_and_a_burst_and_the_others_have_theirs() {
        let slow = LocationConfig { queries_per_second_max: 2, ..location("slow", &[], &[TOKEN]) };
        let other = "another-token-of-somebody";
        let free = LocationConfig { queries_per_second_max: 0, ..location("free", &[], &[other]) };
        let locations = locations(&[slow, free]);
        let (Shown::Token(token), Shown::Token(other)) = (locations.shown(TOKEN), locations.shown(other))
        else {
            panic!("they are known")
        };
        let now = 1_700_000_000_000;
        assert_eq!((0..10).filter(|_| locations.take(token, now)).count(), 4, "two seconds' worth");
        assert!(!locations.take(token, now + 499) && locations.take(token, now + 500));
        assert!((0..10).all(|_| locations.take(other, now)));
        // A clock that was set back holds nobody up.
        assert!(locations.take(token, now - 3_600_000));
    }

    #[test]
    fn mistakes_are_said_and_no_token_with_them() {
        for (locations, expected) in [
            (vec![location("", &["192.0.2.0/24"], &[])], "is no name"),
            (vec![location("a b", &["192.0.2.0/24"], &[])], "is no name"),
            (vec![location("a", &[], &[])], "nobody is there"),
            (
                vec![location("a", &["192.0.2.0/24"], &[]), location("a", &["10.0.0.0/8"], &[])],
                "two of this name",
            ),
            (vec![location("a", &["192.0.2.0/24", "192.0.2.7/24"], &[])], "given twice"),
            (vec![location("a", &[], &[TOKEN]), location("b", &[], &[TOKEN])], "a token is given twice"),
            (
                vec![LocationConfig { policy: "x".to_owned(), ..location("a", &[], &[TOKEN]) }],
                "no policy \"x\"",
            ),
            (
                vec![LocationConfig { tokens: vec![TOKEN.to_owned()], ..location("a", &[], &[]) }],
                "by its SHA-256",
            ),
            (
                vec![LocationConfig { queries_per_second_max: 1_000_001, ..location("a", &[], &[TOKEN]) }],
                "give 1 to 1000000",
            ),
        ] {
            let refused = LocationConfig::check(&locations, &["school"]).unwrap_err().to_string();
            assert!(refused.contains("[dns] resolver.locations") && refused.contains(expected), "{refused}");
            assert!(!refused.contains(TOKEN), "{refused}");
        }
    }
}
