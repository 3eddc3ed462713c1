//! What is left on a server when another one has a slot: what it handed over goes, once that one has taken it. What was given up while
//! this server was lost is set aside, since here alone it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId, NodeName};
use proxima_pipeline::Body;

use super::{
    files::{self, Registered},
    give::Page,
    marks::Mark,
    wire::{Asking, Standing, Step},
};
use crate::durable::{Durable, asked::Refusal, blocking, port::OBJECTS};

/// The folder in an account's for what is set aside.
const GIVEN_UP: &str = "given-up";

impl Durable {
    /// Sees to what lies here of a slot that another server has.
    pub(super) async fn leave(
        &self,
        account: AccountId,
        id: DurableNamespaceId,
        name: &NodeName,
    ) -> Result<(), Refusal> {
        let _alone = self.hand_over.staging.alone(&(id, name.clone())).await;
        let Ok(namespace) = self.namespace(account, id) else { return Ok(()) };
        let slot = namespace.slot(name);
        let folder = self.engine()?.hosts().path(account);
        if slot.server == self.me || !folder.exists() {
            return Ok(());
        }
        self.make_still(account, vec![((id, name.clone()), slot.since)]).await?;
        let has_given = slot.from.as_ref() == Some(&self.me) && !slot.began_empty;
        if has_given {
            let (turn, step) = (slot.since, Step::Begin);
            let asking = Asking { account, namespace: id, slot: name.clone(), turn, step };
            match self.step(&slot.server, &asking, Body::empty()).await? {
                Standing::Taken => {}
                Standing::Whole => return Err(Refusal::moving("the other server has not taken it yet")),
                // It lost what was given to it before it had taken it.
                Standing::Lacking => {
                    self.send_all(&namespace, name, &slot.server, slot.since).await?;
                    return Err(Refusal::moving("it was given to the other server once more"));
                }
            }
        }
        self.clear_out(&namespace, name, slot.since, has_given).await?;
        self.mark_as(account, &(id, name.clone()), Mark::left(slot.since)).await
    }

    /// Removes what lies here of a slot's objects, none of which runs, or sets it aside.
    pub(super) async fn clear_out(
        &self,
        namespace: &DurableNamespace,
        name: &NodeName,
        since: u32,
        removes: bool,
    ) -> Result<(), Refusal> {
        let (account, id) = (namespace.account, namespace.id);
        let folder = self.engine()?.hosts().path(account);
        let aside = folder.join(GIVEN_UP).join(format!("{id}.{name}.{since}"));
        let aside = (!removes).then_some(aside);
        self.mark_as(account, &(id, name.clone()), Mark::leaving(since)).await?;
        let (mut after, mut objects) = (None, 0);
        loop {
            let page = self.page(namespace, name, after, true).await?;
            after = page.next;
            objects += page.objects.len();
            let ids: Vec<_> = page.objects.iter().map(|object| object.id).collect();
            let (from, to) = (folder.join(OBJECTS), aside.clone());
            blocking(move || clear(&from, to, &page)).await.map_err(|error| {
                tracing::warn!(%error, %account, "what Durable Objects kept here cannot be removed now");
                Refusal::broken("what its objects kept here cannot be removed")
            })?;
            self.registry_told(account, id, "forget", &ids).await?;
            if after.is_none() {
                break;
            }
        }
        match aside {
            _ if objects == 0 => {}
            None => {
                tracing::info!(%account, namespace = %id, slot = %name, objects, "what Durable Objects kept here is removed: another server has it");
            }
            Some(aside) => {
                let aside = aside.display();
                tracing::warn!(%account, namespace = %id, slot = %name, objects, %aside, "Durable Objects that were given up lie here, and are set aside");
            }
        }
        Ok(())
    }

    pub(super) async fn mark_as(
        &self,
        account: AccountId,
        slot: &super::SlotOf,
        mark: Mark,
    ) -> Result<(), Refusal> {
        let folder = self.engine()?.hosts().path(account);
        self.hand_over.marks.set(folder, account, slot, mark).await.map_err(|error| {
            tracing::error!(%error, %account, "which slots of Durable Objects are here cannot be written");
            Refusal::broken("that it is here cannot be written")
        })
    }
}

/// Removes the files of objects, or puts them aside with what is known of them.
fn clear(from: &Path, aside: Option<PathBuf>, page: &Page) -> io::Result<()> {
    if let (Some(aside), Some(Registered { id, .. })) = (&aside, page.objects.first()) {
        fs::create_dir_all(aside)?;
        fs::write(aside.join(format!("{id}.json")), serde_json::to_vec(&page.objects)?)?;
    }
    for (file, rests) in &page.files {
        for (rest, _) in rests {
            let name = format!("{file}{rest}");
            match &aside {
                Some(aside) => fs::rename(from.join(&name), aside.join(&name))?,
                None => files::remove(&from.join(&name))?,
            }
        }
    }
    Ok(())
}
