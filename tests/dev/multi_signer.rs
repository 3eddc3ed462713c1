//! A zone that two providers sign, each with a key of its own (RFC 8901, model 2), by a validator's eyes: Proxima and knot.

use std::{collections::BTreeSet, net::SocketAddr};

use serde_json::json;

use crate::{
    dev::Dev,
    dnssec::Unbound,
    process::free_for_both,
    transfers::{Other, id, ok},
};

const ZONE: &str = "example.com";
/// Names that both have, each with a text that tells whose answer it is: so many that a resolver that knows both asks both.
const NAMES: usize = 16;

/// The zone at both.
struct Shared {
    dev: Dev,
    knot: Other,
    zone_file: std::path::PathBuf,
    /// The data of both keys, as it is written without spaces, and of the DS records that name them.
    keys: [String; 2],
    ds: [String; 2],
    _folder: tempfile::TempDir,
}

/// The zone at knot, with this key of another.
fn file(other: Option<&str>) -> String {
    let names: String = (0..NAMES).map(|number| format!("n{number} TXT knot\n")).collect();
    let key = other.map(|key| format!("@ DNSKEY {key}\n")).unwrap_or_default();
    format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns hostmaster 5 300 300 3000 300\n@ NS ns1.proxima.test.\n{key}{names}"
    )
}

/// What `dig +short` tells of records whose data ends in what may be cut into pieces, without the spaces.
fn data(told: &str) -> Vec<String> {
    let whole = |line: &str| {
        let mut words = line.split_whitespace();
        let numbers: Vec<_> = words.by_ref().take(3).collect();
        format!("{} {}", numbers.join(" "), words.collect::<String>())
    };
    told.lines().map(whole).collect()
}

impl Shared {
    fn start() -> Self {
        let dev = Dev::start();
        dev.proxima(&["zones", "add", ZONE]);
        let records = format!("/zones/{}/dns_records", dev.zone(ZONE));
        for number in 0..NAMES {
            let body =
                json!({ "type": "TXT", "name": format!("n{number}"), "content": "\"proxima\"", "ttl": 300 });
            ok(&dev, "POST", &records, body);
        }
        let told = dev.proxima(&["zones", "dnssec", ZONE, "on"]);
        let of =
            |name: &str| told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name);
        let our_key = format!("257 3 13 {}", of("public key"));
        let our_ds = format!("{} 13 2 {}", of("key tag"), of("digest"));

        let folder = tempfile::tempdir().unwrap();
        let zone_file = folder.path().join("zone");
        std::fs::write(&zone_file, file(Some(&our_key))).unwrap();
        let knot = Other::knot(
            free_for_both(),
            &format!(
                "policy:\n  - id: shared\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    \
                 dnskey-management: incremental\n    delete-delay: 1d\n    cds-cdnskey-publish: always\n\
                 zone:\n  - domain: {ZONE}\n    file: {}\n    dnssec-signing: on\n    dnssec-policy: shared\n    \
                 zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n",
                zone_file.display(),
            ),
        );
        let keys = data(&knot.until(&["+short", ZONE, "DNSKEY"], "257 3 13"));
        let [their_key] = &keys.iter().filter(|key| **key != our_key).collect::<Vec<_>>()[..] else {
            panic!("{keys:?}");
        };
        let their_ds = data(&knot.until(&["+short", ZONE, "CDS"], " 13 2 "));
        let shared = Self {
            keys: [our_key, (*their_key).clone()],
            ds: [our_ds, their_ds[0].clone()],
            dev,
            knot,
            zone_file,
            _folder: folder,
        };
        shared.publish_theirs();
        shared
    }

    fn ours(&self) -> SocketAddr {
        self.dev.dns()
    }

    fn theirs(&self) -> SocketAddr {
        self.knot.address
    }

    /// Has the zone here signed by others, too, with knot's key beside ours.
    fn publish_theirs(&self) {
        self.dev.proxima(&["dns", "add", ZONE, "DNSKEY", "@", &self.keys[1]]);
        self.set_multi_signer(true);
    }

    fn set_multi_signer(&self, multi_signer: bool) {
        let path = format!("/zones/{}/dnssec", self.dev.zone(ZONE));
        ok(&self.dev, "PATCH", &path, json!({ "dnssec_multi_signer": multi_signer }));
    }

    /// Takes knot's key out of the zone here.
    fn withdraw_theirs(&self) {
        let records = format!("/zones/{}/dns_records", self.dev.zone(ZONE));
        let (_, listed) = self.dev.api("GET", &format!("{records}?type=DNSKEY"), None, None);
        let [key] = &listed["result"].as_array().unwrap()[..] else { panic!("{listed}") };
        let (code, answer) = self.dev.api("DELETE", &format!("{records}/{}", id(key)), None, None);
        assert_eq!(code, "200", "{answer}");
        self.set_multi_signer(false);
    }

    /// What we say of this type at the zone's own name, in order.
    fn said(&self, kind: &str) -> BTreeSet<String> {
        data(&self.dev.dig(&["+short", "+norecurse", "+tcp", ZONE, kind])).into_iter().collect()
    }

    /// Asks for everything through a resolver that is new, and knows the zone at these addresses and by these DS records; whose
    /// answers it gave, all of which it has found to be authentic.
    fn validated(at: &[SocketAddr], ds: &[&String]) -> BTreeSet<&'static str> {
        let zones: Vec<_> = at.iter().map(|at| (ZONE, *at)).collect();
        let parent: String = ds.iter().map(|ds| format!("{ZONE}. IN DS {ds}\n")).collect();
        let unbound = Unbound::start(&zones, &parent);
        let mut whose = BTreeSet::new();
        // Where it knows one of them only, it has no choice.
        let names = if at.len() > 1 { NAMES } else { 3 };
        for number in 0..names {
            let answer = unbound.ask(&format!("n{number}.{ZONE}"), "TXT");
            assert!(answer.contains("status: NOERROR") && answer.contains(" ad;"), "{at:?} {ds:?}: {answer}");
            let providers = ["proxima", "knot"].into_iter();
            whose.extend(providers.filter(|provider| answer.contains(&format!("\"{provider}\""))));
        }
        // What does not exist, in the way of whoever is asked.
        for number in 0..3 {
            let denied = unbound.ask(&format!("n{number}.{ZONE}"), "MX");
            assert!(denied.contains(" ad;") && denied.contains("ANSWER: 0"), "{at:?} {ds:?}: {denied}");
        }
        whose
    }
}

/// As a set, whatever the order.
fn set<'t>(texts: impl IntoIterator<Item = &'t String>) -> BTreeSet<String> {
    texts.into_iter().cloned().collect()
}

#[test]
fn a_validator_takes_the_answers_of_both_providers_of_a_zone_whichever_it_has_the_keys_from() {
    let shared = Shared::start();
    let [our_ds, their_ds] = &shared.ds;
    assert_eq!(shared.said("DNSKEY"), set(&shared.keys));
    assert_eq!(shared.said("CDS"), set(&shared.ds), "the parent is asked to name both");
    let (ours, theirs) = (shared.ours(), shared.theirs());
    // Each by its own DS, also where the parent names both, and both together: the keys come from one of them only.
    for (at, ds, whose) in [
        (vec![ours], vec![our_ds], vec!["proxima"]),
        (vec![theirs], vec![their_ds], vec!["knot"]),
        (vec![ours], vec![our_ds, their_ds], vec!["proxima"]),
        (vec![ours, theirs], vec![our_ds, their_ds], vec!["knot", "proxima"]),
    ] {
        assert_eq!(Shared::validated(&at, &ds), whose.into_iter().collect(), "{at:?} {ds:?}");
    }
}

#[test]
fn a_zone_is_validated_after_one_of_its_providers_has_left() {
    let shared = Shared::start();
    let [our_ds, their_ds] = &shared.ds;
    // First the other: the parent may name its key for a while.
    shared.withdraw_theirs();
    assert_eq!(shared.said("DNSKEY"), set([&shared.keys[0]]));
    assert_eq!(shared.said("CDS"), set([our_ds]));
    for ds in [vec![our_ds, their_ds], vec![our_ds]] {
        assert_eq!(Shared::validated(&[shared.ours()], &ds), BTreeSet::from(["proxima"]), "{ds:?}");
    }
    // It comes back, and we leave.
    shared.publish_theirs();
    assert_eq!(shared.said("DNSKEY"), set(&shared.keys));
    std::fs::write(&shared.zone_file, file(None)).unwrap();
    shared.knot.reload();
    shared.knot.until(&["+dnssec", ZONE, "DNSKEY"], "ANSWER: 2,");
    let off = shared.dev.proxima(&["zones", "dnssec", ZONE, "off"]);
    assert!(off.contains("is disabled"), "{off}");
    for ds in [vec![our_ds, their_ds], vec![their_ds]] {
        assert_eq!(Shared::validated(&[shared.theirs()], &ds), BTreeSet::from(["knot"]), "{ds:?}");
    }
}
