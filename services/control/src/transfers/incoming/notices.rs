//! What primaries say at any server, on its way into the log.

use std::{collections::HashMap, sync::Arc};

use proxima_chassis::Shutdown;
use proxima_model::{SecondaryZone, ZoneId, ZoneNotice};
use proxima_pipeline::ZoneNotices;
use tokio::{
    sync::{Mutex, mpsc},
    time::Instant,
};

use crate::{
    api::{Api, write::Author},
    limits,
};

/// Takes notices from DNS without waiting, and writes each zone's to the log now and then.
pub(crate) struct Notices {
    heard: mpsc::Sender<ZoneId>,
    waiting: Mutex<Option<mpsc::Receiver<ZoneId>>>,
}

impl Notices {
    pub(crate) fn new() -> Arc<Self> {
        let (heard, waiting) = mpsc::channel(limits::NOTICES_WAITING_MAX);
        Arc::new(Self { heard, waiting: Mutex::new(Some(waiting)) })
    }

    /// Writes them until the node drains.
    pub(crate) async fn run(self: Arc<Self>, api: Arc<Api>, author: Author, shutdown: Shutdown) {
        let Some(mut waiting) = self.waiting.lock().await.take() else { return };
        let mut due: HashMap<ZoneId, Instant> = HashMap::new();
        let mut written: HashMap<ZoneId, Instant> = HashMap::new();
        loop {
            let next = due.values().min().copied();
            let wait = next.unwrap_or_else(|| Instant::now() + limits::UPKEEP_INTERVAL);
            tokio::select! {
                () = shutdown.draining() => return,
                zone = waiting.recv() => match zone {
                    Some(zone) => {
                        let last = written.get(&zone).copied();
                        let at = last.map_or_else(Instant::now, |last| last + limits::NOTICE_EVERY);
                        due.entry(zone).or_insert(at);
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(wait) => {}
            }
            let now = Instant::now();
            let ready: Vec<ZoneId> =
                due.iter().filter(|(_, at)| **at <= now).map(|(zone, _)| *zone).collect();
            written.retain(|_, at| now.duration_since(*at) < limits::NOTICE_EVERY);
            for zone in ready {
                due.remove(&zone);
                written.insert(zone, now);
                note(&api, &author, zone).await;
            }
        }
    }
}

async fn note(api: &Arc<Api>, author: &Author, zone: ZoneId) {
    let noted = api.write(author, move |draft| {
        if draft.read::<SecondaryZone>(&zone)?.is_some() {
            draft.put(&ZoneNotice { zone, at: draft.now });
        }
        Ok(())
    });
    if let Err(error) = noted.await {
        tracing::warn!(%zone, %error, "that a zone has changed at its primary is not noted");
    }
}

impl ZoneNotices for Notices {
    fn changed(&self, zone: ZoneId) {
        // More than are waiting already are told again by their primaries.
        self.heard.try_send(zone).ok();
    }
}
