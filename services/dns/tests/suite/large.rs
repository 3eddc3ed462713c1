//! Zones that take long to compile, asked for over real sockets.

use anyhow::{Result, ensure};
use proxima_model::{Record, RecordId};
use tokio::io::AsyncWriteExt as _;

use crate::{
    sockets::{framed, read_answer, with_node},
    support::{Question, record, zone},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_zone_is_compiled_by_no_thread_that_answers() -> Result<()> {
    with_node("", async |running| {
        let zone = zone("example.com");
        let number_of = |number: u16, first| {
            RecordId::from_bytes(std::array::from_fn(|at| match at {
                0 => first,
                1 => 0,
                2.. => number.to_be_bytes()[at % 2],
            }))
        };
        let mut changes = Vec::new();
        for number in 0..1_100_u16 {
            let id = number_of(number, 0xff);
            let line = format!("host{number} 300 A 192.0.2.9");
            changes.push(running.node.replica.put(&Record { id, ..record(&zone, &line)? }));
        }
        running.change(changes).await?;
        // Nobody asked before: each waits for the one compilation, over whatever it comes.
        let (first, last) = (Question::new("host0.example.com", 1), Question::new("host1099.example.com", 1));
        let by_tcp = async {
            let mut stream = running.connect().await?;
            stream.write_all(&framed(&last)).await?;
            read_answer(&mut stream).await
        };
        let answers = tokio::try_join!(running.ask(&first), running.ask(&last), running.ask(&first), by_tcp)?;
        let expected = |name: &str| format!("answer {name}.example.com. 300 IN A 192.0.2.9");
        ensure!(answers.0[1] == expected("host0") && answers.2 == answers.0, "{answers:?}");
        ensure!(answers.1[1] == expected("host1099") && answers.3 == answers.1, "{answers:?}");
        ensure!(running.service.zones_compiled() == [0, 1, 0], "{:?}", running.service.zones_compiled());
        // It changes, and is there at once when that is in force.
        let id = number_of(0, 0xff);
        let changed = Record { id, ..record(&zone, "host0 300 A 192.0.2.10")? };
        running.change(vec![running.node.replica.put(&changed)]).await?;
        let answer = running.ask(&first).await?;
        ensure!(answer[1].ends_with("192.0.2.10"), "{answer:?}");
        let [for_requests, aside, ahead] = running.service.zones_compiled();
        ensure!((for_requests, aside) == (0, 1) && ahead >= 1, "{for_requests} {aside} {ahead}");
        Ok(())
    })
    .await
}
