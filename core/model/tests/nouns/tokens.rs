//! What a permission allows.

use proxima_model::Permission::{
    self, AccountRead, All, CachePurge, DnsEdit, DnsRead, KvEdit, KvRead, R2Edit, R2Read, RulesEdit,
    RulesRead, SslEdit, TraceRead, WorkerRoutesEdit, WorkerRoutesRead, WorkersEdit, WorkersRead, ZoneEdit,
    ZoneRead,
};

const EVERY: [Permission; 19] = [
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
    All,
];

#[test]
fn editing_includes_reading_and_all_includes_everything_and_nothing_else_includes_another() {
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
                        | (R2Edit, R2Read)
                );
            assert_eq!(held.allows(wanted), includes, "{held:?} {wanted:?}");
        }
    }
}
