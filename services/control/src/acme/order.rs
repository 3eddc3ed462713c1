//! One order, from the account to the certificate in the log.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use proxima_ledger::Seq;
use proxima_model::{AcmeStage, CertificateSource, DnsName, KeyAlgorithm, Zone, ZoneId};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::sync::watch;

use super::{
    client::{self, Client},
    obstacle::obstacle,
    plan::{Failure, fault_of},
    state::{self, Issued},
};
use crate::{
    api::{self, Api, write::Author},
    authority, certificates,
    error::ApiError,
    limits,
};

/// How an order ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Issued,
    /// The zone is gone, has universal SSL off, or something of its own stands in the way: nothing was asked of the
    /// authority, and nothing is until the zone changes.
    NotNow,
}

/// What an order needs.
pub(super) struct Ordering {
    pub(super) api: Arc<Api>,
    pub(super) author: Author,
    pub(super) client: Arc<Client>,
    /// What this server's services serve.
    pub(super) in_force: watch::Receiver<Seq>,
}

impl Ordering {
    /// Orders a certificate for a zone. What failed is for the caller to note.
    pub(super) async fn run(&self, id: ZoneId, algorithm: KeyAlgorithm) -> Result<Ended, Failure> {
        let failures = self.failures_before(id).await?;
        let Some(zone) = self.zone_without_obstacle(id).await? else { return Ok(Ended::NotNow) };
        if self.note(id, AcmeStage::Validating, Vec::new()).await?.is_none() {
            return Ok(Ended::NotNow);
        }
        let within = limits::ACME_ORDER_DEADLINE;
        let (outcome, asked) = client::heeding(async {
            match tokio::time::timeout(within, self.order(&zone, algorithm, failures)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    Err(Failure::of_zone(format!("the order was not done within {} s", within.as_secs())))
                }
            }
        })
        .await;
        let issued = outcome.map_err(|failure| Failure { retry_after: asked, ..failure })?;
        let written = state::succeed(&self.api, &self.author, id, issued).await;
        written.map_err(|error| Failure::of_authority(error.to_string()))?;
        Ok(Ended::Issued)
    }

    async fn order(&self, zone: &Zone, algorithm: KeyAlgorithm, failures: u32) -> Result<Issued, Failure> {
        let account = self.client.account(&self.api, &self.author).await?;
        let hosts = authority::hosts_of(zone);
        let identifiers: Vec<Identifier> =
            hosts.iter().map(|host| Identifier::Dns(host.to_string())).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(failed)?;
        let challenges = challenges(&mut order).await?;
        if !challenges.is_empty() {
            let seq = self.note(zone.id, AcmeStage::Validating, challenges).await?;
            let seq = seq.ok_or_else(|| Failure::of_zone("the zone is to have no certificate any more"))?;
            self.answered(seq, failures).await;
            validate(&mut order).await?;
        }
        self.note(zone.id, AcmeStage::Issuing, Vec::new()).await?;
        let names = hosts.clone();
        // A key for RSA takes a good part of a second to find.
        let drawn = tokio::task::spawn_blocking(move || request(&names, algorithm)).await;
        let (key_pem, csr) = drawn.map_err(|_| Failure::of_authority("drawing a key failed"))??;
        order.finalize_csr(&csr).await.map_err(failed)?;
        let chain_pem = order.poll_certificate(&polling()).await.map_err(failed)?;
        let facts = certificates::check(&chain_pem, &key_pem, zone, self.api.now()).map_err(|invalid| {
            Failure::of_authority(format!(
                "the certificate that the authority gave cannot be used: {invalid}"
            ))
        })?;
        if let Some(missing) = hosts.iter().find(|host| !facts.hosts.contains(host)) {
            let message = format!("the certificate that the authority gave is not for {missing}");
            return Err(Failure::of_authority(message));
        }
        let directory = self.client.settings().directory.clone();
        Ok(Issued {
            source: CertificateSource::Acme { directory, algorithm },
            hosts: facts.hosts,
            chain_pem,
            key_pem,
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// Waits until the servers answer the challenges of this state.
    async fn answered(&self, seq: Seq, failures: u32) {
        let mut in_force = self.in_force.clone();
        let longest = Duration::from_millis(limits::ACME_PROPAGATION_MS_MAX);
        // A server that does not come to it does not keep the authority from asking another.
        tokio::time::timeout(longest, in_force.wait_for(|served| *served >= seq)).await.ok();
        let wait = self.client.settings().propagation.saturating_mul(failures.saturating_add(1)).min(longest);
        tokio::time::sleep(wait).await;
    }

    async fn failures_before(&self, id: ZoneId) -> Result<u32, Failure> {
        let read = self.api.read(move |snapshot| {
            Ok(snapshot.get::<proxima_model::AcmeOrder>(&id)?.map_or(0, |order| order.failures))
        });
        read.await.map_err(|error| Failure::of_authority(error.to_string()))
    }

    async fn zone_without_obstacle(&self, id: ZoneId) -> Result<Option<Zone>, Failure> {
        let read = self.api.read(move |snapshot| {
            let zone = api::zone(snapshot, id)?;
            let obstacle = obstacle(snapshot, &zone)?;
            if let Some(what) = &obstacle {
                tracing::warn!(zone = %zone.name, %what, "no certificate is ordered");
            }
            Ok(obstacle.is_none().then_some(zone))
        });
        match read.await {
            Ok(zone) => Ok(zone),
            Err(error) if error.code() == crate::error::Code::NoObject => Ok(None),
            Err(error) => Err(Failure::of_authority(error.to_string())),
        }
    }

    async fn note(
        &self,
        zone: ZoneId,
        stage: AcmeStage,
        challenges: Vec<String>,
    ) -> Result<Option<Seq>, Failure> {
        let noted: Result<_, ApiError> = state::note(&self.api, &self.author, zone, stage, challenges).await;
        noted.map_err(|error| Failure::of_authority(error.to_string()))
    }
}

fn polling() -> RetryPolicy {
    RetryPolicy::new().timeout(limits::ACME_POLL_DEADLINE)
}

fn failed(error: Error) -> Failure {
    let (message, kind, account_lost) = client::words(&error);
    let fault = match &error {
        // The authority took its time: that may be because of what it has to look up.
        Error::Timeout(_) => super::plan::Fault::Zone,
        _ => fault_of(kind.as_deref()),
    };
    Failure { fault, account_lost, ..Failure::of_zone(message) }
}

/// The texts that the authority wants to see; none if it has seen before that all names are ours.
async fn challenges(order: &mut Order) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        match authorization.status {
            AuthorizationStatus::Pending => {
                let challenge = authorization.challenge(ChallengeType::Dns01).ok_or_else(|| {
                    Failure::of_authority("the authority offers no challenge of the type dns-01")
                })?;
                texts.push(challenge.key_authorization().dns_value());
            }
            AuthorizationStatus::Valid => {}
            status => return Err(Failure::of_zone(format!("an authorization is {status:?} already"))),
        }
    }
    Ok(texts)
}

/// Has the authority look, and waits for its verdict, which may be there before it has been asked to look at all.
async fn validate(order: &mut Order) -> Result<(), Failure> {
    let ended = match have_looked(order).await {
        Ok(()) => order.poll_ready(&polling()).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(verdict(order).await.unwrap_or_else(|| Failure::of_zone("the order became invalid"))),
        Err(error) => Err(verdict(order).await.unwrap_or_else(|| failed(error))),
    }
}

async fn have_looked(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01)
        {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// What the authority says of the challenge that it did not find answered: the order itself says less.
async fn verdict(order: &mut Order) -> Option<Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let message = format!("{}: {}", state.identifier(), client::said(problem));
            return Some(Failure { fault: fault_of(problem.r#type.as_deref()), ..Failure::of_zone(message) });
        }
    }
    None
}

/// A new key, and the request to sign it for these names (RFC 2986).
fn request(hosts: &[DnsName], algorithm: KeyAlgorithm) -> Result<(String, Vec<u8>), Failure> {
    let ours = |error: rcgen::Error| Failure::of_authority(format!("drawing a key: {error}"));
    let algorithm = match algorithm {
        KeyAlgorithm::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
    };
    let key = KeyPair::generate_for(algorithm).map_err(ours)?;
    let mut params =
        CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(ours)?;
    Ok((key.serialize_pem(), csr.der().to_vec()))
}
