//! What came for hand-overs that are no more goes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proxima_model::{AccountId, DurableNamespaceId, NodeName};

use super::{
    marks::is_held,
    take::{INCOMING, entries, remove},
};
use crate::durable::{Durable, blocking};

impl Durable {
    /// Removes it; whether all of it is gone. What cannot be read of one account keeps that of no other.
    pub(super) async fn forget_unexpected(&self) -> bool {
        let Ok(engine) = self.engine().map(Arc::clone) else { return false };
        let untold = |account: Option<AccountId>, error: &io::Error| {
            if self.hand_over.may_tell() {
                tracing::warn!(?account, %error, "what came of Durable Objects and is not expected any more cannot be removed");
            }
        };
        let look = move || {
            let hosts = engine.hosts();
            let of = |account| (account, entries(&hosts.path(account).join(INCOMING)));
            Ok(hosts.accounts()?.into_iter().map(of).collect::<Vec<_>>())
        };
        let found = match blocking(look).await {
            Ok(found) => found,
            Err(error) => {
                untold(None, &error);
                return false;
            }
        };
        let mut is_all = true;
        for (account, folders) in found {
            let forgotten = async {
                for folder in folders? {
                    self.forget(account, folder).await?;
                }
                Ok(())
            };
            if let Err(error) = forgotten.await {
                untold(Some(account), &error);
                is_all = false;
            }
        }
        is_all
    }

    /// Removes what came by one hand-over, unless that is expected.
    async fn forget(&self, account: AccountId, folder: PathBuf) -> io::Result<()> {
        let Some((id, slot, turn)) = parts(&folder) else {
            return blocking(move || remove(&folder)).await;
        };
        if self.is_expected(account, id, &slot, turn).await? {
            return Ok(());
        }
        let alone = self.hand_over.staging.alone(&(id, slot.clone())).await;
        // The log may have said something of it since.
        if self.is_expected(account, id, &slot, turn).await? {
            return Ok(());
        }
        alone.write(move || remove(&folder)).await
    }

    /// Whether what comes by a hand-over is to be kept: until it is given up, or taken.
    async fn is_expected(
        &self,
        account: AccountId,
        id: DurableNamespaceId,
        name: &NodeName,
        turn: u32,
    ) -> io::Result<bool> {
        let namespace = match self.namespace(account, id) {
            Ok(namespace) => namespace,
            Err(refusal) if refusal.is_ours() => return Err(io::Error::other(refusal)),
            Err(_) => return Ok(false),
        };
        let slot = namespace.slot(name);
        if slot.to.as_ref() == Some(&self.me) && slot.turn == turn {
            return Ok(true);
        }
        let mark = self.mark(&namespace, name).await.map_err(io::Error::other)?;
        Ok(slot.server == self.me && slot.since == turn && !is_held(mark, &slot))
    }
}

/// Of which hand-over a folder is.
fn parts(folder: &Path) -> Option<(DurableNamespaceId, NodeName, u32)> {
    let (slot, turn) = folder.file_name()?.to_str()?.rsplit_once('.')?;
    let (namespace, slot) = slot.split_once('.')?;
    Some((namespace.parse().ok()?, NodeName::parse(slot).ok()?, turn.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::hand_over::take::folder_name;

    #[test]
    fn folders_are_taken_apart_as_they_are_called() {
        let (id, slot) = (DurableNamespaceId::from_bytes([2; 16]), NodeName::parse("ams1").expect("a name"));
        let named = |name: &str| parts(&PathBuf::from("incoming").join(name));
        assert_eq!(named(&folder_name(id, &slot, 7)), Some((id, slot.clone(), 7)));
        for other in ["", "x", "ams1.7", "x.ams1.7", &format!("{id}.ams1"), &format!("{id}.ams1.x")] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
