//! A zone whose key is rolled over, as a validator sees it at every stage: with what its parent says then.

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use proxima_model::{
    KeyRole, ParentSays, PrimarySoa, Record, RecordId, RollStage, SecondaryZone, SigningAlgorithm,
    SigningKey, Timestamp, TransferredRecord, Ttl, ZoneSigning,
};

use crate::{
    sockets::{Running, with_node},
    support::{NOW, new_key_of, record, signing, zone},
};

/// What `delv` makes of everything in the zone, trusting this key alone.
async fn is_validated(running: &Running, key: &SigningKey) -> Result<bool> {
    let questions = ["www.example.com A", "example.com DNSKEY", "nothing.example.com A"];
    are_validated(running, key, &questions).await
}

/// Whether `delv` validates all answers, trusting this key alone.
pub(crate) async fn are_validated(running: &Running, key: &SigningKey, questions: &[&str]) -> Result<bool> {
    let wire = zone("example.com").name.wire();
    let digest = digest(&SHA256, &key.digested(&wire));
    let digest: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    let (tag, algorithm) = (key.tag(), key.algorithm.code());
    let anchor = format!("trust-anchors {{ example.com. static-ds {tag} {algorithm} 2 \"{digest}\"; }};");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("anchor");
    std::fs::write(&file, anchor)?;
    for question in questions {
        let arguments = format!("-a {} +root=example.com {question}", file.display());
        let answer = running.dig("delv", &arguments).await?;
        if !answer.contains("fully validated") {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn serve(running: &Running, signing: &ZoneSigning) -> Result<()> {
    running.change(vec![running.node.replica.put(signing)]).await
}

/// The next state, when it is due.
fn on(signing: &ZoneSigning, now: &mut Timestamp, parent: ParentSays) -> Result<ZoneSigning> {
    if let Some(due) = signing.roll.and_then(|roll| roll.due_at()) {
        *now = due;
    }
    signing.roll_on(parent, *now).context("it goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_takes_a_zone_at_every_stage_of_a_roll_over_between_algorithms() -> Result<()> {
    with_node("", async |running| {
        let [former, new] = [SigningAlgorithm::EcdsaP256, SigningAlgorithm::Ed25519]
            .map(|algorithm| new_key_of(algorithm, KeyRole::Active));
        let mut now = NOW;
        let mut state = signing(&zone("example.com"), vec![former.clone()]);
        serve(running, &state).await?;
        ensure!(is_validated(running, &former).await? && !is_validated(running, &new).await?);
        state = state.roll_to(new.clone(), now)?;
        for stage in [
            Some(RollStage::Signing),
            Some(RollStage::Publishing),
            Some(RollStage::WaitingForParent),
            Some(RollStage::Settling),
            Some(RollStage::Withdrawing),
            None,
        ] {
            ensure!(state.roll.map(|roll| roll.stage) == stage, "{state:?}");
            serve(running, &state).await?;
            // The parent changes while it is asked to, and caches may have what it said before until two days later.
            let by_former = !matches!(stage, Some(RollStage::Withdrawing) | None);
            let by_new = !matches!(stage, Some(RollStage::Signing));
            ensure!(is_validated(running, &former).await? == by_former, "{stage:?} by the former key");
            ensure!(is_validated(running, &new).await? == by_new, "{stage:?} by the new key");
            if stage.is_some() {
                state = on(&state, &mut now, ParentSays::NamesActive(true))?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_primary_gives_a_week_is_remembered_for_a_day_where_it_is_signed() -> Result<()> {
    const WEEK: u32 = 604_800;
    with_node("", async |running| {
        let (replica, zone) = (&running.node.replica, zone("example.com"));
        let numbers = [9, 3_600, 600, 86_400, WEEK].map(u32::to_be_bytes).concat();
        let soa = PrimarySoa { ttl: WEEK, data: [&[0, 0][..], &numbers].concat() };
        let secondary = SecondaryZone { soa: Some(soa), ..SecondaryZone::new(zone.id) };
        let mut changes = vec![replica.put(&secondary)];
        for (number, line) in ["@ 300 NS ns.example.net", "long 300 A 192.0.2.7", "alias 300 CNAME a.example"]
            .into_iter()
            .enumerate()
        {
            let id = RecordId::from_bytes([u8::try_from(number)? + 100; 16]);
            let record = Record { id, ttl: Ttl::transferred(WEEK), ..record(&zone, line)? };
            changes.push(replica.put(&TransferredRecord { record, from: 0, until: None, wire: None }));
        }
        running.change(changes).await?;
        let shown = async || {
            let mut shown = Vec::new();
            for question in
                ["example.com SOA", "example.com NS", "long.example.com A", "alias.example.com CNAME"]
            {
                let answer = running.dig("dig", &format!("+noall +answer +norecurse {question}")).await?;
                let words: Vec<&str> = answer.split_whitespace().collect();
                let minimum = words.last().filter(|_| question.ends_with("SOA"));
                let ttls = words.get(1).into_iter().chain(minimum);
                shown.extend(ttls.map(|ttl| ttl.parse::<u32>()).collect::<Result<Vec<_>, _>>()?);
            }
            Ok::<_, anyhow::Error>(shown)
        };
        ensure!(shown().await? == [WEEK; 5], "unsigned it is as its primary has it: {:?}", shown().await?);
        serve(running, &signing(&zone, vec![new_key_of(SigningAlgorithm::EcdsaP256, KeyRole::Active)]))
            .await?;
        ensure!(shown().await? == [86_400; 5], "{:?}", shown().await?);
        Ok(())
    })
    .await
}
