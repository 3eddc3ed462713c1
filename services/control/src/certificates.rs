//! `zones/:zone_id/custom_certificates`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Certificate, CertificateId, CertificateSource, DnsName, Entity, Invalid, Timestamp, Zone,
    limits as model_limits,
};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time},
        page::Query,
        write::Author,
    },
    error::{ApiError, Code},
    limits,
};

/// A certificate and its key.
#[derive(Deserialize)]
pub(crate) struct CertificateBody {
    certificate: String,
    #[serde(default)]
    private_key: Option<String>,
}

/// What a certificate says of itself.
pub(crate) struct Facts {
    pub(crate) hosts: Vec<DnsName>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// `GET custom_certificates`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let now = api.now();
    api.read(move |snapshot| {
        let (certificates, info) = page.cut(custom(snapshot, &zone)?);
        let shown = certificates.iter().map(|certificate| show(certificate, now)).collect();
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    })
    .await
}

/// `GET custom_certificates/:certificate_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| Ok(Answer::new(show(&find(snapshot, &zone, &id)?, now)).at(snapshot.seq())))
        .await
}

/// `POST custom_certificates`.
pub(crate) async fn upload(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<CertificateBody>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    let key = body.private_key.unwrap_or_default();
    let facts = check(&body.certificate, &key, &zone, now)
        .map_err(|invalid| ApiError::invalid(Code::CertificateInvalid, &invalid))?;
    api.change(&author, move |draft| {
        let id = CertificateId::from_bytes(draft.id());
        if draft.is_repeat {
            return Ok(show(&draft.made::<Certificate>(&(zone.id, id))?, draft.now));
        }
        draft.require(Precondition::Present(Zone::key_of(&zone.id)));
        if custom(draft.snapshot, &zone)?.len() >= limits::CERTIFICATES_PER_ZONE_MAX {
            let message = format!("a zone has at most {} certificates", limits::CERTIFICATES_PER_ZONE_MAX);
            return Err(ApiError::new(Code::CertificateInvalid, message));
        }
        let certificate = Certificate {
            id,
            zone: zone.id,
            hosts: facts.hosts.clone(),
            source: CertificateSource::Custom,
            chain_pem: body.certificate.clone(),
            key_pem: key.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            uploaded_at: draft.now,
        };
        draft.put(&certificate);
        Ok(show(&certificate, draft.now))
    })
    .await
}

/// `DELETE custom_certificates/:certificate_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let found = find(draft.snapshot, &zone, &id)?;
            draft.read::<Certificate>(&(zone.id, found.id))?;
            draft.delete::<Certificate>(&(zone.id, found.id));
        }
        Ok(json!({ "id": id }))
    })
    .await
}

/// The certificates that a zone's owner uploaded, oldest first.
fn custom(snapshot: &Snapshot, zone: &Zone) -> Result<Vec<Certificate>, ApiError> {
    let mut certificates = snapshot.scan::<Certificate>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
    certificates.retain(|certificate| certificate.source == CertificateSource::Custom);
    certificates.sort_by_key(|certificate| (certificate.uploaded_at, certificate.id));
    Ok(certificates)
}

fn find(snapshot: &Snapshot, zone: &Zone, id: &str) -> Result<Certificate, ApiError> {
    let unknown = || ApiError::new(Code::CertificateNotFound, "the certificate does not exist");
    let id: CertificateId = id.parse().map_err(|_| unknown())?;
    let found = snapshot.get::<Certificate>(&(zone.id, id))?;
    found.filter(|certificate| certificate.source == CertificateSource::Custom).ok_or_else(unknown)
}

/// Whether a chain and a key are ones that the edge can serve for this zone.
pub(crate) fn check(chain_pem: &str, key_pem: &str, zone: &Zone, now: Timestamp) -> Result<Facts, Invalid> {
    let of_chain = |problem: String| {
        Invalid::new("certificate", problem, "give the certificate and its intermediates as PEM, leaf first")
    };
    let of_key = |problem: String| {
        Invalid::new("private_key", problem, "give the certificate's private key as PEM, not encrypted")
    };
    if chain_pem.len() > model_limits::PEM_OCTETS_MAX || key_pem.len() > model_limits::PEM_OCTETS_MAX {
        return Err(of_chain("the PEM is longer than 64 KiB".to_owned()));
    }
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| of_chain(format!("it is not PEM: {error}")))?;
    let leaf = chain.first().ok_or_else(|| of_chain("there is no certificate in it".to_owned()))?.clone();
    let (_, parsed) = X509Certificate::from_der(&leaf)
        .map_err(|error| of_chain(format!("it is not a certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| of_key(format!("it is not a key in PEM: {error}")))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| of_key(format!("it is not a key that can be used: {error}")))?;
    CertifiedKey::new(chain, key)
        .keys_match()
        .map_err(|_| of_key("it is not the key of this certificate".to_owned()))?;
    let seconds =
        |at: x509_parser::time::ASN1Time| Timestamp::from_millis(at.timestamp().saturating_mul(1_000));
    let (not_before, not_after) =
        (seconds(parsed.validity().not_before), seconds(parsed.validity().not_after));
    if now >= not_after {
        return Err(of_chain(format!("it expired at {not_after}")));
    }
    let hosts = hosts(&parsed, zone);
    if hosts.is_empty() {
        return Err(of_chain(format!("it has no alternative name (SAN) in the zone {}", zone.name)));
    }
    Ok(Facts { hosts, not_before, not_after })
}

/// The alternative names that are this zone's: for no other may its owner bring a certificate.
fn hosts(certificate: &X509Certificate<'_>, zone: &Zone) -> Vec<DnsName> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut hosts: Vec<DnsName> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => DnsName::parse(name).ok(),
            _ => None,
        })
        .filter(|name| name.is_within(&zone.name))
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// A certificate as v4 shows it; never its key.
pub(crate) fn show(certificate: &Certificate, now: Timestamp) -> Value {
    let status = if now >= certificate.not_after { "expired" } else { "active" };
    let leaf = CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes()).ok();
    let parsed = leaf.as_ref().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let issuer = parsed.as_ref().map(|(_, parsed)| parsed.issuer().to_string());
    json!({
        "id": certificate.id.to_string(),
        "zone_id": certificate.zone.to_string(),
        "hosts": certificate.hosts,
        "issuer": issuer,
        "signature": null,
        "status": status,
        "bundle_method": "force",
        "priority": 0,
        "uploaded_on": time(certificate.uploaded_at),
        "modified_on": time(certificate.uploaded_at),
        "expires_on": time(certificate.not_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::zone;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn self_signed(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn only_names_of_the_zone_are_taken_from_a_certificate() {
        let (chain, key) =
            self_signed(&["www.example.com", "*.example.com", "example.net", "notexample.com"]);
        let facts = check(&chain, &key, &zone(), NOW).unwrap();
        assert_eq!(
            facts.hosts.iter().map(DnsName::as_str).collect::<Vec<_>>(),
            ["*.example.com", "www.example.com"]
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let (chain, key) = self_signed(&["www.example.com"]);
        let (other_chain, other_key) = self_signed(&["example.net"]);
        let far = Timestamp::from_millis(253_402_300_800_000);
        let refused = |chain: &str, key: &str, now| check(chain, key, &zone(), now).err().unwrap().field;
        assert_eq!(refused("", &key, NOW), "certificate");
        assert_eq!(
            refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, NOW),
            "certificate"
        );
        assert_eq!(refused(&chain, "", NOW), "private_key");
        assert_eq!(refused(&chain, &other_key, NOW), "private_key");
        assert_eq!(refused(&other_chain, &other_key, NOW), "certificate");
        assert_eq!(refused(&chain, &key, far), "certificate");
        assert_eq!(refused(&"x".repeat(70_000), &key, NOW), "certificate");
    }
}
