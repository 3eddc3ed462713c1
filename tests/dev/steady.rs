//! Clients that ask again and again while something is done to the server, and may fail not once.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
};

use crate::{dev::DEADLINE, process::output};

/// Asks once; panics unless all is well.
pub(crate) type Asker = Box<dyn FnMut() + Send>;

/// An asker that runs a command, and wants to see this in what it prints.
pub(crate) fn command(mut command: Command, wanted: &'static str) -> Asker {
    Box::new(move || {
        let (succeeded, text) = output(&mut command);
        assert!(succeeded && text.contains(wanted), "{command:?}: {text}");
    })
}

pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    succeeded: Receiver<usize>,
    threads: Vec<JoinHandle<()>>,
}

impl Steady {
    pub(crate) fn start(askers: Vec<Asker>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, succeeded) = channel();
        let threads = askers.into_iter().enumerate().map(|(number, mut ask)| {
            let (stop, tell) = (Arc::clone(&stop), tell.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask();
                    tell.send(number).ok();
                }
            })
        });
        Self { threads: threads.collect(), stop, succeeded }
    }

    /// Waits until each asker has succeeded so often from now on.
    pub(crate) fn each(&self, times: usize) {
        self.succeeded.try_iter().for_each(drop);
        let mut counts = vec![0; self.threads.len()];
        while counts.iter().any(|count| *count < times) {
            let number = self.succeeded.recv_timeout(DEADLINE).expect("askers go on succeeding");
            counts[number] += 1;
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "an asker failed: see above");
        }
    }

    /// Ends all of them; panics if one failed.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("an asker failed: see above"));
    }
}
