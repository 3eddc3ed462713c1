//! `accounts/:account_id/mtls_certificates`, the authorities of client certificates that an account has uploaded, and
//! `zones/:zone_id/certificate_authorities/hostname_associations`, the hosts whose visitors are asked for a certificate.
//!
//! As in the v4 API, but for three things: the network issues no client certificates, so that an association always names
//! an uploaded authority, and no private key is taken; and an association has `enforce`, which refuses visitors without a
//! certificate that holds, since there are no firewall rules yet to do it.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, ClientAuthentication, ClientAuthority, ClientAuthorityId, DnsName, Entity, Invalid, Timestamp,
    Zone, excerpt, limits as model_limits,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time},
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
};

/// An authority to upload.
#[derive(Debug, Deserialize)]
pub(crate) struct AuthorityBody {
    ca: bool,
    certificates: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    private_key: Option<String>,
}

/// The hosts of an authority.
#[derive(Debug, Deserialize)]
pub(crate) struct AssociationBody {
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    mtls_certificate_id: Option<String>,
    #[serde(default)]
    enforce: Option<bool>,
}

/// `GET mtls_certificates`.
pub(crate) async fn authorities(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    api.read(move |snapshot| {
        let (all, info) = page.cut(of_account(snapshot, &account)?);
        Ok(Answer::page((all.iter().map(show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

/// `GET mtls_certificates/:mtls_certificate_id`.
pub(crate) async fn authority(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let id = (account.id, parse_id(&id)?);
        let found = snapshot.get::<ClientAuthority>(&id)?.ok_or_else(unknown)?;
        Ok(Answer::new(show(&found)).at(snapshot.seq()))
    })
    .await
}

/// `POST mtls_certificates`.
pub(crate) async fn upload(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    JsonBody(body): JsonBody<AuthorityBody>,
) -> Result<Answer, ApiError> {
    if !body.ca || body.private_key.as_ref().is_some_and(|key| !key.is_empty()) {
        let message =
            "only authorities, without their keys, are taken: set ca to true, and leave private_key out";
        return Err(ApiError::new(Code::NotOffered, message));
    }
    let name = body.name.unwrap_or_default();
    let not_after = check(&name, &body.certificates, api.now()).map_err(invalid)?;
    api.change(&author, move |draft| {
        let id = ClientAuthorityId::from_bytes(draft.id());
        if draft.is_repeat {
            return Ok(show(&draft.made::<ClientAuthority>(&(account.id, id))?));
        }
        draft.require(Precondition::Present(Account::key_of(&account.id)));
        let limit = model_limits::CLIENT_AUTHORITIES_PER_ACCOUNT_MAX;
        if of_account(draft.snapshot, &account)?.len() >= limit {
            return Err(full(format!("an account has at most {limit} authorities of client certificates")));
        }
        let authority = ClientAuthority {
            id,
            account: account.id,
            name: name.clone(),
            certificates_pem: body.certificates.clone(),
            not_after,
            uploaded_at: draft.now,
        };
        draft.put(&authority);
        Ok(show(&authority))
    })
    .await
}

/// `DELETE mtls_certificates/:mtls_certificate_id`; refused while hosts are associated with it.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let key = (account.id, parse_id(&id)?);
        if draft.is_repeat {
            return Ok(json!({ "id": id }));
        }
        let found = draft.read::<ClientAuthority>(&key)?.ok_or_else(unknown)?;
        for association in draft.snapshot.scan::<ClientAuthentication>(&[]) {
            if association?.authority == key.1 {
                let message =
                    "hosts are associated with it: replace their association by one without hosts first";
                return Err(ApiError::new(Code::CertificateInvalid, message));
            }
        }
        draft.delete::<ClientAuthority>(&key);
        Ok(show(&found))
    })
    .await
}

/// `GET hostname_associations`.
pub(crate) async fn association(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let id = named(query.get("mtls_certificate_id"))?;
    api.read(move |snapshot| {
        let found = snapshot.get::<ClientAuthentication>(&(zone.id, id))?;
        if found.is_none() {
            snapshot.get::<ClientAuthority>(&(zone.account, id))?.ok_or_else(unknown)?;
        }
        Ok(Answer::new(show_association(found.as_ref())).at(snapshot.seq()))
    })
    .await
}

/// `PUT hostname_associations`: the hosts of one authority anew; none ends the association.
pub(crate) async fn associate(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<AssociationBody>,
) -> Result<Answer, ApiError> {
    let id = named(body.mtls_certificate_id.as_deref())?;
    let hosts = hosts(&body.hostnames, &zone).map_err(invalid)?;
    api.change(&author, move |draft| {
        let key = (zone.id, id);
        if draft.is_repeat {
            return Ok(show_association(draft.snapshot.get::<ClientAuthentication>(&key)?.as_ref()));
        }
        let former = draft.read::<ClientAuthentication>(&key)?;
        if hosts.is_empty() {
            if former.is_some() {
                draft.delete::<ClientAuthentication>(&key);
            }
            return Ok(show_association(None));
        }
        let made = made(draft, &zone, id, former.as_ref())?;
        // Who does not know the word must not switch it off.
        let enforce = body.enforce.or_else(|| former.map(|former| former.enforce)).unwrap_or_default();
        let association = ClientAuthentication { hosts: hosts.clone(), enforce, ..made };
        draft.put(&association);
        Ok(show_association(Some(&association)))
    })
    .await
}

/// A zone's association with an authority of its account, without hosts.
fn made(
    draft: &mut Draft<'_>,
    zone: &Zone,
    id: ClientAuthorityId,
    former: Option<&ClientAuthentication>,
) -> Result<ClientAuthentication, ApiError> {
    draft.require(Precondition::Present(Zone::key_of(&zone.id)));
    let authority = draft.read::<ClientAuthority>(&(zone.account, id))?.ok_or_else(unknown)?;
    let limit = model_limits::CLIENT_AUTHENTICATIONS_PER_ZONE_MAX;
    if former.is_none() && draft.snapshot.scan::<ClientAuthentication>(&[&zone.id]).count() >= limit {
        return Err(full(format!("hosts of a zone are associated with at most {limit} authorities")));
    }
    // Put again as it is: a deletion of the authority that was decided meanwhile is decided anew.
    draft.put(&authority);
    let certificates_pem = authority.certificates_pem;
    Ok(ClientAuthentication {
        zone: zone.id,
        authority: id,
        certificates_pem,
        hosts: Vec::new(),
        enforce: false,
    })
}

/// The authorities of an account, oldest first.
fn of_account(snapshot: &Snapshot, account: &Account) -> Result<Vec<ClientAuthority>, ApiError> {
    let mut all = snapshot.scan::<ClientAuthority>(&[&account.id]).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|authority| (authority.uploaded_at, authority.id));
    Ok(all)
}

fn unknown() -> ApiError {
    ApiError::new(Code::CertificateNotFound, "the authority of client certificates does not exist")
}

fn invalid(invalid: Invalid) -> ApiError {
    ApiError::invalid(Code::CertificateInvalid, &invalid)
}

fn full(message: String) -> ApiError {
    ApiError::new(Code::CertificateInvalid, message)
}

fn parse_id(id: &str) -> Result<ClientAuthorityId, ApiError> {
    id.parse().map_err(|_| unknown())
}

fn named(id: Option<&str>) -> Result<ClientAuthorityId, ApiError> {
    let id = id.ok_or_else(|| {
        let message = "mtls_certificate_id: name an uploaded authority; the network has none of its own";
        ApiError::new(Code::NotOffered, message).at("/mtls_certificate_id")
    })?;
    parse_id(id)
}

/// Whether these are certificates by which clients can be verified; when the first of them runs out.
pub(crate) fn check(name: &str, pem: &str, now: Timestamp) -> Result<Timestamp, Invalid> {
    let wrong = |problem: String| {
        Invalid::new("certificates", problem, "give the certificates of the authority as PEM, nothing else")
    };
    if name.chars().count() > model_limits::TEXT_CHARS_MAX {
        let problem = format!("the name is longer than {} characters", model_limits::TEXT_CHARS_MAX);
        return Err(Invalid::new("name", problem, "give a shorter one"));
    }
    if pem.len() > model_limits::PEM_OCTETS_MAX {
        return Err(wrong("the PEM is longer than 64 KiB".to_owned()));
    }
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(format!("it is not PEM: {error}")))?;
    let limit = model_limits::CLIENT_AUTHORITY_CERTIFICATES_MAX;
    if certificates.len() > limit {
        return Err(wrong(format!("there are more than {limit} certificates in it")));
    }
    let mut first_end = None;
    for certificate in certificates {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| wrong(format!("it is not a certificate: {error}")))?;
        if !parsed.is_ca() {
            return Err(wrong(format!("{} is not an authority's", parsed.subject())));
        }
        let end = Timestamp::from_millis(parsed.validity().not_after.timestamp().saturating_mul(1_000));
        if now >= end {
            return Err(wrong(format!("that of {} expired at {end}", parsed.subject())));
        }
        first_end = Some(first_end.map_or(end, |first: Timestamp| first.min(end)));
        RootCertStore::empty()
            .add(certificate)
            .map_err(|error| wrong(format!("it cannot be trusted: {error}")))?;
    }
    first_end.ok_or_else(|| wrong("there is no certificate in it".to_owned()))
}

/// Names of the zone, each once.
fn hosts(names: &[String], zone: &Zone) -> Result<Vec<DnsName>, Invalid> {
    let wrong = |problem: String| {
        Invalid::new("hostnames", problem, "give names of hosts in the zone, without wildcards")
    };
    let limit = model_limits::CLIENT_AUTHENTICATION_HOSTS_MAX;
    if names.len() > limit {
        return Err(wrong(format!("there are more than {limit} names")));
    }
    let mut hosts = Vec::with_capacity(names.len());
    for name in names {
        let host = DnsName::parse(name)
            .map_err(|invalid| wrong(format!("{}: {}", excerpt(name), invalid.problem)))?;
        if host.as_str().contains('*') || !host.is_within(&zone.name) {
            return Err(wrong(format!("{} is no host in the zone {}", excerpt(name), zone.name)));
        }
        hosts.push(host);
    }
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

/// An authority as v4 shows it.
fn show(authority: &ClientAuthority) -> Value {
    let first = CertificateDer::from_pem_slice(authority.certificates_pem.as_bytes()).ok();
    let parsed = first.as_ref().and_then(|first| X509Certificate::from_der(first).ok());
    let parsed = parsed.as_ref().map(|(_, parsed)| parsed);
    json!({
        "id": authority.id.to_string(),
        "ca": true,
        "name": authority.name,
        "certificates": authority.certificates_pem,
        "issuer": parsed.map(|parsed| parsed.issuer().to_string()),
        "serial_number": parsed.map(|parsed| parsed.serial.to_string()),
        "signature": null,
        "uploaded_on": time(authority.uploaded_at),
        "expires_on": time(authority.not_after),
    })
}

fn show_association(association: Option<&ClientAuthentication>) -> Value {
    json!({
        "hostnames": association.map(|association| association.hosts.as_slice()).unwrap_or_default(),
        "enforce": association.is_some_and(|association| association.enforce),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn authority() -> String {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn only_authorities_that_are_valid_are_taken() {
        let (ca, leaf) =
            (authority(), rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem());
        check("mine", &format!("{ca}{}", authority()), NOW).unwrap();
        let far = Timestamp::from_millis(253_402_300_800_000);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let (many, long) = (ca.repeat(17), "x".repeat(70_000));
        for (pem, now) in [
            ("", NOW),
            (broken, NOW),
            (&leaf, NOW),
            (&format!("{ca}{leaf}"), NOW),
            (&ca, far),
            (&many, NOW),
            (&long, NOW),
        ] {
            assert_eq!(check("mine", pem, now).unwrap_err().field, "certificates", "{pem:.40}");
        }
        assert_eq!(check(&"x".repeat(501), &ca, NOW).unwrap_err().field, "name");
    }
}
