//! Which host of a zone a name is.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use proxima_model::{
    AccountId, DnsName, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneId, ZoneName,
    ZoneSettings, ZoneStatus,
};
use proxima_pipeline::Site;

fn site(records: &[(&str, RecordType, &str, bool)]) -> Site {
    let at = Timestamp::from_millis(0);
    let id = ZoneId::from_bytes([1; 16]);
    let zone = Zone {
        id,
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse("example.com").unwrap(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: at,
        modified_at: at,
        activated_at: None,
    };
    let records = records.iter().zip(0..).map(|((name, kind, content, proxied), number)| Record {
        id: RecordId::from_bytes([number; 16]),
        zone: id,
        name: DnsName::parse(name).unwrap(),
        data: RecordData::parse(*kind, content).unwrap(),
        ttl: Ttl::Auto,
        proxied: *proxied,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: at,
        modified_at: at,
    });
    Site::new(zone, records, None)
}

#[test]
fn a_name_is_itself_or_the_nearest_wildcard() {
    let site = site(&[
        ("www.example.com", RecordType::A, "192.0.2.1", true),
        ("*.example.com", RecordType::A, "192.0.2.2", true),
        ("mail.example.com", RecordType::Mx, "10 mail.example.com", false),
        ("api.www.example.com", RecordType::Cname, "elsewhere.test", true),
    ]);
    let address =
        |name: &str| site.host(name).and_then(|host| host.addresses.first()).map(ToString::to_string);
    assert_eq!(address("www.example.com").as_deref(), Some("192.0.2.1"));
    assert_eq!(address("other.example.com").as_deref(), Some("192.0.2.2"));
    assert_eq!(address("a.b.example.com").as_deref(), Some("192.0.2.2"));
    // A name that exists hides the wildcard (RFC 4592, 2.2.2 and 3.3.1), for itself and for what lies below it.
    assert_eq!(address("mail.example.com"), None);
    assert!(!site.host("mail.example.com").unwrap().proxied);
    assert_eq!(address("x.www.example.com"), None);
    assert_eq!(site.host("api.www.example.com").unwrap().alias.as_ref().unwrap().as_str(), "elsewhere.test");
    assert_eq!(address("example.com"), None);
    assert_eq!(address("example.org"), None);
}
