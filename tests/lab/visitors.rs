//! Visitors of sites, who ask one after the other, each as soon as the former answer has come, and what became of all they asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    http::{Answer, exchange},
    two_pops::TwoPops,
};

/// What is waited for happens by then, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// What a visitor asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) host: &'static str,
    pub(crate) path: String,
}

/// What a visitor asked for, and what came.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) client: &'static str,
    /// Which of all visitors.
    pub(crate) visitor: usize,
    pub(crate) asked: Asked,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// The answer, or why there was none.
    pub(crate) answer: Result<Answer, String>,
}

impl Visit {
    /// What was said, if it is what was asked for.
    pub(crate) fn said(&self) -> Option<&str> {
        let answer = self.answer.as_ref().ok()?;
        (answer.status == 200).then_some(&*answer.body)
    }

    pub(crate) fn is_of(&self, asked: &Asked) -> bool {
        (self.asked.host, &self.asked.path) == (asked.host, &asked.path)
    }
}

pub(crate) struct Visitors {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Whose each visitor is.
    clients: Vec<&'static str>,
    come: Receiver<Visit>,
    /// All visits that have ended, as they ended.
    pub(crate) visits: Vec<Visit>,
}

impl Visitors {
    /// So many of each client, who ask at the anycast address for what belongs to the next number: each number is asked for once, and
    /// those of a client are as far from each other as there are clients.
    pub(crate) fn start(
        lab: &TwoPops,
        clients: &[(&'static str, usize)],
        next: impl Fn(usize) -> Asked + Send + Sync + 'static,
    ) -> Self {
        let (over, next, (send, come)) = (Arc::<AtomicBool>::default(), Arc::new(next), channel());
        let (mut threads, mut of) = (Vec::new(), Vec::new());
        for (at, (client, count)) in clients.iter().enumerate() {
            let (step, number) = (clients.len(), Arc::new(AtomicUsize::new(at)));
            for _ in 0..*count {
                let (lab, over, send) = (lab.lab().clone(), Arc::clone(&over), send.clone());
                let (next, number) = (Arc::clone(&next), Arc::clone(&number));
                let (client, visitor) = (*client, of.len());
                threads.push(std::thread::spawn(move || {
                    let ask = || next(number.fetch_add(step, Ordering::Relaxed));
                    let asking = lab.within(client, || {
                        visit((client, visitor), &ask, &over, &send);
                        Ok(())
                    });
                    asking.unwrap();
                }));
                of.push(client);
            }
        }
        Self { over, threads, clients: of, come, visits: Vec::new() }
    }

    /// Waits until the visits are as wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&[Visit]) -> bool) {
        let begun = Instant::now();
        while !wanted(&self.visits) {
            let left = DEADLINE.saturating_sub(begun.elapsed());
            let Ok(visit) = self.come.recv_timeout(left) else {
                let failed = self.visits.iter().rev().filter(|visit| visit.said().is_none()).take(5);
                panic!(
                    "not in time: {what}; {} visits, the last failed: {:#?}",
                    self.visits.len(),
                    failed.collect::<Vec<_>>()
                );
            };
            self.visits.push(visit);
        }
        self.visits.extend(self.come.try_iter());
    }

    /// Waits until each visitor of a client was answered, or not, what it asked for from now on: nothing that it had begun before is
    /// under way then.
    pub(crate) fn until_each_has_asked(&mut self, client: &str) {
        let (since, from) = (Instant::now(), self.visits.len());
        let visitors = self.clients.iter().enumerate().filter(|(_, of)| **of == client);
        let visitors: Vec<usize> = visitors.map(|(visitor, _)| visitor).collect();
        self.until(&format!("{client} has asked"), |visits| {
            let mut all = visitors.iter();
            all.all(|of| visits[from..].iter().any(|visit| visit.visitor == *of && visit.begun > since))
        });
    }

    /// All visits that have ended by now.
    pub(crate) fn so_far(&mut self) -> &[Visit] {
        self.visits.extend(self.come.try_iter());
        &self.visits
    }

    /// Ends it, when the last answers have come; all visits.
    pub(crate) fn end(mut self) -> Vec<Visit> {
        self.stop().into_iter().for_each(|ended| ended.unwrap());
        self.visits.extend(self.come.try_iter());
        std::mem::take(&mut self.visits)
    }

    /// Tells all to stop, and waits until they have; how each of them ended.
    fn stop(&mut self) -> Vec<std::thread::Result<()>> {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(JoinHandle::join).collect()
    }
}

/// A test that fails leaves nobody in the lab: it is taken down next.
impl Drop for Visitors {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

fn visit(
    (client, visitor): (&'static str, usize),
    next: &impl Fn() -> Asked,
    over: &AtomicBool,
    send: &Sender<Visit>,
) {
    let address: SocketAddr = "198.18.0.1:80".parse().unwrap();
    while !over.load(Ordering::Relaxed) {
        let asked = next();
        let Asked { method, host, path } = &asked;
        let length = if *method == "POST" { "content-length: 0\r\n" } else { "" };
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{length}connection: close\r\n\r\n");
        let begun = Instant::now();
        let answer = exchange(address, &request).map_err(|error| error.to_string());
        let took = begun.elapsed();
        if send.send(Visit { client, visitor, asked, begun, took, answer }).is_err() {
            return;
        }
    }
}
