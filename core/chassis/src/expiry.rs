//! Says in time that this node's certificate runs out: with it, the node can neither follow nor be followed.

use std::time::Duration;

use proxima_model::Timestamp;
use tracing::{error, warn};

use crate::NodeContext;

/// Below this many days a new certificate is due.
const WARN_BELOW_DAYS: i64 = 30;
/// How often it is said.
const SAY_EVERY: Duration = Duration::from_secs(SECONDS_OF_DAY.unsigned_abs());
const SECONDS_OF_DAY: i64 = 86_400;

/// How a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Due; whole days that are left.
    Due(i64),
    Expired,
}

fn standing(expires: Timestamp, now: Timestamp) -> Standing {
    let left = expires.as_seconds() - now.as_seconds();
    match left.div_euclid(SECONDS_OF_DAY) {
        days if days >= WARN_BELOW_DAYS => Standing::Good,
        days if left > 0 => Standing::Due(days),
        _ => Standing::Expired,
    }
}

/// Looks at the start and then every day, until the node stops. For a node that has no certificate there is nothing to
/// do.
pub(crate) async fn watch(node: NodeContext) {
    let Some(expires) = node.identity_expires else {
        return;
    };
    let mut days = tokio::time::interval(SAY_EVERY);
    loop {
        tokio::select! {
            _ = days.tick() => {}
            () = node.shutdown.stopping() => return,
        }
        match standing(expires, node.clock.now()) {
            Standing::Good => {}
            Standing::Due(days) => warn!(
                days,
                %expires,
                "this node's certificate runs out: issue another (proxima ca issue), then restart (SIGUSR2)"
            ),
            Standing::Expired => error!(
                %expires,
                "this node's certificate has run out, and no other node will have it: issue another \
                 (proxima ca issue), then restart (SIGUSR2)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_in_its_last_thirty_days_and_expired_after_them() {
        let expires = Timestamp::from_millis(1_000 * SECONDS_OF_DAY * 1_000);
        let standing_before = |seconds: i64| standing(expires, expires.plus_seconds(-seconds));
        assert_eq!(standing_before(30 * SECONDS_OF_DAY), Standing::Good);
        assert_eq!(standing_before(30 * SECONDS_OF_DAY - 1), Standing::Due(29));
        assert_eq!(standing_before(1), Standing::Due(0));
        assert_eq!(standing_before(0), Standing::Expired);
        assert_eq!(standing_before(-SECONDS_OF_DAY), Standing::Expired);
    }
}
