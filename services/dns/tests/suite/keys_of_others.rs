//! What the parent of a signed zone is asked to say: our key, and those of others who sign it too.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxima_dns::Transport;
use proxima_model::{KeyRole, SigningKey, SigningState, ZoneSigning};

use crate::{
    dnssec::{ask, secure, verify},
    support::{Fixture, describe, published_key, record, signing, zone},
};

#[test]
fn where_others_sign_too_the_parent_is_asked_to_name_their_keys_at_which_trust_enters() {
    let zone = zone("example.com");
    let keys = ["@ 300 DNSKEY 257 3 13 AAAA", "@ 300 DNSKEY 256 3 13 BBBB"];
    for (multi_signer, expected) in [(false, 1), (true, 2)] {
        let records = keys.iter().map(|line| record(&zone, line).expect("a record")).collect();
        let signing = ZoneSigning { multi_signer, ..signing(&zone, vec![published_key(KeyRole::Active)]) };
        let mut fixture = Fixture::default();
        fixture.add_signed(&zone, &signing, records);
        for (kind, expected) in [("DNSKEY", 3), ("CDS", expected), ("CDNSKEY", expected)] {
            let (_, out) = ask(&fixture, &secure("example.com", kind), Transport::Tcp);
            assert_eq!(verify(&out, &signing.keys).expect(kind), 1);
            let lines = describe(&out).expect(kind);
            let found = lines.iter().filter(|line| line.contains(&format!(" IN {kind} "))).count();
            assert_eq!(found, expected, "{multi_signer} {lines:?}");
        }
    }
}

#[test]
fn keys_that_a_zones_owner_asks_the_parent_to_name_are_asked_for_beside_ours_by_both_records_and_signed() {
    let zone = zone("example.com");
    let key_only = "@ 300 CDNSKEY 257 3 13 AAAA";
    let digest_only = "@ 300 CDS 7 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let own = published_key(KeyRole::Active);
    let ours = format!("@ 300 CDNSKEY 257 3 13 {}", BASE64_STANDARD.encode(&own.public));
    let cases: [(&[&str], usize, usize); 5] = [
        (&[key_only], 2, 2),
        (&[digest_only], 2, 1),
        (&[digest_only, key_only], 3, 2),
        // Ours once, and keys that sign and that nobody asked the parent for not at all.
        (&[&ours], 1, 1),
        (&["@ 300 DNSKEY 257 3 13 AAAA"], 1, 1),
    ];
    let count = |fixture: &Fixture, keys: &[SigningKey], kind: &str| {
        let (_, out) = ask(fixture, &secure("example.com", kind), Transport::Tcp);
        assert_eq!(verify(&out, keys).expect(kind), 1);
        let lines = describe(&out).expect(kind);
        lines.iter().filter(|line| line.contains(&format!(" IN {kind} "))).count()
    };
    for (lines, cds, cdnskey) in cases {
        let records = || lines.iter().map(|line| record(&zone, line).expect("a record")).collect();
        let signed = signing(&zone, vec![published_key(KeyRole::Active)]);
        let mut fixture = Fixture::default();
        fixture.add_signed(&zone, &signed, records());
        let found = (count(&fixture, &signed.keys, "CDS"), count(&fixture, &signed.keys, "CDNSKEY"));
        assert_eq!(found, (cds, cdnskey), "{lines:?}");
        // A zone that ends to be signed, and that nobody else signs, asks for nothing else (RFC 8078, 4).
        let leaving = ZoneSigning { state: SigningState::Leaving, ..signed };
        let mut fixture = Fixture::default();
        fixture.add_signed(&zone, &leaving, records());
        let found = (count(&fixture, &leaving.keys, "CDS"), count(&fixture, &leaving.keys, "CDNSKEY"));
        assert_eq!(found, (1, 1), "{lines:?}");
    }
}

#[test]
fn a_zone_that_leaves_others_who_sign_too_withdraws_its_own_keys_and_no_others() {
    let zone = zone("example.com");
    let own = published_key(KeyRole::Active);
    // Its owner has our key among the others', too.
    let ours = BASE64_STANDARD.encode(&own.public);
    let ours = format!("@ 300 DNSKEY 257 3 13 {ours}");
    let others = "@ 300 DNSKEY 257 3 13 AAAA";
    for (lines, expected) in [(vec![others, &ours], 1), (vec![&ours], 0), (vec![], 0)] {
        let records = lines.iter().map(|line| record(&zone, line).expect("a record")).collect();
        let mut signing =
            ZoneSigning { multi_signer: true, ..signing(&zone, vec![published_key(KeyRole::Active)]) };
        signing.state = SigningState::Leaving;
        let mut fixture = Fixture::default();
        fixture.add_signed(&zone, &signing, records);
        for (kind, theirs) in [("CDS", "example.com. 3600 IN CDS 1038 13 2 "), ("CDNSKEY", " 257 3 13 AAAA")]
        {
            let (_, out) = ask(&fixture, &secure("example.com", kind), Transport::Tcp);
            assert!(verify(&out, &signing.keys).expect(kind) > 0);
            let found = describe(&out).expect(kind);
            let found: Vec<_> = found.iter().filter(|line| line.contains(&format!(" IN {kind} "))).collect();
            assert!(found.len() == expected && found.iter().all(|line| line.contains(theirs)), "{found:?}");
        }
        // Resolvers that have the others' keys of it still find its signatures good.
        let (_, out) = ask(&fixture, &secure("example.com", "DNSKEY"), Transport::Tcp);
        assert_eq!(verify(&out, &signing.keys).expect("DNSKEY"), 1);
    }
}
