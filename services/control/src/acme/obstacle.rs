//! What of a zone's own makes it vain to ask an authority: it would look where we do not answer.

use proxima_ledger::Snapshot;
use proxima_model::{AcmeOrder, OtherType, Record, RecordData, RecordType, Zone, ZoneIndex, ZoneName};

use crate::error::ApiError;

/// What stands in the way of a certificate for this zone, and what to do about it, in words for its owner. Reads all
/// records of the zone.
pub(crate) fn obstacle(snapshot: &Snapshot, zone: &Zone) -> Result<Option<String>, ApiError> {
    let Some(name) = AcmeOrder::challenge_name(&zone.name) else {
        return Ok(Some(format!(
            "the zone's name is so long that there is no name _acme-challenge.{}, at which certificate authorities look; \
             upload a certificate",
            zone.name
        )));
    };
    if let Ok(below) = ZoneName::parse(name.as_str())
        && snapshot.get::<ZoneIndex>(&below)?.is_some()
    {
        return Ok(Some(format!(
            "{name} is a zone of its own, so that no challenge can be answered there; delete it"
        )));
    }
    for record in snapshot.scan::<Record>(&[&zone.id]) {
        let record = record?;
        let is_dname = record.data.record_type() == RecordType::Other(OtherType::DNAME);
        if is_dname && record.name.as_str() == zone.name.as_str() {
            return Ok(Some(format!(
                "{} has a DNAME record, which moves {name}, at which certificate authorities look, to where we do not answer; \
                 remove the record, or upload a certificate",
                zone.name
            )));
        }
        if record.name != name {
            continue;
        }
        match &record.data {
            RecordData::Cname { target } => {
                return Ok(Some(format!(
                    "{name} is an alias (CNAME) of {target}, where certificate authorities then look and we do not answer; \
                     remove the record, or upload a certificate"
                )));
            }
            RecordData::Ns { host } => {
                return Ok(Some(format!(
                    "{name} is delegated to {host} (NS), which certificate authorities then ask instead of us; remove the \
                     record, or upload a certificate"
                )));
            }
            _ => {}
        }
    }
    Ok(None)
}
