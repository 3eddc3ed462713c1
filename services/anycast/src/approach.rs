//! Holds an announcement back until this server is ready for what comes with it: strays of connections that other servers
//! have. Pure: what gets ready is handed in.

use crate::deadman::Beat;

/// What is under way before an announcement. `S` is getting ready, as something that can be looked at.
#[derive(Debug)]
pub(crate) struct Approach<S> {
    announced: bool,
    seeking: Option<S>,
}

impl<S> Approach<S> {
    /// Of a server that is announced already, or is not.
    pub(crate) const fn new(announced: bool) -> Self {
        Self { announced, seeking: None }
    }

    /// The beat to send in place of this one. `seek` begins to get ready, if there is anything to do; `is_ready` tells when
    /// that is done. A withdrawal is sent at once, and each announcement after one waits anew: routes move each time.
    pub(crate) fn hold_back(
        &mut self,
        beat: Beat,
        seek: impl FnOnce() -> Option<S>,
        is_ready: impl FnOnce(&S) -> bool,
    ) -> Beat {
        if beat == Beat::Announce && !self.announced {
            if self.seeking.is_none() {
                self.seeking = seek();
            }
            if self.seeking.as_ref().is_some_and(|seeking| !is_ready(seeking)) {
                return Beat::Withdraw;
            }
        }
        self.seeking = None;
        self.announced = beat == Beat::Announce;
        beat
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use Beat::{Announce, Withdraw};

    use super::*;

    #[test]
    fn every_announcement_waits_until_the_server_is_ready_and_a_withdrawal_for_nothing() {
        let (begun, ready) = (Cell::new(0), Cell::new(0));
        let mut approach = Approach::new(false);
        let mut send = |beat| {
            let seek = || {
                begun.set(begun.get() + 1);
                Some(begun.get())
            };
            approach.hold_back(beat, seek, |seeking| ready.get() >= *seeking)
        };
        assert_eq!([send(Withdraw), send(Announce), send(Announce)], [Withdraw; 3]);
        assert_eq!(begun.get(), 1, "it gets ready once");
        ready.set(1);
        assert_eq!([send(Announce), send(Announce)], [Announce; 2]);
        assert_eq!(begun.get(), 1);

        assert_eq!([send(Withdraw), send(Announce)], [Withdraw; 2]);
        assert_eq!(begun.get(), 2);
        // Ill again, while it still got ready; that is done at some time, and says nothing about the next announcement.
        assert_eq!(send(Withdraw), Withdraw);
        ready.set(2);
        assert_eq!(send(Announce), Withdraw);
        assert_eq!(begun.get(), 3);
        ready.set(3);
        assert_eq!(send(Announce), Announce);
    }

    #[test]
    fn a_server_without_peers_and_one_that_is_announced_already_wait_for_nothing() {
        let mut alone = Approach::<()>::new(false);
        assert_eq!(alone.hold_back(Announce, || None, |()| false), Announce);
        let mut announced = Approach::new(true);
        assert_eq!(announced.hold_back(Announce, || Some(()), |()| false), Announce);
    }
}
