//! Whether a thread that serves, when it is woken, interrupts what runs on its processor.
//!
//! By default it does: a visitor whose answer is in the cache does not wait for a Worker that computes. But a server that
//! does little else than have Workers answer is woken for each packet and each answer, interrupts the Worker, does two or
//! three requests and sleeps again. Under `SCHED_BATCH` (sched(7)) a thread that is woken waits until whoever runs sleeps or
//! has had its slice of time, finds many requests then, and a full processor answers a sixth more of them.
//!
//! ```text
//!  a service: exchange_begun() ─┐                        ┌─ how long this thread has waited (/proc/thread-self/schedstat)
//!  the Workers: engine_asked() ─┴▶ counts of this thread ┴▶ before it sleeps: look() ─▶ SCHED_BATCH or SCHED_OTHER
//! ```
//!
//! So each thread looks, ten times a second, at what it has served lately: only while nearly all of that was asked of Workers,
//! and much of it, and while it does not wait for long, it does not interrupt. Where a processor is idle, the policy makes no
//! difference.
//!
//! Invariants:
//! * A thread that does not interrupt waits less than [`WAIT_MAX`] on average each time it is woken, whatever it is woken for.
//!   Where it waits longer, beside code that computes for long, it interrupts for [`INTERRUPTS_FOR`].
//! * Nor does it answer more than one in [`OTHERS_ONE_OF`] from anything else than Workers: of requests to sites and questions
//!   to DNS. What a node does beside (the log, other servers' questions, S3, the API) is not counted, and waits like these.
//! * A policy that an operator has given the process, or a thread, is left as it is.
//! * No other thread of the runtime, nor the next process of this node, takes over the policy of the one that starts it. (A
//!   thread that sleeps keeps its own: it is asked again when it has been woken.)

use std::{
    cell::Cell,
    io,
    sync::{LazyLock, Once},
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

/// For so long a thread is looked at before it is decided.
const WINDOW: Duration = Duration::from_millis(100);
/// Requests that a thread must have had Workers answer, each second: below, there is not much to be gained.
const ASKED_PER_SECOND_MIN: u32 = 2_000;
/// One exchange of so many that was not asked of a Worker, and the thread interrupts.
const OTHERS_ONE_OF: u32 = 16;
/// A thread that does not interrupt may have to wait for so long on average, each time it is woken. Measured on a full
/// processor, by a Worker that says hello: 0.1 ms; with one that spins beside it 0.4 ms, and 0.2 where the thread interrupts;
/// with three 1.1 ms.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// For so long a thread interrupts that had to wait longer.
const INTERRUPTS_FOR: Duration = Duration::from_secs(10);

/// Threads that do not interrupt now.
static BATCHED: LazyLock<Gauge> = LazyLock::new(Gauge::default);

thread_local! {
    static THREAD: Thread = const { Thread::new() };
}

/// Something is being answered by this thread: a request, or a question.
pub fn exchange_begun() {
    THREAD.with(|thread| thread.begun.set(thread.begun.get().wrapping_add(1)));
}

/// One of them is answered by a Worker: to be said once of each, whatever else the Worker has others do for it.
pub fn engine_asked() {
    THREAD.with(|thread| thread.asked.set(thread.asked.get().wrapping_add(1)));
}

/// Has the threads of a runtime be so, unless this process was given a policy of its own.
pub fn yield_to_workers(runtime: &mut tokio::runtime::Builder) {
    if !has_policy(Policy::Interrupts) {
        tracing::info!("this process was given a scheduling policy, which its threads keep");
        return;
    }
    runtime.on_thread_start(begin);
    runtime.on_thread_park(|| THREAD.with(|thread| thread.look(Instant::now(), Waited::of_this_thread)));
}

/// A thread has the policy of the one that started it: what waits for a disk need not wait for Workers, too.
fn begin() {
    if has_policy(Policy::Batched) {
        set_policy(Policy::Interrupts).ok();
    }
}

/// Runs what starts a process, which begins with the policy of the thread that starts it: with the ordinary one, if that can be
/// had.
pub fn start_ordinarily<T>(start: impl FnOnce() -> T) -> T {
    THREAD.with(|thread| thread.change(Policy::Interrupts));
    // It waits again when it is next looked at, if it may.
    start()
}

/// How many threads do not interrupt now.
pub(crate) fn batched() -> Gauge {
    BATCHED.clone()
}

/// What is known of a thread.
struct Thread {
    begun: Cell<u32>,
    asked: Cell<u32>,
    /// Since when that was counted.
    since: Cell<Option<Instant>>,
    /// What it had waited then, if it did not interrupt.
    waited: Cell<Option<Waited>>,
    /// It interrupts until then, since it had to wait for long.
    interrupts_until: Cell<Option<Instant>>,
    policy: Cell<Policy>,
}

/// How long a thread has waited for a processor, and how often it was given one (proc_pid_schedstat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waited {
    in_all: Duration,
    times: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// It is somebody else's, or cannot be changed.
    Fixed,
    /// It interrupts.
    Interrupts,
    /// It does not.
    Batched,
}

impl Policy {
    /// As the kernel has it; `None` if it is not ours.
    const fn number(self) -> Option<libc::c_int> {
        match self {
            Self::Fixed => None,
            Self::Interrupts => Some(libc::SCHED_OTHER),
            Self::Batched => Some(libc::SCHED_BATCH),
        }
    }
}

impl Thread {
    const fn new() -> Self {
        Self {
            begun: Cell::new(0),
            asked: Cell::new(0),
            since: Cell::new(None),
            waited: Cell::new(None),
            interrupts_until: Cell::new(None),
            policy: Cell::new(Policy::Interrupts),
        }
    }

    /// `waited` says how long it has, so far.
    fn look(&self, now: Instant, waited: impl FnOnce() -> Option<Waited>) {
        let Some(since) = self.since.get() else {
            self.since.set(Some(now));
            return;
        };
        let took = now.saturating_duration_since(since);
        if took < WINDOW {
            return;
        }
        self.since.set(Some(now));
        let is_for_workers = is_for_workers(self.begun.take(), self.asked.take(), took);
        // Where the kernel does not tell, it might be for long.
        let waited = if is_for_workers { waited() } else { None };
        let batched = waited.is_some_and(|waited| !self.waits_long(now, waited));
        let wanted = if batched { Policy::Batched } else { Policy::Interrupts };
        self.change(wanted);
        self.waited.set(waited.filter(|_| self.policy.get() == Policy::Batched));
    }

    /// Whether it has to wait for long, or had to lately, when it does not interrupt.
    fn waits_long(&self, now: Instant, waited: Waited) -> bool {
        if self.waited.get().is_some_and(|before| waited.since(before) > WAIT_MAX) {
            self.interrupts_until.set(Some(now + INTERRUPTS_FOR));
        }
        self.interrupts_until.get().is_some_and(|until| now < until)
    }

    fn change(&self, wanted: Policy) {
        let former = self.policy.get();
        if [Policy::Fixed, wanted].contains(&former) {
            return;
        }
        // Somebody else may have changed it.
        let changed = has_policy(former) && set_policy(wanted).inspect_err(tell).is_ok();
        let policy = if changed { wanted } else { Policy::Fixed };
        self.policy.set(policy);
        BATCHED.inc_by(i64::from(policy == Policy::Batched) - i64::from(former == Policy::Batched));
    }
}

impl Waited {
    /// `None` where the kernel does not count it.
    fn of_this_thread() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace().skip(1);
        let in_all = Duration::from_nanos(fields.next()?.parse().ok()?);
        Some(Self { in_all, times: fields.next()?.parse().ok()? })
    }

    /// How long it has waited each time since, on average.
    fn since(self, before: Self) -> Duration {
        let times = self.times.saturating_sub(before.times).max(1);
        self.in_all.saturating_sub(before.in_all).div_f64(times as f64)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.policy.get() == Policy::Batched {
            BATCHED.dec();
        }
    }
}

/// Whether a thread that has begun so many exchanges, and asked so many of Workers, does little else than that.
fn is_for_workers(begun: u32, asked: u32, took: Duration) -> bool {
    // A task may have moved from thread to thread.
    let others = begun.saturating_sub(asked);
    f64::from(asked) >= f64::from(ASKED_PER_SECOND_MIN) * took.as_secs_f64()
        && others.saturating_mul(OTHERS_ONE_OF) < begun.max(1)
}

/// Whether this thread has the policy that we believe it to have.
fn has_policy(policy: Policy) -> bool {
    // SAFETY: it reads the policy of the calling thread, and takes no pointer.
    let is = unsafe { libc::sched_getscheduler(0) };
    policy.number() == Some(is)
}

/// Gives this thread its policy.
fn set_policy(policy: Policy) -> io::Result<()> {
    let Some(number) = policy.number() else { return Ok(()) };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads the parameters, which outlive the call.
    let answer = unsafe { libc::sched_setscheduler(0, number, &raw const parameters) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Says, once, that policies cannot be changed here.
fn tell(error: &io::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::info!(%error, "threads that have Workers answer interrupt them: their policy cannot be changed");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_is_for_workers_if_much_is_asked_of_them_and_nearly_nothing_else() {
        let second = Duration::from_secs(1);
        for (begun, asked, expected) in [
            (0, 0, false),
            (1_999, 1_999, false),
            (2_000, 2_000, true),
            (1_900, 2_000, true),
            (2_133, 2_000, true),
            (2_134, 2_000, false),
            (20_000, 2_000, false),
            (u32::MAX, 2_000, false),
        ] {
            assert_eq!(is_for_workers(begun, asked, second), expected, "{asked} of {begun}");
        }
        assert!(is_for_workers(200, 200, WINDOW) && !is_for_workers(200, 200, 2 * WINDOW));
    }

    #[test]
    fn what_a_thread_has_waited_is_read_and_compared() {
        let waited = |ms, times| Waited { in_all: Duration::from_millis(ms), times };
        assert_eq!(Waited::read("123 5000000 7\n"), Some(waited(5, 7)));
        for bad in ["", "1", "1 2", "1 x 3"] {
            assert_eq!(Waited::read(bad), None, "{bad}");
        }
        assert_eq!(waited(25, 17).since(waited(5, 7)), Duration::from_millis(2));
        assert_eq!(waited(25, 7).since(waited(5, 7)), Duration::from_millis(20), "it was not woken at all");
        assert!(Waited::of_this_thread().is_some(), "the kernel counts it");
    }

    #[test]
    fn a_thread_changes_its_policy_with_what_it_serves_and_how_long_it_waits() {
        set_policy(Policy::Interrupts).expect("it may be changed");
        let thread = Thread::new();
        let mut now = Instant::now();
        let mut waited = Waited { in_all: Duration::ZERO, times: 0 };
        // In a window it begins so much, asks so much, and waits for so long, each of a hundred times.
        let mut window = |begun: u32, asked: u32, wait: Duration| {
            thread.look(now, || Some(waited));
            thread.begun.set(begun);
            thread.asked.set(asked);
            now += WINDOW;
            waited = Waited { in_all: waited.in_all + 100 * wait, times: waited.times + 100 };
            thread.look(now, || Some(waited));
            policy()
        };
        let short = WAIT_MAX / 2;
        assert_eq!(window(1_000, 0, short), libc::SCHED_OTHER, "nothing is asked of Workers");
        assert_eq!(window(1_000, 1_000, short), libc::SCHED_BATCH);
        assert_eq!(window(1_000, 1_000, short), libc::SCHED_BATCH);
        assert_eq!(window(1_000, 900, short), libc::SCHED_OTHER, "there are others");
        assert_eq!(window(1_000, 1_000, 2 * WAIT_MAX), libc::SCHED_BATCH, "that was while it interrupted");
        assert_eq!(window(0, 0, short), libc::SCHED_OTHER, "it has nothing to do");
        assert_eq!(window(1_000, 1_000, short), libc::SCHED_BATCH);
        assert_eq!(window(1_000, 1_000, 2 * WAIT_MAX), libc::SCHED_OTHER, "it waits for long");
        let windows = INTERRUPTS_FOR.as_millis() / WINDOW.as_millis();
        for _ in 1..windows {
            assert_eq!(window(1_000, 1_000, short), libc::SCHED_OTHER, "it had to, lately");
        }
        assert_eq!(window(1_000, 1_000, short), libc::SCHED_BATCH, "it is tried again");

        thread.asked.set(1_000);
        thread.look(now + WINDOW, || None);
        assert_eq!(policy(), libc::SCHED_OTHER, "nobody knows how long it waits");
    }

    #[test]
    fn a_policy_that_somebody_else_gives_a_thread_stays() {
        let thread = Thread::new();
        thread.change(Policy::Batched);
        assert_eq!(policy(), libc::SCHED_BATCH);
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) }, 0);
        thread.change(Policy::Interrupts);
        assert_eq!((policy(), thread.policy.get()), (libc::SCHED_IDLE, Policy::Fixed));
        thread.change(Policy::Batched);
        assert_eq!((policy(), thread.policy.get()), (libc::SCHED_IDLE, Policy::Fixed));
    }

    #[test]
    fn a_process_that_is_started_meanwhile_has_the_ordinary_policy() {
        THREAD.with(|thread| thread.change(Policy::Batched));
        assert_eq!(policy(), libc::SCHED_BATCH);
        let said = start_ordinarily(|| std::process::Command::new("chrt").args(["-p", "0"]).output());
        let said = String::from_utf8_lossy(&said.expect("chrt(1) is there").stdout).into_owned();
        assert!(said.contains("SCHED_OTHER"), "{said}");
    }

    /// What a thread of a runtime has as its policy that another one starts which waits for Workers.
    fn policy_of_a_runtimes_thread() -> libc::c_int {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        yield_to_workers(&mut builder);
        set_policy(Policy::Batched).expect("it may be changed");
        let runtime = builder.worker_threads(1).build().expect("a runtime");
        runtime.block_on(runtime.spawn(async { policy() })).expect("it runs")
    }

    #[test]
    fn threads_that_are_started_by_one_that_waits_do_not_and_a_policy_that_was_given_stays() {
        set_policy(Policy::Interrupts).expect("it may be changed");
        assert_eq!(policy_of_a_runtimes_thread(), libc::SCHED_OTHER);
        assert_eq!(policy(), libc::SCHED_BATCH, "now it is as an operator would have given it");
        assert_eq!(policy_of_a_runtimes_thread(), libc::SCHED_BATCH);
    }

    #[test]
    fn a_thread_of_a_runtime_waits_while_workers_are_asked_and_no_longer() {
        set_policy(Policy::Interrupts).expect("it may be changed");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        yield_to_workers(&mut builder);
        let runtime = builder.worker_threads(1).enable_time().build().expect("a runtime");
        let serving = runtime.spawn(async {
            // A hundred requests come at once, again and again: the thread sleeps in between.
            let mut come = tokio::time::interval(Duration::from_millis(1));
            for (asks, wanted) in [(true, libc::SCHED_BATCH), (false, libc::SCHED_OTHER)] {
                let begun = Instant::now();
                while policy() != wanted {
                    assert!(begun.elapsed() < Duration::from_secs(60), "it never has the policy {wanted}");
                    for _ in 0..100 {
                        exchange_begun();
                        if asks {
                            engine_asked();
                        }
                    }
                    come.tick().await;
                }
            }
        });
        runtime.block_on(serving).expect("it has both, one after the other");
    }
}
