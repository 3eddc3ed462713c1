//! DNS queries: no input panics, nothing answers an answer, and an answer keeps to its bounds.
#![no_main]

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use proxima_dns::{Responder, Transport, ZoneTree, Zones};
use proxima_ledger::ReadError;
use proxima_model::{
    AccountId, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneId, ZoneName,
    ZoneSettings, ZoneStatus,
};

/// One zone, with a record of every kind that answers differently.
struct OneZone(Arc<ZoneTree>);

impl Zones for OneZone {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        Ok((name == "a.test" || name.ends_with(".a.test")).then(|| self.0.clone()))
    }
}

static ZONE: LazyLock<OneZone> = LazyLock::new(|| {
    let zone = Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse("a.test").expect("a zone's name"),
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
    let records = records.map(|(name, kind, content, proxied)| {
        Ok::<_, Infallible>(Record {
            id: RecordId::from_bytes([3; 16]),
            zone: zone.id,
            name: zone.name.record_name(name).expect("a name"),
            data: RecordData::parse(kind, content).expect("content"),
            ttl: Ttl::Auto,
            proxied,
            comment: None,
            tags: Vec::new(),
            created_at: Timestamp::default(),
            modified_at: Timestamp::default(),
        })
    });
    let Ok(tree) = ZoneTree::compile(&zone, records);
    OneZone(Arc::new(tree))
});

fuzz_target!(|message: &[u8]| {
    let addresses = [[198, 18, 0, 1].into(), [0xfd00_u16, 0, 0, 0, 0, 0, 0, 1].into()];
    let responder = Responder::new(&addresses, true, "fuzz-1", 1_232);
    for (transport, limit) in [(Transport::Udp, 1_232), (Transport::Tcp, 65_535)] {
        let mut out = Vec::new();
        let answered = responder.respond(&*ZONE, message, transport, &mut out);
        assert_eq!(answered.is_none(), out.is_empty());
        assert!(out.len() <= limit);
        if answered.is_some() {
            assert_eq!(out[..2], message[..2]);
            assert!(message[2] & 0x80 == 0 && out[2] & 0x80 != 0);
        }
    }
});
