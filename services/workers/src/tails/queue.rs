//! What waits for who looks: so many octets, and a count of what had no room.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use proxima_pipeline::{TailEnd, TailSeen};
use tokio::sync::Notify;

/// Octets that wait: two of the longest events, or hundreds of common ones, which is more than a second of what people can read.
pub(crate) const OCTETS_MAX: usize = 1 << 20;

/// The queue. Has one reader.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Bytes>,
    octets: usize,
    dropped: u64,
    ended: Option<TailEnd>,
}

impl Queue {
    /// Puts an event at the end; whether it had room.
    pub(crate) fn push(&self, event: Bytes) -> bool {
        let mut waiting = self.lock();
        let has_room = waiting.octets + event.len() <= OCTETS_MAX;
        if has_room {
            waiting.octets += event.len();
            waiting.events.push_back(event);
        } else {
            waiting.dropped += 1;
        }
        drop(waiting);
        self.more.notify_one();
        has_room
    }

    /// So many events were lost on their way here.
    pub(crate) fn lose(&self, count: u64) {
        self.lock().dropped += count;
        self.more.notify_one();
    }

    /// Nothing more will come; what waits is still read.
    pub(crate) fn end(&self, why: TailEnd) {
        self.lock().ended.get_or_insert(why);
        self.more.notify_one();
    }

    /// What comes next: first that some were lost, so that who reads slowly knows early. `Ended` again and again at the end.
    pub(crate) async fn next(&self) -> TailSeen {
        loop {
            if let Some(seen) = self.take() {
                return seen;
            }
            self.more.notified().await;
        }
    }

    fn take(&self) -> Option<TailSeen> {
        let mut waiting = self.lock();
        if waiting.dropped > 0 {
            return Some(TailSeen::Dropped(std::mem::take(&mut waiting.dropped)));
        }
        if let Some(event) = waiting.events.pop_front() {
            waiting.octets -= event.len();
            return Some(TailSeen::Event(event));
        }
        waiting.ended.map(TailSeen::Ended)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_come_in_their_order_and_those_without_room_are_counted() {
        let queue = Queue::default();
        let half = Bytes::from(vec![b'x'; OCTETS_MAX / 2]);
        assert!(queue.push(half.clone()) && queue.push(half.clone()), "exactly as much as there is room for");
        assert!(!queue.push(Bytes::from_static(b"y")), "one octet beyond");
        queue.lose(2);
        queue.end(TailEnd::GoingAway);
        queue.end(TailEnd::Done);
        assert_eq!(queue.next().await, TailSeen::Dropped(3));
        assert_eq!(queue.next().await, TailSeen::Event(half.clone()));
        assert!(queue.push(Bytes::from_static(b"z")), "there is room again");
        assert_eq!(queue.next().await, TailSeen::Event(half));
        assert_eq!(queue.next().await, TailSeen::Event(Bytes::from_static(b"z")));
        for _ in 0..2 {
            assert_eq!(queue.next().await, TailSeen::Ended(TailEnd::GoingAway), "by what ended it first");
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let queue = std::sync::Arc::new(Queue::default());
        let reading = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.push(Bytes::from_static(b"x"));
        assert_eq!(reading.await.unwrap(), TailSeen::Event(Bytes::from_static(b"x")));
    }
}
