//! Cookies (RFC 7873) by which a client shows that it receives at the address from which it asks, made as all servers of
//! all makes can make them (RFC 9018).
//!
//! ```text
//!  ticket key of the network ─HKDF─▶ secret: the newest that all servers have makes, any of them checks
//!  server cookie = version 1 | reserved | time | SipHash-2-4 (client cookie, the former, client's address)
//! ```
//!
//! Every server of the network has the ticket keys (`proxima_model::TicketKeys`), so a cookie that one gave is good at all
//! of them; it changes with them, every few hours. A key makes cookies once it has had the time to be everywhere (RFC 9018,
//! 5), and is kept for far longer than a cookie is good.

use std::{fmt, hash::Hasher as _, net::IpAddr};

use arc_swap::ArcSwap;
use aws_lc_rs::hkdf;
use proxima_model::{TicketKey, TicketKeys, Timestamp};
use siphasher::sip::SipHasher24;

use crate::edns::{CLIENT_COOKIE_OCTETS, COOKIE_OCTETS, Cookie};

/// Octets of the key of SipHash.
const SECRET_OCTETS: usize = 16;
/// Octets of a server's cookie before its hash: version, reserved, time.
const HEAD_OCTETS: usize = 8;
/// The only version that there is (RFC 9018, 4.1).
const VERSION: u8 = 1;
/// How long a cookie is good, in seconds (RFC 9018, 4.3).
const GOOD_SECONDS: u32 = 3_600;
/// How far the clock of the server that made a cookie may be ahead, in seconds (RFC 9018, 4.3).
const AHEAD_SECONDS: u32 = 300;
/// From what age on a cookie is replaced, in seconds: before it is not good any more (RFC 9018, 4.3).
const RENEWED_SECONDS: u32 = 1_800;
/// How old a key is when it begins to make cookies, in seconds: servers have it within seconds, or minutes if they were cut
/// off, and their clocks may be apart by [`AHEAD_SECONDS`].
const SPREAD_SECONDS: i32 = 600;
/// Secrets that are held at once; as many as ticket keys.
const SECRETS_MAX: usize = 16;

/// A secret of cookies.
struct Secret {
    octets: [u8; SECRET_OCTETS],
    /// When its key was made, in seconds since 1970 modulo 2^32.
    made_at: u32,
}

/// The secrets in force.
pub(crate) struct Cookies {
    /// Newest first; never empty.
    secrets: ArcSwap<Vec<Secret>>,
}

/// Secrets, ready to be put in force.
pub(crate) struct PreparedCookies(Vec<Secret>);

/// What a query's cookies are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Whether the asker has shown that it receives at its address.
    pub(crate) is_good: bool,
    /// What it is answered: its own cookie, and one of ours.
    pub(crate) answer: [u8; COOKIE_OCTETS],
}

impl Cookies {
    /// Secrets of this process alone, until the network's come.
    pub(crate) fn new() -> Self {
        Self { secrets: ArcSwap::from_pointee(Self::prepare(&TicketKeys { keys: Vec::new() }).0) }
    }

    /// What [`Self::swap`] puts in force.
    pub(crate) fn prepare(keys: &TicketKeys) -> PreparedCookies {
        let of_key =
            |key: &TicketKey| Secret { octets: derived(&key.secret), made_at: seconds(key.created_at) };
        let mut secrets: Vec<Secret> = keys.keys.iter().take(SECRETS_MAX).map(of_key).collect();
        if secrets.is_empty() {
            secrets.push(Secret { octets: proxima_chassis::random_id(), made_at: 0 });
        }
        PreparedCookies(secrets)
    }

    /// Puts secrets in force, all at once.
    pub(crate) fn swap(&self, prepared: PreparedCookies) {
        self.secrets.store(prepared.0.into());
    }

    /// What these cookies of a client at this address are worth at `now`, in seconds since 1970 modulo 2^32.
    pub(crate) fn judge(&self, cookie: &Cookie, client: IpAddr, now: u32) -> Judged {
        let secrets = self.secrets.load();
        let checked = cookie.server.as_ref().and_then(|server| {
            let (head, hash) = server.split_first_chunk::<HEAD_OCTETS>()?;
            let age = age(head, now)?;
            let by =
                secrets.iter().position(|secret| hashed(secret, &cookie.client, head, client) == *hash)?;
            Some((by, age, server))
        });
        let maker = maker(&secrets, now);
        let mut answer = [0; COOKIE_OCTETS];
        answer[..CLIENT_COOKIE_OCTETS].copy_from_slice(&cookie.client);
        let ours = &mut answer[CLIENT_COOKIE_OCTETS..];
        let is_old = |age: u32| (RENEWED_SECONDS..=GOOD_SECONDS).contains(&age);
        match checked {
            // Where a clock is ahead, a newer secret makes cookies already.
            Some((by, age, server)) if by <= maker && !is_old(age) => ours.copy_from_slice(server),
            _ => {
                let mut head = [VERSION, 0, 0, 0, 0, 0, 0, 0];
                head[4..].copy_from_slice(&now.to_be_bytes());
                ours[..HEAD_OCTETS].copy_from_slice(&head);
                ours[HEAD_OCTETS..].copy_from_slice(&hashed(&secrets[maker], &cookie.client, &head, client));
            }
        }
        Judged { is_good: checked.is_some(), answer }
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").field("secrets", &self.secrets.load().len()).finish()
    }
}

/// Which of the secrets, newest first, makes cookies at `now`: the newest that has had time to be everywhere; if there is
/// none, the oldest.
fn maker(secrets: &[Secret], now: u32) -> usize {
    let is_spread = |secret: &Secret| now.wrapping_sub(secret.made_at).cast_signed() >= SPREAD_SECONDS;
    secrets.iter().position(is_spread).unwrap_or(secrets.len() - 1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "modulo 2^32 is what RFC 9018 asks for"
)]
pub(crate) const fn seconds(time: Timestamp) -> u32 {
    time.as_seconds() as u32
}

fn derived(key: &[u8]) -> [u8; SECRET_OCTETS] {
    struct Octets;
    impl hkdf::KeyType for Octets {
        fn len(&self) -> usize {
            SECRET_OCTETS
        }
    }
    let mut secret = [0; SECRET_OCTETS];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"proxima dns")
        .extract(key)
        .expand(&[b"cookies"], Octets)
        .and_then(|made| made.fill(&mut secret))
        .expect("a secret is shorter than HKDF allows");
    secret
}

/// How old a cookie is, in seconds, if it is one that may be good. Time is a number that goes round (RFC 1982).
fn age(head: &[u8; HEAD_OCTETS], now: u32) -> Option<u32> {
    let [VERSION, _, _, _, time @ ..] = *head else { return None };
    let age = now.wrapping_sub(u32::from_be_bytes(time));
    (age <= GOOD_SECONDS || age.wrapping_neg() <= AHEAD_SECONDS).then_some(age)
}

fn hashed(
    secret: &Secret,
    client_cookie: &[u8; CLIENT_COOKIE_OCTETS],
    head: &[u8; HEAD_OCTETS],
    client: IpAddr,
) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(&secret.octets);
    hasher.write(client_cookie);
    hasher.write(head);
    match client.to_canonical() {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proxima_model::TicketKeyId;

    use super::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let octets: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
        octets.try_into().expect("as many octets as that")
    }

    fn with(secrets: &[&str]) -> Cookies {
        let cookies = Cookies::new();
        let long_ago = |secret: &&str| Secret { octets: octets(secret), made_at: MADE_AT - 86_400 };
        cookies.swap(PreparedCookies(secrets.iter().map(long_ago).collect()));
        cookies
    }

    /// A server with ticket keys, newest first: each made of an octet, and when it was made.
    fn server(keys: &[(u8, u32)]) -> Cookies {
        let key = |&(id, made_at): &(u8, u32)| TicketKey {
            id: TicketKeyId::from_bytes([id; 16]),
            secret: [id; 32],
            created_at: Timestamp::from_millis(i64::from(made_at) * 1_000),
        };
        let cookies = Cookies::new();
        cookies.swap(Cookies::prepare(&TicketKeys { keys: keys.iter().map(key).collect() }));
        cookies
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const MADE_AT: u32 = 0x5cf7_9f11;

    /// RFC 9018, A.1.
    fn learned() -> (Cookie, IpAddr, &'static str) {
        let client = octets("2464c4abcf10c957");
        let address = "198.51.100.100".parse().expect("an address");
        (Cookie { client, server: None }, address, "010000005cf79f111f8130c3eee29480")
    }

    #[test]
    fn cookies_are_those_of_rfc_9018() {
        let (cookie, address, expected) = learned();
        let judged = with(&[SECRET]).judge(&cookie, address, MADE_AT);
        assert!(!judged.is_good);
        assert_eq!(judged.answer, octets::<24>(&format!("2464c4abcf10c957{expected}")));
        // A.3: what stands in the reserved octets is hashed as it came.
        let client = octets("fc93fc62807ddb86");
        let server = Some(octets("01abcdef5cf78f71a314227b6679ebf5"));
        let address = "203.0.113.203".parse().expect("an address");
        let judged = with(&[SECRET]).judge(&Cookie { client, server }, address, 0x5cf7_8f72);
        assert!(judged.is_good);
        // A.4: an IPv6 client, and a new secret while the former is still good.
        let client = octets("22681ab97d52c298");
        let server = Some(octets("010000005cf7c57926556bd0934c72f8"));
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().expect("an address");
        let secrets = ["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"];
        let judged = with(&secrets).judge(&Cookie { client, server }, address, 0x5cf7_c609);
        let expected = octets("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(judged, Judged { is_good: true, answer: expected });
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_and_renewed_after_half_of_it() {
        let (mut cookie, address, server) = learned();
        cookie.server = Some(octets(server));
        let cookies = with(&[SECRET]);
        for (later, is_good, same) in [
            (0, true, true),
            (1_799, true, true),
            (1_800, true, false),
            (3_600, true, false),
            (3_601, false, false),
        ] {
            let judged = cookies.judge(&cookie, address, MADE_AT + later);
            let kept = judged.answer[8..] == octets::<16>(server);
            assert_eq!((judged.is_good, kept), (is_good, same), "{later}");
        }
        // Made by a server whose clock is ahead.
        assert!(cookies.judge(&cookie, address, MADE_AT - 300).is_good);
        assert!(!cookies.judge(&cookie, address, MADE_AT - 301).is_good);
    }

    #[test]
    fn a_cookie_is_good_for_its_client_only_and_time_goes_round() {
        let (mut cookie, address, server) = learned();
        cookie.server = Some(octets(server));
        let cookies = with(&[SECRET]);
        assert!(!cookies.judge(&cookie, "198.51.100.101".parse().expect("an address"), MADE_AT).is_good);
        assert!(
            cookies.judge(&cookie, "::ffff:198.51.100.100".parse().expect("an address"), MADE_AT).is_good
        );
        let other = Cookie { client: [0; 8], ..cookie };
        assert!(!cookies.judge(&other, address, MADE_AT).is_good);
        assert!(!with(&["00000000000000000000000000000000"]).judge(&cookie, address, MADE_AT).is_good);
        for index in 0..16 {
            let mut changed = octets::<16>(server);
            changed[index] ^= 0x80;
            assert!(!cookies.judge(&Cookie { server: Some(changed), ..cookie }, address, MADE_AT).is_good);
        }
        let made = cookies.judge(&cookie, address, u32::MAX).answer;
        let server = made[8..].try_into().ok();
        assert!(cookies.judge(&Cookie { server, ..cookie }, address, 10).is_good);
    }

    #[test]
    fn servers_that_have_a_ticket_key_check_each_others_cookies() {
        let (cookie, address, _) = learned();
        let made = server(&[(1, 0)]).judge(&cookie, address, MADE_AT).answer;
        let cookie = Cookie { server: made[8..].try_into().ok(), ..cookie };
        for (ids, expected) in
            [(&[1][..], true), (&[2, 1], true), (&[1, 2], true), (&[2], false), (&[], false)]
        {
            let keys: Vec<(u8, u32)> = ids.iter().map(|id| (*id, 0)).collect();
            assert_eq!(server(&keys).judge(&cookie, address, MADE_AT).is_good, expected, "{ids:?}");
        }
    }

    #[test]
    fn a_key_makes_cookies_once_servers_that_are_behind_have_it_too() {
        let former = (1, MADE_AT - 43_200);
        let (behind, ahead, both) =
            (server(&[former]), server(&[(2, MADE_AT)]), server(&[(2, MADE_AT), former]));
        let (cookie, address, _) = learned();
        for (later, expected) in [(0, true), (599, true), (600, false)] {
            let now = MADE_AT + later;
            let made = both.judge(&cookie, address, now).answer;
            let cookie = Cookie { server: made[8..].try_into().ok(), ..cookie };
            assert_eq!(behind.judge(&cookie, address, now).is_good, expected, "{later}");
            assert_eq!(ahead.judge(&cookie, address, now).is_good, !expected, "{later}");
            assert_eq!(both.judge(&cookie, address, now), Judged { is_good: true, answer: made }, "{later}");
        }
        // A cookie of the former key is renewed then; one of a server whose clock is ahead is kept before.
        let client = cookie.client;
        let with = |made: Judged| Cookie { client, server: made.answer[8..].try_into().ok() };
        let of_former = with(behind.judge(&cookie, address, MADE_AT));
        let renewed = both.judge(&of_former, address, MADE_AT + 600);
        assert!(renewed.is_good && ahead.judge(&with(renewed), address, MADE_AT + 600).is_good);
        let early = ahead.judge(&cookie, address, MADE_AT);
        assert_eq!(both.judge(&with(early), address, MADE_AT).answer, early.answer);
    }
}
