//! Who a zone's other servers are, from the replica.

use proxima_ledger::{ReadError, Snapshot};
use proxima_model::{
    IncomingTransfers, OutgoingTransfers, TransferAcl, TransferPeer, TransferPeerId, TsigKey, Zone,
};
use proxima_transfer::{Access, Key, KnownPeer};

use crate::name::{NAME_OCTETS_MAX, Name};

/// The zone of exactly this name.
pub(super) fn zone_named(snapshot: &Snapshot, name: &Name) -> Result<Option<Zone>, ReadError> {
    let mut buffer = [0; NAME_OCTETS_MAX];
    let zone = snapshot.zone_by_name(name.text(&mut buffer))?;
    // Names that no zone can have lose labels as text.
    Ok(zone.filter(|zone: &Zone| zone.name.wire() == name.wire()))
}

/// The zone in which a name lies: the one with the longest name.
pub(super) fn zone_around(snapshot: &Snapshot, name: &Name) -> Result<Option<Zone>, ReadError> {
    let mut buffer = [0; NAME_OCTETS_MAX];
    let zone = snapshot.enclosing_zone(name.text(&mut buffer))?;
    Ok(zone.filter(|zone: &Zone| name.is_within(&zone.name.wire())))
}

/// Who may have a zone from here; nobody, unless its owner said so.
pub(super) fn of_outgoing(snapshot: &Snapshot, zone: &Zone) -> Result<Access, ReadError> {
    let outgoing = snapshot.get::<OutgoingTransfers>(&zone.id)?.filter(|outgoing| outgoing.enabled);
    outgoing.map_or_else(|| Ok(Access::default()), |outgoing| access(snapshot, zone, &outgoing.peers))
}

/// Who may say that a zone has changed: those from whom it comes.
pub(super) fn of_incoming(snapshot: &Snapshot, zone: &Zone) -> Result<Access, ReadError> {
    let incoming = snapshot.get::<IncomingTransfers>(&zone.id)?;
    incoming.map_or_else(|| Ok(Access::default()), |incoming| access(snapshot, zone, &incoming.peers))
}

fn access(snapshot: &Snapshot, zone: &Zone, peers: &[TransferPeerId]) -> Result<Access, ReadError> {
    let mut access = Access::default();
    for peer in peers {
        let Some(peer) = snapshot.get::<TransferPeer>(&(zone.account, *peer))? else { continue };
        let mut known = KnownPeer { address: peer.address, key: None };
        if let Some(id) = peer.tsig {
            // A peer whose key is gone is nobody.
            let Some(key) = snapshot.get::<TsigKey>(&(zone.account, id))? else { continue };
            let key = Key::from(&key);
            known.key = Some(key.name().into());
            access.keys.push(key);
        }
        access.peers.push(known);
    }
    for acl in snapshot.scan::<TransferAcl>(&[&zone.account]) {
        access.ranges.push(acl?.range);
    }
    Ok(access)
}
