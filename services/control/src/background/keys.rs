//! The keys of TLS session tickets, and the network's own authority.

use std::sync::Arc;

use proxima_model::{EdgeAuthority, TicketKey, TicketKeyId, TicketKeys, Timestamp};

use crate::{
    api::{Api, write::Author},
    authority,
    error::{ApiError, Code},
    limits,
};

/// Makes the first ticket key, and a new one when the newest is old.
pub(super) async fn keep_ticket_keys(api: &Arc<Api>, author: &Author) -> Result<(), ApiError> {
    let now = api.now();
    let due = api.read(move |snapshot| Ok(is_due(snapshot.get::<TicketKeys>(&())?.as_ref(), now))).await?;
    if !due {
        return Ok(());
    }
    let written = api.write(author, |draft| {
        let former = draft.read::<TicketKeys>(&())?;
        if is_due(former.as_ref(), draft.now) {
            let key = TicketKey {
                id: TicketKeyId::from_bytes(rand::random()),
                secret: rand::random(),
                created_at: draft.now,
            };
            let former = former.map(|former| former.keys).unwrap_or_default();
            let keys = std::iter::once(key).chain(former).take(limits::TICKET_KEYS_KEPT).collect();
            draft.put(&TicketKeys { keys });
        }
        Ok(())
    });
    written.await.map(|_| ())
}

/// Whether a new key is due: there is none, the newest is old, or a clock that was ahead made it.
fn is_due(keys: Option<&TicketKeys>, now: Timestamp) -> bool {
    let Some(newest) = keys.and_then(|keys| keys.keys.first()) else { return true };
    now >= newest.created_at.plus_seconds(limits::TICKET_KEY_SECONDS)
        || now < newest.created_at.plus_seconds(-limits::TICKET_KEY_SECONDS)
}

/// Makes the authority, once.
pub(super) async fn keep_authority(api: &Arc<Api>, author: &Author) -> Result<(), ApiError> {
    if api.read(|snapshot| Ok(snapshot.get::<EdgeAuthority>(&())?.is_some())).await? {
        return Ok(());
    }
    let written = api.write(author, |draft| {
        if draft.read::<EdgeAuthority>(&())?.is_none() {
            let made = authority::create(draft.now);
            draft.put(&made.map_err(|error| ApiError::new(Code::Internal, error.to_string()))?);
        }
        Ok(())
    });
    written.await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_key_is_due_when_there_is_none_or_it_is_old_or_from_the_future() {
        let made = Timestamp::from_millis(1_764_000_000_000);
        let key = TicketKey { id: TicketKeyId::from_bytes([1; 16]), secret: [0; 32], created_at: made };
        let keys = TicketKeys { keys: vec![key] };
        assert!(is_due(None, made) && is_due(Some(&TicketKeys { keys: Vec::new() }), made));
        let hours = |hours: i64| is_due(Some(&keys), made.plus_seconds(hours * 3_600));
        assert_eq!(
            (hours(0), hours(11), hours(12), hours(-1), hours(-13)),
            (false, false, true, false, true)
        );
    }
}
