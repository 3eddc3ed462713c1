//! DNS queries: no input panics, nothing answers an answer, and an answer keeps to its bounds.

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
};

use proxima_chassis::SystemClock;
use proxima_dns::{Asker, Responder, Transport, ZoneTree, Zones};
use proxima_ledger::ReadError;
use proxima_model::{
    AccountId, KeyRole, ParentDs, Record, RecordData, RecordId, RecordType, SigningAlgorithm, SigningKey,
    Timestamp, Ttl, Zone, ZoneId, ZoneName, ZoneSettings, ZoneSigning, ZoneStatus,
};

/// A zone with a record of every kind that answers differently, denied compactly and by NSEC3.
struct BothZones([(&'static str, Arc<ZoneTree>); 2]);

impl Zones for BothZones {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        let is_within =
            |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        Ok(self.0.iter().find(|(zone, _)| is_within(zone)).map(|(_, tree)| tree.clone()))
    }

    fn beneath(&self, _: &str) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
        Ok(self.0.iter().find(|(name, _)| *name == zone).map(|(_, tree)| tree.is_active()))
    }
}

static ZONES: LazyLock<BothZones> = LazyLock::new(|| {
    BothZones([("a.test", false), ("b.test", true)].map(|(name, nsec3)| (name, Arc::new(tree(name, nsec3)))))
});

fn tree(name: &str, nsec3: bool) -> ZoneTree {
    let zone = Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse(name).expect("a zone's name"),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
        activated_at: None,
    };
    let records = [
        ("@", RecordType::Cname, "b.a.test", false),
        ("@", RecordType::Mx, "10 m.a.test", false),
        ("b", RecordType::A, "192.0.2.1", false),
        ("c", RecordType::Cname, "d.a.test", false),
        ("d", RecordType::Cname, "c.a.test", false),
        ("p", RecordType::Aaaa, "2001:db8::1", true),
        ("*.w", RecordType::Txt, "text", false),
        ("s", RecordType::Ns, "n.s.a.test", false),
        ("n.s", RecordType::A, "192.0.2.2", false),
    ];
    let records = records.map(|(owner, kind, content, proxied)| {
        Ok::<_, Infallible>(Record {
            id: RecordId::from_bytes([3; 16]),
            zone: zone.id,
            name: zone.name.record_name(owner).expect("a name"),
            data: RecordData::parse(kind, &content.replace("a.test", name)).expect("content"),
            ttl: Ttl::Auto,
            proxied,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: Timestamp::default(),
            modified_at: Timestamp::default(),
        })
    });
    let signing = ZoneSigning { nsec3, ..signing(&zone) };
    let Ok(tree) = ZoneTree::compile_with(&zone, &[], Some(&signing), records);
    tree
}

/// The private key of RFC 6605, 6.1, as PKCS #8; the public half stands at its end.
const PRIVATE: &[u8] = &[
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
    0x04, 0x20, 0x19, 0x4e, 0x92, 0x9d, 0x0f, 0xce, 0xbb, 0xec, 0x42, 0xe5, 0x1b, 0xa6, 0xb8, 0x85, 0x08,
    0xb8, 0x96, 0x6d, 0x79, 0x74, 0xf6, 0xcf, 0x43, 0xbf, 0xa2, 0x4d, 0x6c, 0xdf, 0xc1, 0x2d, 0xea, 0x64,
    0xa1, 0x44, 0x03, 0x42, 0x00, 0x04, 0x1a, 0x88, 0xc8, 0x86, 0x15, 0xd4, 0x37, 0xfb, 0xb8, 0xbf, 0x9e,
    0x19, 0x42, 0xa1, 0x92, 0x9f, 0x28, 0x56, 0x27, 0x06, 0xae, 0x6c, 0x2b, 0xd3, 0x99, 0xe7, 0xb1, 0xbf,
    0xb6, 0xd1, 0xe9, 0xe7, 0x5b, 0x92, 0xb4, 0xaa, 0x42, 0x91, 0x7a, 0xe1, 0xc6, 0x1b, 0x70, 0x1e, 0xf0,
    0x35, 0xc3, 0xfe, 0x7b, 0xe3, 0x00, 0x9c, 0xba, 0xfe, 0x5a, 0x2f, 0x71, 0x31, 0x6c, 0x90, 0x2d, 0xcf,
    0x0d, 0x00,
];

fn signing(zone: &Zone) -> ZoneSigning {
    let key = SigningKey {
        algorithm: SigningAlgorithm::EcdsaP256,
        public: PRIVATE[PRIVATE.len() - 64..].to_vec(),
        private: PRIVATE.to_vec(),
        role: KeyRole::Active,
        created_at: Timestamp::default(),
    };
    ZoneSigning { parent: ParentDs::Seen, ..ZoneSigning::new(zone.id, vec![key], Timestamp::default()) }
}

/// Keeps its signatures, as a server does.
static RESPONDER: LazyLock<Responder> = LazyLock::new(|| {
    let addresses = [[198, 18, 0, 1].into(), [0xfd00_u16, 0, 0, 0, 0, 0, 0, 1].into()];
    Responder::new(&addresses, true, "fuzz-1", 1_232, Arc::new(SystemClock))
});

/// The target.
pub fn run(message: &[u8]) {
    for (transport, limit) in [
        (Transport::Udp, 1_232),
        (Transport::Tcp, 65_535),
        (Transport::Tls, 65_535),
        (Transport::Quic, 65_535),
        (Transport::Https, 65_535),
    ] {
        let mut out = Vec::new();
        let asker = Asker::new([192, 0, 2, 1].into(), transport);
        let answered = RESPONDER.respond(&*ZONES, message, asker, &mut out);
        assert_eq!(answered.is_none(), out.is_empty());
        assert!(out.len() <= limit);
        if answered.is_some() {
            assert_eq!(out[..2], message[..2]);
            assert!(message[2] & 0x80 == 0 && out[2] & 0x80 != 0);
            // As a resolver reads it.
            proxima_resolver::exercise(&out);
            assert!(proxima_transfer::message::answers(&out).is_ok());
        }
    }
}
