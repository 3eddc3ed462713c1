//! The request log: which requests get a line, and the thread that writes them.
//!
//! ```text
//!  request ends ─▶ sampled, or an error? ─▶ line ─▶ [ QUEUE_LINES_MAX ] ─▶ thread: batch of whole lines ─▶ one write
//!                                            full: dropped, counted          a second old, or BATCH_BYTES ─┘
//! ```
//!
//! Whatever the disk does, requests do not wait for it: a full queue, a full disk or a file that cannot be opened again
//! costs lines, which are counted, and a warning. The file is opened for appending and each batch is one write, so that
//! two processes (a graceful restart) do not tear each other's lines. A file that was renamed or removed is noticed
//! within a second and opened anew; a signal (SIGHUP) has the same done at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;
use proxima_pipeline::{Ended, Exchange, RayId};

use super::RequestLogConfig;
use super::line::{About, line};
use crate::EdgeError;
use crate::metrics::{EdgeMetrics, LogLines};

/// Lines that wait for the thread: a fifth of a second of a very busy server, and with lines of usual length (800
/// octets) some 13 MB.
const QUEUE_LINES_MAX: usize = 16 * 1024;
/// Octets that are written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// How old a line may become before it is written, and how often the file is looked for at its path.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Who may read the file: it has visitors' addresses in it.
const MODE: u32 = 0o640;

enum Message {
    Line(Vec<u8>),
    /// Nothing will come after.
    Close,
}

/// The log. Dropping it ends the thread, which writes what it has.
pub(crate) struct RequestLog {
    lines: SyncSender<Message>,
    config: RequestLogConfig,
    metrics: Arc<EdgeMetrics>,
    reopen: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RequestLog {
    /// Opens the file and starts the thread. `path` is the configuration's, in full.
    ///
    /// # Errors
    /// Why the file cannot be opened.
    pub(crate) fn start(
        config: RequestLogConfig,
        path: PathBuf,
        metrics: Arc<EdgeMetrics>,
    ) -> Result<Self, EdgeError> {
        let failed = |source| EdgeError::RequestLog { path: path.clone(), source };
        let output = match config.is_stdout() {
            true => Output::Stdout,
            false => Output::File(open(&path).map_err(failed)?, path.clone()),
        };
        let (lines, queue) = sync_channel(QUEUE_LINES_MAX);
        let reopen = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            output,
            reopen: Arc::clone(&reopen),
            metrics: Arc::clone(&metrics),
            batch: Vec::with_capacity(BATCH_BYTES),
            looked: Instant::now(),
            torn: false,
            failing: false,
        };
        let thread = std::thread::Builder::new().name("request-log".to_owned());
        let thread = thread.spawn(move || writer.run(&queue)).map_err(failed)?;
        Ok(Self { lines, config, metrics, reopen, thread: Mutex::new(Some(thread)) })
    }

    /// Whether a request of this name is logged however it ends.
    pub(super) fn takes(&self, ray: &RayId) -> bool {
        ray.is_sampled(self.config.sample_interval)
    }

    /// Logs an exchange that has ended, if it is one of those that are.
    pub(super) fn note(&self, exchange: &Exchange, ended: &Ended, content_type: Option<&HeaderValue>) {
        let failed = ended.answered.is_some_and(|(status, _)| status.as_u16() >= 500);
        let sample_interval = match () {
            // It stands for itself alone: all of its kind are here.
            () if failed && self.config.always_errors => 1,
            () if self.takes(&exchange.ray) => self.config.sample_interval,
            () => return,
        };
        let about = About { exchange, ended, content_type, sample_interval, query: self.config.query };
        if let Some(line) = line(about)
            && self.lines.try_send(Message::Line(line)).is_err()
        {
            self.metrics.log_lines(LogLines::QueueFull, 1);
        }
    }

    /// Has the file opened anew: the former was moved away.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Writes what is there and ends the thread; waits for that. What is noted afterwards is dropped.
    pub(crate) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Fails only when the thread has ended.
            self.lines.send(Message::Close).ok();
            thread.join().ok();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

enum Output {
    File(File, PathBuf),
    Stdout,
}

impl Output {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => file.write(octets),
            // Not flushed by itself before a line's end; a batch ends with one.
            Self::Stdout => io::stdout().write_all(octets).map(|()| octets.len()),
        }
    }
}

struct Writer {
    output: Output,
    reopen: Arc<AtomicBool>,
    metrics: Arc<EdgeMetrics>,
    /// Whole lines.
    batch: Vec<u8>,
    /// When the file was last looked for at its path.
    looked: Instant,
    /// Whether the last octet that was written is within a line.
    torn: bool,
    failing: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let due = self.looked + FLUSH_EVERY;
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Line(line)) => {
                    self.batch.extend_from_slice(&line);
                    if self.batch.len() >= BATCH_BYTES {
                        self.write();
                    }
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due {
                self.look();
                self.write();
            }
        }
        self.look();
        self.write();
    }

    /// Opens the file anew if it is not at its path any more, or if it was asked for.
    fn look(&mut self) {
        self.looked = Instant::now();
        let asked = self.reopen.swap(false, Ordering::Relaxed);
        let Output::File(file, path) = &mut self.output else { return };
        if !asked && is_at(file, path) {
            return;
        }
        match open(path) {
            Ok(anew) => (*file, self.torn) = (anew, false),
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(path = %path.display(), %error, "the request log cannot be opened anew: the former file is written to");
                }
            }
        }
    }

    /// Writes the batch; what cannot be written is lost.
    fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let written = self.write_all();
        let lines = |octets: &[u8]| octets.iter().filter(|octet| **octet == b'\n').count() as u64;
        let (gone, left) = self.batch.split_at(*written.as_ref().unwrap_or_else(|(written, _)| written));
        self.metrics.log_lines(LogLines::Written, lines(gone));
        self.metrics.log_lines(LogLines::WriteFailed, lines(left));
        if let Some(last) = gone.last() {
            self.torn = *last != b'\n';
        }
        match written {
            Ok(_) if std::mem::take(&mut self.failing) => {
                tracing::info!("the request log is written again");
            }
            Ok(_) => {}
            Err((_, error)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the request log cannot be written: lines are lost, and counted in proxima_edge_request_log_lines_total");
                }
            }
        }
        self.batch.clear();
    }

    /// How many octets of the batch were written.
    fn write_all(&mut self) -> Result<usize, (usize, io::Error)> {
        // Half a line, from when the disk was full: the next shall not be spoilt by it.
        if self.torn {
            self.output.write(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < self.batch.len() {
            match self.output.write(&self.batch[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(written)
    }
}

/// Whether this is the file at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => place(ours) == place(there),
        _ => false,
    }
}

#[cfg(test)]
#[path = "request_log_tests.rs"]
mod tests;
