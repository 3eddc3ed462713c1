//! The threads that compile zones which nobody who has others to answer may compile.
//!
//! ```text
//!  large ─▶ queue ─▶ one thread for these alone ─┐
//!                 └▶ the others, when no vast ───┼▶ done
//!  vast ──▶ queue ─▶ the others, before large ───┘
//! ```
//!
//! A zone of a million records takes seconds: such vast ones never have all threads, so that the large ones, which take a
//! tenth of a second at most, wait for none of them; and the large ones have one thread for themselves alone, so that the vast
//! ones do not wait for the last of them either. What waits is bounded by the zones that are asked for or served.
//!
//! The threads begin with the first zone, and end with this.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

/// Threads at least: one that takes no vast zones, and one that does.
const THREADS_MIN: usize = 2;
/// Threads at most: each may hold the parts of a vast zone, some hundred MiB.
const THREADS_MAX: usize = 4;

/// What is done there.
type Task = Box<dyn FnOnce() + Send>;

/// The threads, and what waits for them.
pub(crate) struct Aside {
    queues: Arc<Queues>,
    /// Whether there are threads.
    begun: OnceLock<bool>,
}

#[derive(Default)]
struct Queues {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    large: VecDeque<Task>,
    vast: VecDeque<Task>,
    is_over: bool,
}

impl Aside {
    pub(crate) fn new() -> Self {
        Self { queues: Arc::default(), begun: OnceLock::new() }
    }

    /// Has it done there, among the large or the vast; does it at once if there can be no threads.
    pub(crate) fn run(&self, is_vast: bool, task: impl FnOnce() + Send + 'static) {
        if !*self.begun.get_or_init(|| self.begin()) {
            return task();
        }
        let mut waiting = self.queues.waiting();
        let queue = if is_vast { &mut waiting.vast } else { &mut waiting.large };
        queue.push_back(Box::new(task));
        drop(waiting);
        // Whoever is woken may not be one who takes it.
        self.queues.more.notify_all();
    }

    /// Whether there are threads for both.
    fn begin(&self) -> bool {
        let threads = thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        let begin = |number| {
            let queues = Arc::clone(&self.queues);
            let work = move || queues.work(number > 0);
            thread::Builder::new().name("large zones".to_owned()).spawn(work).is_ok()
        };
        let begun = (0..threads.clamp(THREADS_MIN, THREADS_MAX)).take_while(|number| begin(*number)).count();
        begun >= THREADS_MIN
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.queues.waiting().is_over = true;
        self.queues.more.notify_all();
    }
}

impl Queues {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, takes_vast: bool) {
        let mut waiting = self.waiting();
        while !waiting.is_over {
            let vast = if takes_vast { waiting.vast.pop_front() } else { None };
            let Some(task) = vast.or_else(|| waiting.large.pop_front()) else {
                waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(waiting);
            // Whoever waits for it is told of a fault by what the task leaves behind.
            catch_unwind(AssertUnwindSafe(task)).ok();
            waiting = self.waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_large_waits_for_nothing_that_is_vast_and_a_fault_ends_no_thread() {
        let aside = Aside::new();
        let (let_go, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (done, outcomes) = mpsc::channel();
        for number in 0..2 * THREADS_MAX {
            let (held, done) = (Arc::clone(&held), done.clone());
            aside.run(true, move || {
                held.lock().unwrap().recv().unwrap();
                done.send(("vast", number)).unwrap();
            });
        }
        for number in 0..10 {
            let done = done.clone();
            aside.run(false, move || {
                done.send(("large", number)).unwrap();
                panic!("as a fault of a task");
            });
        }
        let large: Vec<_> = outcomes.iter().take(10).collect();
        assert_eq!(large, (0..10).map(|number| ("large", number)).collect::<Vec<_>>());
        for _ in 0..2 * THREADS_MAX {
            let_go.send(()).unwrap();
        }
        assert_eq!(outcomes.iter().take(2 * THREADS_MAX).filter(|(what, _)| *what == "vast").count(), 8);
    }

    #[test]
    fn what_waits_is_let_go_with_the_threads() {
        let aside = Aside::new();
        let (let_go, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        // More than there are threads: one at least never begins.
        for _ in 0..THREADS_MAX {
            let held = Arc::clone(&held);
            aside.run(true, move || {
                held.lock().unwrap().recv().ok();
            });
        }
        drop(held);
        let alive = Arc::new(());
        for _ in 0..100 {
            let alive = Arc::clone(&alive);
            aside.run(true, move || {
                let _alive = alive;
                panic!("nothing is done any more");
            });
        }
        drop((aside, let_go));
        while Arc::strong_count(&alive) > 1 {
            thread::yield_now();
        }
    }
}
