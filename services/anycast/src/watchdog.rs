//! The process that outlives the node: owns BIRD, and withdraws when the node is dead, silent or says so.
//!
//! It is this same program, started by the node with the reading end of a pipe as its standard input. It is a session of
//! its own, ignores the signals that end a node, holds no lock and no network socket, and waits in one `poll`.

use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigHandler, Signal, signal},
    },
};
use proxima_bird::Control;
use tracing::{error, info, warn};

use crate::{
    AnycastError,
    config::{config_path, control_path, leaving},
    deadman::{Beat, Deadman},
};

/// How often BIRD's life is looked at, and an order that failed is given again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two starts of BIRD.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What the node tells its watchdog on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// Where BIRD's files lie.
    pub run_dir: PathBuf,
    /// The BIRD program.
    pub bird: PathBuf,
    /// How long the node may be silent.
    pub silence: Duration,
    /// BIRD's protocols that hold the announcements.
    pub announcements: Vec<String>,
}

/// Runs until the pipe at standard input is closed; then withdraws, ends BIRD and returns.
///
/// # Errors
/// If standard input is not a pipe that can be waited for. BIRD's failures are logged and mended.
pub fn run(config: WatchdogConfig) -> Result<(), AnycastError> {
    let stdin = io::stdin();
    prepare_process(&stdin).map_err(AnycastError::system("preparing", "the watchdog"))?;
    let mut deadman = Deadman::new(config.silence);
    let mut bird = Bird::new(config);
    info!(pid = std::process::id(), "watchdog: watching");
    loop {
        let now = Instant::now();
        bird.keep(now);
        bird.tell(deadman.says(now));
        let wait = deadman.trips_in(now).unwrap_or(LOOK_EVERY).min(LOOK_EVERY) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let mut waiting = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(AnycastError::system("waiting for", "the node")(error.into())),
        }
        let mut octets = [0; 256];
        match nix::unistd::read(&stdin, &mut octets) {
            Ok(0) => {
                warn!("watchdog: the node has gone: withdrawing");
                bird.tell(Beat::Withdraw);
                return Ok(());
            }
            // Beats that piled up while this process slept: only the last one speaks of now.
            Ok(read) => {
                if let Some(beat) = octets[..read].iter().rev().copied().find_map(Beat::of) {
                    deadman.beat(beat, Instant::now());
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(AnycastError::system("reading from", "the node")(error.into())),
        }
    }
}

/// A session of its own, deaf to what ends a node, and never waiting inside a read.
fn prepare_process(stdin: &io::Stdin) -> io::Result<()> {
    // Fails only for a leader of a process group, who needs no new session to be deaf to the node's.
    nix::unistd::setsid().ok();
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler, so none of our code can run in a signal's context.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    let flags = OFlag::from_bits_truncate(fcntl(stdin, FcntlArg::F_GETFL)?);
    fcntl(stdin, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// What BIRD knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It has just been started, with the announcements disabled.
    Nothing,
    /// It confirmed this.
    Confirmed(Beat),
    /// It was told to announce, and did not confirm: it may have done so, whole or in part.
    Unsure,
}

impl Told {
    /// Whether BIRD, knowing this, must be told what the beat says.
    fn must_be_told(self, beat: Beat) -> bool {
        match self {
            Self::Nothing => beat != Beat::Withdraw,
            Self::Confirmed(told) => told != beat,
            Self::Unsure => true,
        }
    }
}

/// BIRD, kept running, and what it has been told.
struct Bird {
    config: WatchdogConfig,
    child: Option<Child>,
    started: Option<Instant>,
    told: Told,
}

impl Bird {
    const fn new(config: WatchdogConfig) -> Self {
        Self { config, child: None, started: None, told: Told::Nothing }
    }

    /// Starts BIRD if it does not run.
    fn keep(&mut self, now: Instant) {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => warn!(%status, "watchdog: BIRD has ended: starting it again"),
                Err(error) => warn!(%error, "watchdog: BIRD cannot be watched: starting it again"),
            }
            self.child = None;
            self.told = Told::Nothing;
        }
        if self.started.is_some_and(|started| now.saturating_duration_since(started) < RESTART_AFTER) {
            return;
        }
        self.started = Some(now);
        match start_bird(&self.config.bird, &self.config.run_dir) {
            Ok(child) => self.child = Some(child),
            Err(error) => error!(%error, "watchdog: BIRD cannot be started"),
        }
    }

    /// Tells BIRD, unless it knows.
    fn tell(&mut self, beat: Beat) {
        if self.child.is_none() || !self.told.must_be_told(beat) {
            return;
        }
        let tell = || -> Result<(), AnycastError> {
            let mut control = Control::connect(&control_path(&self.config.run_dir))?;
            for protocol in &self.config.announcements {
                for order in orders(beat, protocol) {
                    control.say(&order)?;
                }
            }
            Ok(())
        };
        match tell() {
            Ok(()) => {
                info!(says = ?beat, "watchdog: BIRD has been told");
                self.told = Told::Confirmed(beat);
            }
            // Just started, its socket may not be there yet: said again within moments. A withdrawal that BIRD does not
            // take is made by ending BIRD: its sessions close, and the routers withdraw by themselves.
            Err(error) if beat != Beat::Withdraw => {
                info!(%error, "watchdog: BIRD has not taken the announcement yet");
                self.told = Told::Unsure;
            }
            Err(error) => {
                error!(%error, "watchdog: BIRD has not taken the withdrawal: ending it");
                self.end();
            }
        }
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        self.told = Told::Nothing;
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.end();
    }
}

/// What BIRD is told of an announcement. What is to be said is there before what is not goes: between the two there is no
/// moment without either.
fn orders(beat: Beat, announced: &str) -> [String; 2] {
    let leaving = leaving(announced);
    match beat {
        Beat::Announce => [format!("enable {announced}"), format!("disable {leaving}")],
        Beat::Leave => [format!("enable {leaving}"), format!("disable {announced}")],
        Beat::Withdraw => [format!("disable {announced}"), format!("disable {leaving}")],
    }
}

fn start_bird(program: &Path, run_dir: &Path) -> Result<Child, AnycastError> {
    let (conf, control) = (config_path(run_dir), control_path(run_dir));
    let mut command = Command::new(program);
    command.arg("-f").arg("-c").arg(conf).arg("-s").arg(control).arg("-P").arg(run_dir.join("bird.pid"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: only prctl(2) is called between fork and exec; it is async-signal-safe.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) };
    command.spawn().map_err(AnycastError::system("starting", program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_that_bird_did_not_confirm_is_withdrawn_like_one_that_it_did() {
        use Beat::{Announce, Leave, Withdraw};
        for told in [Told::Unsure, Told::Confirmed(Announce), Told::Confirmed(Leave)] {
            assert!(told.must_be_told(Withdraw));
        }
        assert!(!Told::Nothing.must_be_told(Withdraw) && !Told::Confirmed(Withdraw).must_be_told(Withdraw));
        for beat in [Announce, Leave] {
            assert!(Told::Nothing.must_be_told(beat) && Told::Unsure.must_be_told(beat));
            assert!(!Told::Confirmed(beat).must_be_told(beat));
        }
        assert!(
            Told::Confirmed(Announce).must_be_told(Leave) && Told::Confirmed(Leave).must_be_told(Announce)
        );
    }

    #[test]
    fn a_server_that_leaves_is_announced_all_the_time() {
        assert_eq!(orders(Beat::Leave, "anycast4"), ["enable anycast4_leaving", "disable anycast4"]);
        assert_eq!(orders(Beat::Announce, "anycast4"), ["enable anycast4", "disable anycast4_leaving"]);
        assert_eq!(orders(Beat::Withdraw, "anycast4"), ["disable anycast4", "disable anycast4_leaving"]);
    }
}
