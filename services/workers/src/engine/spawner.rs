//! Starts processes, all from one thread that lives as long as they may.

use std::{io, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// Starts that wait for their turn: each process is started by one request, which waits.
const WAITING_MAX: usize = 64;

/// A command, and whom to tell.
type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread. A process that is to die with its parent (`PR_SET_PDEATHSIG`) dies with the thread that started it, and the
/// runtime's own come and go.
pub(crate) struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    /// Starts the thread; it ends with this. To be called within the runtime.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, mut taken) = mpsc::channel::<Order>(WAITING_MAX);
        let runtime = Handle::current();
        thread::Builder::new().name("workers-spawner".to_owned()).spawn(move || {
            let _within = runtime.enter();
            while let Some((mut command, started)) = taken.blocking_recv() {
                // Whoever asked may have gone; then the process is ended as it is dropped.
                started.send(command.spawn()).ok();
            }
        })?;
        Ok(Self(orders))
    }

    /// Starts a process. What it inherits is closed here then: connections to its listener are refused once it is gone.
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (started, outcome) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.0.send((command, started)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}
