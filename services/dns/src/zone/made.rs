//! What of a zone nobody wrote: its SOA record, what signs it, and the answers to challenges.

use proxima_model::{AcmeOrder, PrimarySoa, Zone, ZoneSigning, limits};
use tracing::error;

use super::{NEGATIVE_TTL, draft::Draft};
use crate::{
    dnssec::Signer,
    name::NAME_OCTETS_MAX,
    rrset::{self, RrSet},
    wire::rtype,
};

/// How long others may remember the answer to a certificate authority's challenge, in seconds: it is good once.
const CHALLENGE_TTL: u32 = 30;

/// Where a certificate authority's challenges are answered.
#[derive(Debug)]
pub(super) struct Challenged {
    /// The name, relative to the apex.
    pub(super) name: Box<[u8]>,
    /// The texts that its owner has there beside the answers.
    pub(super) own: Option<RrSet>,
}

/// Adds answers to challenges; where, and which texts were there before.
pub(super) fn add_challenges(
    draft: &mut Draft,
    zone: &Zone,
    apex: &[u8],
    challenges: &[String],
) -> Option<Box<Challenged>> {
    let owner = AcmeOrder::challenge_name(&zone.name)?.wire();
    let relative = owner.strip_suffix(apex)?;
    // They are digests in base64url, of 43 characters; anything that no character string holds is none.
    let mut texts = challenges.iter().filter(|text| text.len() <= usize::from(u8::MAX)).peekable();
    texts.peek()?;
    let node = draft.node(relative);
    let own = node.set(rtype::TXT).cloned();
    for text in texts {
        let text: Vec<u8> = rrset::character_string(text.as_bytes()).collect();
        node.add_data(rtype::TXT, CHALLENGE_TTL, &text);
    }
    Some(Box::new(Challenged { name: relative.into(), own }))
}

/// What signs a zone. One whose keys cannot be used is answered unsigned: who does not validate is served.
pub(super) fn signer(zone: &Zone, signing: &ZoneSigning, apex: &[u8]) -> Option<Box<Signer>> {
    let signer = Signer::new(signing, apex);
    signer.map(Box::new).inspect_err(|why| error!(zone = %zone.name, %why, "answered unsigned")).ok()
}

/// The SOA record of a zone that another server wrote, with TTLs, its own and that of what does not exist, of so many
/// seconds at the most.
pub(super) fn start_of_primary(soa: &PrimarySoa, ttl_max: u32) -> RrSet {
    let mut data = soa.data.clone();
    // The last of its five numbers (RFC 2308, 4).
    if let Some(minimum) = data.last_chunk_mut() {
        *minimum = u32::from_be_bytes(*minimum).min(ttl_max).to_be_bytes();
    }
    RrSet::of_one(rtype::SOA, soa.ttl.min(ttl_max), data)
}

/// The SOA record (RFC 1035, 3.3.13): written by nobody, made from what is known of the zone.
pub(super) fn start_of_authority(zone: &Zone, apex: &[u8]) -> RrSet {
    let primary = zone.name_servers.first().map_or_else(|| apex.to_vec(), |server| server.wire());
    // A mailbox needs room for its label (RFC 1035, 8); a zone that leaves none is its own.
    let mailbox = [b"\x0ahostmaster", apex].concat();
    let mailbox = if mailbox.len() <= NAME_OCTETS_MAX { mailbox } else { apex.to_vec() };
    let numbers = [zone.serial].into_iter().chain(limits::SOA_TIMERS_SECONDS).chain([NEGATIVE_TTL]);
    let numbers: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
    RrSet::of_one(rtype::SOA, limits::SOA_TTL_SECONDS, [primary, mailbox, numbers].concat())
}
