//! Reading a fetched body into an object's content.

use std::time::Duration;

use proxima_pipeline::{Body, BodyError};
use tokio::time::Instant;

use crate::{content::NobodyReads, store::Object};

/// How often a fetch looks whether anybody still reads.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long a fetch may go on when nobody reads: enough for the largest object on a slow origin, and an end to origins
/// that drip.
pub(super) const UNREAD_MAX: Duration = Duration::from_secs(300);

/// Reads a body into an object's content. `Ok(true)`: it is whole. `Ok(false)`: it was not kept.
pub(crate) async fn read(object: &Object, mut body: Body) -> Result<bool, BodyError> {
    let content = &object.content;
    let give_up = |error: BodyError| {
        content.fail(error);
        Err(error)
    };
    let mut read_last = Instant::now();
    loop {
        let Ok(frame) = tokio::time::timeout(LOOK_EVERY, body.next_frame()).await else {
            if content.has_readers() {
                read_last = Instant::now();
            } else if read_last.elapsed() >= UNREAD_MAX {
                return give_up(BodyError::TimedOut);
            }
            continue;
        };
        let Some(frame) = frame else { return content.finish().await };
        match frame {
            Err(error) => return give_up(error),
            // Trailers are not kept.
            Ok(frame) => {
                if let Ok(data) = frame.into_data()
                    && content.push(data).await == Err(NobodyReads)
                {
                    return Ok(false);
                }
            }
        }
        if content.has_readers() {
            read_last = Instant::now();
        } else if read_last.elapsed() >= UNREAD_MAX {
            return give_up(BodyError::TimedOut);
        }
    }
}
