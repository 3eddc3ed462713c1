//! The log made new from a replica, when the node that keeps it has lost its disk, or the log on it is damaged.
//!
//! ```text
//!  survey: is a whole log here? ── refuse          run: set what is damaged aside ─▶ mark the folder
//!          every peer: which log, how far,                 ─▶ a snapshot of the peer furthest ahead
//!          what did it hear of the log's end               ─▶ in force ─▶ take the mark away
//! ```
//!
//! # Invariants
//! * **A survey changes nothing**: it makes, writes and removes no file. Where it finds the log open, it ends.
//! * **A whole log is never replaced**, nor is one made while another one of this network is heard of.
//! * **Nothing of a damaged log is removed**: every state is set aside in the same folder, for who wants to look at it.
//! * **Half a restore is no log**: until the snapshot is in force, the marked folder is refused as a log, so that no
//!   empty network is begun in its place.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::task::TaskTracker;

use crate::{
    LedgerConfig, LedgerError, PeerTls, ReadError, Replica, ReplicaOptions, Sealer, Seq, follower,
    ledger::FOLDER,
    limits::STALE_AFTER,
    peer::{Connection, Dialer, Welcome},
    states,
    store::LogId,
};

/// A replica that the log can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its node's name, by its certificate.
    pub name: Arc<str>,
    /// Which log it follows.
    pub log: LogId,
    /// The last entry that it holds.
    pub seq: Seq,
    /// The log's last entry, as far as it heard.
    pub log_last: Seq,
    /// How long ago it, or whom it follows, heard the log.
    pub log_heard: Option<Duration>,
}

/// What was found out before a restore. Nothing is changed until [`LogRestore::run`].
pub struct LogRestore {
    folder: PathBuf,
    sealer: Sealer,
    options: ReplicaOptions,
    tls: PeerTls,
    damage: Option<String>,
    sources: Vec<(SocketAddr, Result<Source, String>)>,
    best: (SocketAddr, Source),
}

impl LogRestore {
    /// Looks at what is here, and asks every peer what it has. The node must be stopped.
    ///
    /// # Errors
    /// [`LedgerError::Restore`] says why there is nothing to restore here, or nothing to restore from.
    pub async fn survey(
        config: &LedgerConfig,
        data_dir: &Path,
        sealer: Sealer,
        peers: &[SocketAddr],
        tls: PeerTls,
    ) -> Result<Self, LedgerError> {
        let refuse = |why: String| Err(LedgerError::Restore(why));
        if let Some(log) = config.log {
            return refuse(format!(
                "this node follows the log at {log} (`ledger.log`) and mends its replica by itself; restore where the \
                 log is kept"
            ));
        }
        if let Some(address) = config.listen.filter(|address| is_bound(*address)) {
            return refuse(format!("something listens at {address} (`ledger.listen`): stop this node first"));
        }
        let folder = data_dir.join(FOLDER);
        let options = config.replica_options();
        let (ours, damage) = {
            let (folder, sealer) = (folder.clone(), sealer.clone());
            let looking = tokio::task::spawn_blocking(move || look(&folder, sealer, options));
            looking
                .await
                .map_err(|error| LedgerError::Restore(format!("looking was cut short: {error}")))??
        };
        let dialer = Dialer::new(tls.client.clone(), tls.server_name.clone());
        let mut sources = Vec::new();
        for &peer in peers {
            sources.push((peer, ask(&dialer, peer, ours).await?.map(|(source, _)| source)));
        }
        let best = best(&sources)?;
        Ok(Self { folder, sealer, options, tls, damage, sources, best })
    }

    /// What is damaged here; `None` if there is nothing here at all.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Who was asked, and what each has, or why it cannot be restored from.
    pub fn sources(&self) -> &[(SocketAddr, Result<Source, String>)] {
        &self.sources
    }

    /// The peer furthest ahead: the log is made from its replica.
    pub const fn best(&self) -> &(SocketAddr, Source) {
        &self.best
    }

    /// The last entry that a peer has heard of, and so was acknowledged, but that none of them holds.
    pub fn lost(&self) -> Option<Seq> {
        lost(&self.sources, self.best.1.seq)
    }

    /// Makes the log new; returns its last entry.
    ///
    /// # Errors
    /// Why not. The folder is refused as a log until a restore has come to its end.
    pub async fn run(self) -> Result<Seq, LedgerError> {
        let failed = |doing: &str, error: io::Error| {
            LedgerError::Restore(format!("{doing} in {}: {error}", self.folder.display()))
        };
        fs::create_dir_all(&self.folder).map_err(|error| failed("making the folder", error))?;
        refuse_open(&self.folder)?;
        states::mark_restore(&self.folder).map_err(|error| failed("marking the restore", error))?;
        states::set_aside(&self.folder).map_err(|error| failed("setting the damaged log aside", error))?;
        let replica = Replica::open(&self.folder, self.sealer.clone(), self.options)?;
        let (peer, source) = &self.best;
        let dialer = Dialer::new(self.tls.client.clone(), self.tls.server_name.clone());
        let (_, mut connection) =
            ask(&dialer, *peer, Some(source.log)).await?.map_err(LedgerError::Restore)?;
        let loaded = follower::load(&replica, &mut connection, &TaskTracker::new()).await;
        let seq = loaded.map_err(LedgerError::Restore)?;
        if seq < source.seq {
            return Err(LedgerError::Restore(format!("{peer} gave entry {seq} after it had {}", source.seq)));
        }
        states::unmark_restore(&self.folder).map_err(|error| failed("ending the restore", error))?;
        Ok(seq)
    }
}

/// Whether somebody listens at this address. One that is not this machine's tells nothing.
fn is_bound(address: SocketAddr) -> bool {
    address.port() != 0
        && TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Refuses a log that a process has open, whether or not it listens anywhere.
fn refuse_open(folder: &Path) -> Result<(), LedgerError> {
    match states::in_use(folder) {
        Ok(false) => Ok(()),
        Ok(true) => Err(LedgerError::Restore(format!(
            "a process has the log in {} open: stop this node first",
            folder.display()
        ))),
        Err(error) => Err(LedgerError::Restore(format!(
            "whether a process has the log in {} open: {error}; run this as the user that the node runs as",
            folder.display()
        ))),
    }
}

/// Which log was here, and what is wrong with it. Reads all of it: one that is whole is refused.
fn look(
    folder: &Path,
    sealer: Sealer,
    options: ReplicaOptions,
) -> Result<(Option<LogId>, Option<String>), LedgerError> {
    if !folder.exists() {
        return Ok((None, None));
    }
    refuse_open(folder)?;
    let replica = Replica::look(folder, sealer, options)?;
    let ours = replica.log_id();
    match replica.verify() {
        Ok(_) if states::is_marked_restore(folder) => {
            Ok((ours, Some("a restore that did not come to its end".to_owned())))
        }
        Ok(_) => Err(LedgerError::Restore(format!(
            "a whole log is in {}, up to entry {}, and is not replaced: start the node. If it is not this network's, \
             move that folder away first",
            folder.display(),
            replica.seq()
        ))),
        Err(ReadError::NotReady) => Ok((ours, None)),
        Err(ReadError::Corrupt(reason)) => Ok((ours, Some(reason))),
        Err(error) => Err(LedgerError::Restore(format!("what is in {}: {error}", folder.display()))),
    }
}

/// What a peer has, or why it cannot be restored from. An error if nothing may be restored at all.
async fn ask(
    dialer: &Dialer,
    peer: SocketAddr,
    ours: Option<LogId>,
) -> Result<Result<(Source, Connection), String>, LedgerError> {
    let (connection, welcome) = match dialer.dial(peer, ours).await {
        Ok(answered) => answered,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let Welcome { log, keeps_log, pulse } = welcome;
    if keeps_log {
        return Err(LedgerError::Restore(format!(
            "{peer} keeps a log already: two of them would be two networks"
        )));
    }
    if let Some(heard) = pulse.log_heard.filter(|heard| *heard < STALE_AFTER) {
        return Err(LedgerError::Restore(format!(
            "the log lives: {peer} heard it {heard:?} ago. Stop its node, and try again in some seconds"
        )));
    }
    let Some(log) = log else { return Ok(Err("it has no state".to_owned())) };
    if let Some(ours) = ours.filter(|ours| *ours != log) {
        return Ok(Err(format!("it follows the log {log}; the one here was {ours}")));
    }
    let name = Arc::clone(&connection.name);
    let (seq, log_last, log_heard) = (pulse.seq, pulse.log_last, pulse.log_heard);
    Ok(Ok((Source { name, log, seq, log_last, log_heard }, connection)))
}

fn lost(sources: &[(SocketAddr, Result<Source, String>)], held: Seq) -> Option<Seq> {
    let heard = sources.iter().filter_map(|(_, source)| source.as_ref().ok()).map(|source| source.log_last);
    heard.max().filter(|last| *last > held)
}

/// The peer furthest ahead; all must follow the same log.
fn best(sources: &[(SocketAddr, Result<Source, String>)]) -> Result<(SocketAddr, Source), LedgerError> {
    let mut best: Option<(SocketAddr, &Source)> = None;
    let mut problems = Vec::new();
    for (peer, source) in sources {
        match (source, best) {
            (Err(problem), _) => problems.push(format!("{peer}: {problem}")),
            (Ok(source), Some((other, ahead))) if ahead.log != source.log => {
                return Err(LedgerError::Restore(format!(
                    "{other} follows the log {}, and {peer} the log {}: name the peers of one network",
                    ahead.log, source.log
                )));
            }
            (Ok(source), Some((_, ahead))) if ahead.seq >= source.seq => {}
            (Ok(source), _) => best = Some((*peer, source)),
        }
    }
    best.map(|(peer, source)| (peer, source.clone()))
        .ok_or_else(|| LedgerError::Restore(format!("no peer has a state ({})", problems.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(seq: u64, log_last: u64) -> (SocketAddr, Result<Source, String>) {
        let source = Source {
            name: "node".into(),
            log: LogId([1; 16]),
            seq: Seq(seq),
            log_last: Seq(log_last),
            log_heard: None,
        };
        (SocketAddr::from(([192, 0, 2, 1], u16::try_from(seq).unwrap())), Ok(source))
    }

    #[test]
    fn entries_that_a_peer_has_heard_of_and_none_holds_are_lost() {
        let nobody = (SocketAddr::from(([192, 0, 2, 1], 99)), Err("refused".to_owned()));
        let sources = [source(3, 9), nobody.clone(), source(7, 7), source(5, 8)];
        let (_, best) = best(&sources).unwrap();
        assert_eq!(best.seq, Seq(7));
        assert_eq!(lost(&sources, best.seq), Some(Seq(9)));
        assert_eq!(lost(&[source(7, 7), source(5, 7)], Seq(7)), None);
        let none = super::best(&[nobody]).unwrap_err().to_string();
        assert!(none.contains("no peer has a state (192.0.2.1:99: refused)"), "{none}");
    }
}
