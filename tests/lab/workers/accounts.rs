//! A second account. The API makes none yet: it is written to the log, as servers write.

use proxima_chassis::{Identity, NodeConfig};
use proxima_ledger::{Append, IdempotencyKey, Ledger, LedgerConfig, PeerTls, Sealer};
use proxima_model::{Account, AccountId, Timestamp};
use tokio_util::sync::CancellationToken;

use super::DIES;
use crate::{api::Api, two_pops::TwoPops};

/// Makes it; its path in the API.
pub(super) fn another(lab: &TwoPops, api: &Api<'_>) -> String {
    let account = Account {
        id: AccountId::from_bytes([2; 16]),
        name: "Second".to_owned(),
        created_at: Timestamp::default(),
    };
    let path = format!("/accounts/{}", account.id);
    let written = lab.lab().within(DIES, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(write(lab, &account));
        Ok(())
    });
    written.unwrap();
    lab.until("the account is there", |_| api.ask("GET", &path, "").0 == 200);
    path
}

async fn write(lab: &TwoPops, account: &Account) {
    let config = NodeConfig::load(&lab.lab().state().config_dir(DIES).join("node.toml")).unwrap();
    let identity = Identity::load(config.identity.as_ref().unwrap()).unwrap();
    let tls =
        PeerTls { server: identity.server, client: identity.client, server_name: Identity::server_name() };
    let sealer = Sealer::from_hex(&std::fs::read_to_string(&config.node.key_file).unwrap()).unwrap();
    let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let follows = LedgerConfig { listen: None, ..config.ledger };
    let ledger = Ledger::start(follows, folder.path(), sealer, Some(tls), stop.clone()).await.unwrap();
    let append = Append {
        changes: vec![ledger.replica.put(account)],
        preconditions: Vec::new(),
        idempotency_key: IdempotencyKey("another account".to_owned()),
        fingerprint: None,
        author: format!("node/{DIES}"),
    };
    ledger.log.append(append).await.unwrap();
    stop.cancel();
    ledger.stopped().await;
}
