//! Reads octets as what is said of transfers, and what comes by them: what fuzz targets call. Nothing here may panic but by
//! what it asserts.

use proxima_model::{
    AccountId, RecordData, Timestamp, TransferAcl, TransferAclId, TransferPeer, TransferPeerId, TsigKey,
    TsigKeyId, ZoneId, limits,
};
use proxima_transfer::message;
use serde_json::Value;

use super::{
    incoming::{self, Kept},
    nouns::{AclBody, Noun, PeerBody, TsigBody},
    outgoing,
};
use crate::exercise::parsed;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ACCOUNT: AccountId = AccountId::from_bytes([2; 16]);

/// An octet that says as what, then that.
pub(crate) fn exercise(octets: &[u8]) {
    let Some((&which, octets)) = octets.split_first() else { return };
    match which % 5 {
        0 => range(octets),
        1 => peer(octets),
        2 => key(octets),
        3 => configuration(octets),
        _ => records(octets),
    }
}

/// What is shown may be given again.
fn again<T: serde::de::DeserializeOwned>(shown: &Value) -> T {
    parsed(shown.to_string().as_bytes()).expect("it was written by us")
}

fn range(octets: &[u8]) {
    let Some((name, range)) = parsed::<AclBody>(octets).and_then(|body| body.read().ok()) else { return };
    assert_eq!(range, range.trunc());
    let made = TransferAcl {
        id: TransferAclId::from_bytes([5; 16]),
        account: ACCOUNT,
        name: name.clone(),
        range,
        modified_at: NOW,
    };
    assert_eq!(again::<AclBody>(&made.show()).read().ok(), Some((name, range)));
}

fn peer(octets: &[u8]) {
    let Some((name, address, port)) = parsed::<PeerBody>(octets).and_then(|body| body.read().ok()) else {
        return;
    };
    assert_ne!(port, 0);
    let made = TransferPeer {
        id: TransferPeerId::from_bytes([6; 16]),
        account: ACCOUNT,
        name: name.clone(),
        address,
        port,
        ixfr: false,
        tsig: None,
        modified_at: NOW,
    };
    assert_eq!(again::<PeerBody>(&made.show()).read().ok(), Some((name, address, port)));
}

fn key(octets: &[u8]) {
    let Some((name, algorithm, secret)) = parsed::<TsigBody>(octets).and_then(|body| body.read().ok()) else {
        return;
    };
    let made = TsigKey {
        id: TsigKeyId::from_bytes([7; 16]),
        account: ACCOUNT,
        name: name.clone(),
        algorithm,
        secret: secret.clone(),
        modified_at: NOW,
    };
    assert_eq!(again::<TsigBody>(&made.show()).read().ok(), Some((name, algorithm, secret)));
}

fn configuration(octets: &[u8]) {
    parsed::<outgoing::Body>(octets);
    let Some(body) = parsed::<incoming::Body>(octets) else { return };
    let Ok(seconds) = incoming::refresh(body.auto_refresh_seconds) else { return };
    let bounds = limits::TRANSFER_REFRESH_SECONDS_MIN..=limits::TRANSFER_REFRESH_SECONDS_MAX;
    assert!(bounds.contains(&seconds));
    assert_eq!(incoming::refresh(Some(seconds.into())).ok(), Some(seconds));
}

/// The records of a primary's message: what is taken of one says the same as it did, but for the case of names.
fn records(octets: &[u8]) {
    let Ok(records) = message::answers(octets) else { return };
    for read in records {
        let ours = |kept| incoming::ours(ZoneId::from_bytes([1; 16]), &read, kept, 1, NOW);
        if let Some(signed) = ours(Kept::Signed)
            && let RecordData::Other(data) = &signed.record.data
        {
            assert_eq!(data.octets(), read.data);
        }
        let Some(taken) = ours(Kept::Ours) else { continue };
        assert!(taken.record.data.is_offered());
        assert_eq!(taken.record.data.record_type().code(), read.rtype);
        let owner = taken.record.name.wire();
        assert!(owner.eq_ignore_ascii_case(&read.owner), "{owner:?}");
        if let RecordData::Other(data) = &taken.record.data {
            assert!(data.octets().eq_ignore_ascii_case(&read.data));
        }
        assert!(ours(Kept::Ours).is_some_and(|same| same == taken));
    }
}
