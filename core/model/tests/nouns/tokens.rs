//! What a permission allows, and what a scope covers.

use proxima_model::Permission::{
    self, AccountRead, All, CachePurge, DnsEdit, DnsRead, KvEdit, KvRead, R2Edit, R2ItemEdit, R2ItemRead,
    R2Read, RulesEdit, RulesRead, SslEdit, TraceRead, WorkerRoutesEdit, WorkerRoutesRead, WorkersEdit,
    WorkersRead, ZoneEdit, ZoneRead,
};
use proxima_model::{AccountId, BucketName, Jurisdiction, TokenPolicy, TokenScope, ZoneId};
use serde_json::json;

const EVERY: [Permission; 21] = [
    ZoneRead,
    ZoneEdit,
    DnsRead,
    DnsEdit,
    CachePurge,
    RulesRead,
    RulesEdit,
    SslEdit,
    AccountRead,
    TraceRead,
    WorkersRead,
    WorkersEdit,
    WorkerRoutesRead,
    WorkerRoutesEdit,
    KvRead,
    KvEdit,
    R2Read,
    R2Edit,
    R2ItemRead,
    R2ItemEdit,
    All,
];

#[test]
fn editing_includes_reading_buckets_what_is_in_them_all_everything_and_nothing_else_another() {
    for held in EVERY {
        for wanted in EVERY {
            let includes = held == wanted
                || held == All
                || matches!(
                    (held, wanted),
                    (ZoneEdit, ZoneRead)
                        | (DnsEdit, DnsRead)
                        | (RulesEdit, RulesRead)
                        | (WorkersEdit, WorkersRead)
                        | (WorkerRoutesEdit, WorkerRoutesRead)
                        | (KvEdit, KvRead)
                        | (R2Edit, R2Read | R2ItemRead | R2ItemEdit)
                        | (R2Read | R2ItemEdit, R2ItemRead)
                );
            assert_eq!(held.allows(wanted), includes, "{held:?} {wanted:?}");
        }
    }
}

#[test]
fn a_bucket_is_covered_by_its_account_and_by_its_own_name_and_jurisdiction() {
    let [ours, theirs] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
    let named = |text: &str| BucketName::parse(text).unwrap();
    let eu = Some(Jurisdiction::EuropeanUnion);
    let photos = TokenScope::Bucket { account: ours, jurisdiction: None, name: named("photos") };
    for (scope, covered) in [
        (TokenScope::Everything, [true, true, true, true]),
        (TokenScope::Account(ours), [true, true, true, false]),
        (photos.clone(), [true, false, false, false]),
        (TokenScope::Zone(ZoneId::from_bytes([1; 16])), [false; 4]),
    ] {
        let buckets =
            [(ours, None, "photos"), (ours, eu, "photos"), (ours, None, "photo"), (theirs, None, "photos")];
        let found = buckets.map(|(account, place, name)| scope.covers_bucket(account, place, &named(name)));
        assert_eq!(found, covered, "{scope:?}");
    }
    assert!(!photos.covers_account(ours) && !photos.covers_zone(ours, ZoneId::from_bytes([1; 16])));
}

#[test]
fn policies_are_read_as_they_were_written_before_there_were_buckets_in_them() {
    let (id, account) = ("01".repeat(16), AccountId::from_bytes([1; 16]));
    let policy = |scope, permissions| TokenPolicy { scope, permissions };
    let bucket = |jurisdiction| TokenScope::Bucket {
        account,
        jurisdiction,
        name: BucketName::parse("photos").unwrap(),
    };
    for (written, read) in [
        (json!({ "scope": "everything", "permissions": ["all"] }), policy(TokenScope::Everything, vec![All])),
        (
            json!({ "scope": { "account": id }, "permissions": ["r2_read", "r2_edit"] }),
            policy(TokenScope::Account(account), vec![R2Read, R2Edit]),
        ),
        (
            json!({ "scope": { "bucket": { "account": id, "name": "photos" } }, "permissions": ["r2_item_read"] }),
            policy(bucket(None), vec![R2ItemRead]),
        ),
        (
            json!({ "scope": { "bucket": { "account": id, "jurisdiction": "eu", "name": "photos" } },
                    "permissions": ["r2_item_edit"] }),
            policy(bucket(Some(Jurisdiction::EuropeanUnion)), vec![R2ItemEdit]),
        ),
    ] {
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(serde_json::from_value::<TokenPolicy>(written).unwrap(), read);
    }
}
