//! The nouns as people and the ledger write them: what is parsed is written and parsed as the same.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use proxima_model::{
    Account, AcmeOrder, CacheSettings, CacheTag, ClientAuthentication, ClientAuthority, DnsName, Entity,
    IncomingTransfers, Key, Node, NodeName, OutgoingTransfers, Pop, PopCode, Purge, Record, RecordData,
    RecordType, RegionName, RoutePattern, RuleExpression, Ruleset, SecondaryZone, Setting, TransferAcl,
    TransferNotices, TransferPeer, TransferredRecord, TxtData, UrlPrefix, Worker, WorkerAsset,
    WorkerAssetSession, WorkerContent, WorkerContentUse, WorkerDeployment, WorkerDomain, WorkerHost,
    WorkerName, WorkerRoute, WorkerTriggers, WorkerUsage, WorkerVersion, WorkerVersionId, Zone, ZoneId,
    ZoneIndex, ZoneName, ZoneNotice, ZoneSettings,
};

/// Octets of a name on the wire (RFC 1035, 2.3.4).
const NAME_OCTETS_MAX: usize = 255;

/// The target: an octet that says which noun, then its text.
pub fn run(octets: &[u8]) {
    let Some((&which, octets)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(octets) else { return };
    match which % 12 {
        0 => name(text),
        1 => within(text),
        2 | 3 => data(text),
        4 => same(TxtData::parse(text), |noun| TxtData::parse(&noun.content())),
        5 => {
            same(CacheTag::parse(text), |noun| CacheTag::parse(noun.as_str()));
            same(UrlPrefix::parse(text), |noun| UrlPrefix::parse(&format!("{}{}", noun.host(), noun.path())));
        }
        6 => {
            same(PopCode::parse(text), |noun| PopCode::parse(noun.as_str()));
            same(NodeName::parse(text), |noun| NodeName::parse(noun.as_str()));
            same(RegionName::parse(text), |noun| RegionName::parse(noun.as_str()));
            same(WorkerName::parse(text), |noun| WorkerName::parse(noun.as_str()));
            same(RoutePattern::parse(text), |noun| RoutePattern::parse(noun.as_str()));
            shown::<WorkerVersionId>(text);
            shown::<ZoneId>(text);
            if let Some(key) = Key::parse(text) {
                assert_eq!(key.as_str(), text);
                let _kind = key.kind();
            }
        }
        7 => same(RuleExpression::parse(text), |noun| RuleExpression::parse(&noun.to_string())),
        8 => settings(text),
        9 => setting(text),
        _ => entities(text),
    }
}

fn same<T: Debug + PartialEq, E: Debug>(read: Result<T, E>, again: impl Fn(&T) -> Result<T, E>) {
    if let Ok(noun) = read {
        assert_eq!(again(&noun).expect("it was written by us"), noun);
    }
}

fn shown<T: Debug + Display + PartialEq + FromStr<Err: Debug>>(text: &str) {
    same(text.parse::<T>(), |noun| noun.to_string().parse());
}

fn name(text: &str) {
    same(DnsName::parse(text), |noun| DnsName::parse(noun.as_str()));
    same(ZoneName::parse(text), |noun| ZoneName::parse(noun.as_str()));
    if let Ok(name) = DnsName::parse(text) {
        let wire = name.wire();
        assert!(wire.len() <= NAME_OCTETS_MAX && wire.last() == Some(&0));
        assert_eq!(proxima_wire::name::read(&wire, 0), Ok((wire.clone(), wire.len())));
    }
}

fn within(text: &str) {
    let zone = ZoneName::parse("example.com").expect("it is one");
    if let Ok(name) = zone.record_name(text) {
        assert!(name.is_within(&zone));
        assert_eq!(zone.record_name(name.as_str()).expect("it is in the zone"), name);
    }
}

/// A type's name, then what a record of it says.
fn data(text: &str) {
    let Some((kind, content)) = text.split_once(' ') else { return };
    let Ok(kind) = RecordType::by_name(kind) else { return };
    assert_eq!(RecordType::by_name(&kind.name()).expect("it has this name"), kind);
    for data in
        [RecordData::parse(kind, content), RecordData::parse_generic(kind, content)].into_iter().flatten()
    {
        assert_eq!(data.record_type(), kind);
        assert!(data.is_offered());
        assert_eq!(RecordData::parse(kind, &data.content()).expect("it was written by us"), data);
    }
}

fn settings(text: &str) {
    let Ok(json) = serde_json::from_str(text) else { return };
    let _pointer = CacheSettings::not_offered(&json);
    same(CacheSettings::parse(&json), |noun| {
        CacheSettings::parse(&serde_json::to_value(noun).expect("it is JSON"))
    });
}

fn setting(text: &str) {
    let Some((id, value)) = text.split_once(' ') else { return };
    let (Some(setting), Ok(value)) = (Setting::by_id(id), serde_json::from_str(value)) else { return };
    let (mut settings, mut again) = (ZoneSettings::default(), ZoneSettings::default());
    if setting.set(&mut settings, &value).is_ok() {
        setting.set(&mut again, &setting.value(&settings)).expect("it was written by us");
        assert_eq!(setting.value(&again), setting.value(&settings));
    }
}

/// A kind of noun, then one as it lies in the ledger; nouns that are secret lie there sealed.
fn entities(text: &str) {
    macro_rules! stored {
        ($kind:expr, $json:expr, $($noun:ty,)*) => {
            $(if $kind == <$noun as Entity>::KIND.prefix() {
                let write = |noun: &$noun| serde_json::to_string(noun).expect("it is JSON");
                let read = serde_json::from_str::<$noun>($json).map(|noun| write(&noun));
                same(read, |written| serde_json::from_str::<$noun>(written).map(|noun| write(&noun)));
            })*
        };
    }
    let Some((kind, json)) = text.split_once(' ') else {
        return;
    };
    stored!(
        kind,
        json,
        Account,
        AcmeOrder,
        ClientAuthentication,
        ClientAuthority,
        IncomingTransfers,
        Node,
        OutgoingTransfers,
        Pop,
        Purge,
        Record,
        Ruleset,
        SecondaryZone,
        TransferAcl,
        TransferNotices,
        TransferPeer,
        TransferredRecord,
        Worker,
        WorkerAsset,
        WorkerAssetSession,
        WorkerContent,
        WorkerContentUse,
        WorkerDeployment,
        WorkerDomain,
        WorkerHost,
        WorkerRoute,
        WorkerTriggers,
        WorkerUsage,
        WorkerVersion,
        Zone,
        ZoneIndex,
        ZoneNotice,
    );
}
