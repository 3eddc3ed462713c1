//! What lies beneath something, read in pieces.

use crate::common::*;
use proxima_ledger::Log as _;
use proxima_model::{Purge, PurgeId, PurgeWhat, Timestamp, ZoneId};

#[tokio::test]
async fn a_scan_goes_on_behind_what_was_read_and_ends_with_what_lies_beneath_the_same() {
    let folder = folder();
    let log = open(&folder);
    let zones = [1, 2, u8::MAX].map(|octet| ZoneId::from_bytes([octet; 16]));
    let purge = |zone, number: u8| Purge {
        id: PurgeId::from_bytes([number; 16]),
        zone,
        what: PurgeWhat::Everything,
        at: Timestamp::from_millis(0),
    };
    let all = zones.iter().flat_map(|zone| [3, 4, 5, u8::MAX].map(|number| purge(*zone, number)));
    log.append(append(all.map(|purge| log.replica().put(&purge)).collect())).await.unwrap();
    let snapshot = log.replica().snapshot().unwrap();
    for zone in zones {
        let after = |after: Option<u8>| {
            let after = after.map(|number| (zone, PurgeId::from_bytes([number; 16])));
            let found = snapshot.scan_after::<Purge>(&[&zone], after.as_ref()).map(Result::unwrap);
            found
                .map(|purge| {
                    assert_eq!(purge.zone, zone);
                    purge.id.as_bytes()[0]
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(after(None), [3, 4, 5, u8::MAX]);
        assert_eq!(after(Some(2)), [3, 4, 5, u8::MAX]);
        assert_eq!(after(Some(4)), [5, u8::MAX]);
        assert!(after(Some(u8::MAX)).is_empty());
    }
}
