//! Places that Durable Objects have: processes of their accounts.

use std::time::Duration;

use proxima_model::AccountId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    durable::{code, namespaces_of},
    harness::{OTHER, OWN, processes, with_engine},
};

const THIRD: AccountId = AccountId::from_bytes([3; 16]);

/// The accounts whose objects have a process.
fn hosted() -> Vec<AccountId> {
    let lines = processes()
        .into_iter()
        .map(|process| std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default());
    let accounts = [OWN, OTHER, THIRD].into_iter();
    let lines: Vec<_> = lines.collect();
    accounts.filter(|account| lines.iter().any(|line| line.contains(&format!("objects-{account}")))).collect()
}

#[test]
fn an_account_whose_objects_need_a_process_has_that_of_the_one_that_was_quiet_for_longest() {
    with_engine("durable_accounts_max = 2", async |running| {
        for account in [OWN, OTHER, THIRD] {
            namespaces_of(&running, account, &["test"]).await;
            running.upload(account, "app", code("1", "await thrown(() => a.increment())")).await;
        }
        // It is at work for as long as it is open, however little comes.
        let mut socket = running.run(&mut running.switching(OWN, "app")).await.upgraded.unwrap();
        let mut says = async |count| {
            socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
            let mut frame = [0; 6];
            socket.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame, [0x81, 4, b'h', b'i', b' ', count]);
        };
        says(b'1').await;
        let mut due = tokio::time::interval(Duration::from_millis(20));
        for (account, counted) in [(OTHER, "1"), (THIRD, "1"), (OTHER, "2"), (THIRD, "2")] {
            loop {
                let answer = running.get(account, "app", "/").await;
                if answer.is(200, counted) {
                    break;
                }
                assert!(answer.text.contains("asked too much at a time"), "{answer:?}");
                due.tick().await;
            }
            while hosted() != [OWN, account] {
                due.tick().await;
            }
        }
        says(b'2').await;
    });
}
