//! What compiled zones take of memory: it decides how many of them a server keeps.

use std::convert::Infallible;

use proxima_dns::ZoneTree;
use proxima_ledger::CompileZone as _;

use crate::support::{record, zone};

/// What a million zones of ten records may take, in octets each: [`proxima_dns::DnsConfig::zones_bytes_max`] unless configured.
const ZONE_OCTETS_MAX: u64 = (1 << 30) / 1_000_000;

#[test]
fn a_million_zones_of_ten_records_fit_into_what_is_kept_unless_configured() {
    let zone = zone("site-123456.example");
    let lines = [
        "@ 3600 A 10.1.2.3",
        "@ 3600 AAAA 2001:db8::1",
        "@ 3600 MX 10 mail",
        "@ 3600 TXT \"v=spf1 mx -all\"",
        "www 3600 CNAME site-123456.example",
        "mail 3600 A 10.1.2.4",
        "mail 3600 AAAA 2001:db8::2",
        "ftp 3600 A 10.1.2.5",
        "_dmarc 3600 TXT \"v=DMARC1; p=reject\"",
        "_sip._tcp 3600 SRV 10 5 5060 mail",
    ];
    let records: Vec<_> = lines
        .iter()
        .map(|line| {
            Ok::<_, Infallible>(record(&zone, &line.replace(" mail", " mail.site-123456.example")).unwrap())
        })
        .collect();
    let Ok(tree) = ZoneTree::compile(&zone, records);
    let octets = tree.weight();
    assert!((500..=ZONE_OCTETS_MAX).contains(&octets), "{octets} octets");
}
