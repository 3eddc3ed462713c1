//! Workers that other Workers have called by what they fetch.

use std::sync::Arc;

use http::HeaderValue;
use proxima_model::{
    BindingValue, DnsName, RecordId, Timestamp, WorkerDomain, WorkerDomainId, WorkerHost, WorkerName,
    WorkerRouteId, WorkerTriggers, ZoneId, ZoneName, ZoneStatus,
};
use proxima_pipeline::{Caller, Exchange, SiteWorkers, Stranger, WorkerZones as _};
use proxima_workers::Zones;

use crate::harness::{Answer, Code, HOST, OTHER, OWN, Running, with_engine};

/// An exchange with this Worker, at its custom domain and at no route.
fn at_domain(running: &Running, name: &str, caller: Option<(&str, u8, bool)>) -> Exchange {
    let mut exchange = running.exchange(OWN, name, "/");
    let mut site = (**exchange.site.as_ref().unwrap()).clone();
    let host = WorkerHost {
        zone: ZoneId::from_bytes([4; 16]),
        hostname: DnsName::parse(HOST).unwrap(),
        account: OWN,
        service: WorkerName::parse(name).unwrap(),
        domain: WorkerDomainId::from_bytes([6; 16]),
        record: RecordId::from_bytes([7; 16]),
    };
    site.workers = SiteWorkers::new([], [host]);
    exchange.site = Some(Arc::new(site));
    if let Some((worker, row, passes)) = caller {
        exchange.extensions.insert(Caller { worker: WorkerName::parse(worker).unwrap(), row, passes });
    }
    exchange
}

async fn by_stranger(running: &Running, name: &str, row: u8) -> Answer {
    let mut exchange = running.exchange(OWN, name, "/");
    exchange.extensions.insert(Stranger { named: HeaderValue::from_static("stranger.example"), row });
    Answer::read(running.run(&mut exchange).await).await
}

/// Who has fetched since this was asked last: which Worker, in which place of a row.
fn callers(running: &Running) -> Vec<(String, u8)> {
    let callers = std::mem::take(&mut *running.fetched.callers.lock().unwrap());
    callers.into_iter().map(|caller| (caller.worker.as_str().to_owned(), caller.row)).collect()
}

#[test]
fn a_worker_is_told_of_by_its_place_in_the_row_and_so_is_one_that_is_bound_to_it() {
    with_engine("", async |running| {
        let back = BindingValue::Service {
            worker: WorkerName::parse("back").unwrap(),
            entrypoint: None,
            props: None,
        };
        let front = Code::fetch("await fetch('http://a.example/'); return env.BACK.fetch(request)");
        running.upload(OWN, "front", Code { bindings: vec![("BACK", back)], ..front }).await;
        running.upload(OWN, "back", Code::fetch("return fetch('http://b.example/')")).await;
        let told = |row| vec![("front".to_owned(), row), ("back".to_owned(), row)];
        running.get(OWN, "front", "/").await;
        assert_eq!(callers(&running), told(0), "what a visitor asks");
        for row in [4, 12, 4] {
            let answer = by_stranger(&running, "front", row).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(callers(&running), told(row));
        }
        let mut exchange = at_domain(&running, "front", Some(("other", 2, false)));
        let answer = running.run_fetched(&mut exchange).await;
        assert_eq!((answer.status.as_u16(), callers(&running)), (200, told(3)), "{answer:?}");
        let told_of = |text| exchange.trace.entries().iter().any(|entry| entry.decision.contains(text));
        assert!(told_of("a custom domain leads to Worker front"), "{:?}", exchange.trace.entries());
        running.get(OWN, "front", "/").await;
        assert_eq!(callers(&running), told(0), "what a visitor asks is apart");
        for (mut exchange, by) in [
            (at_domain(&running, "front", None), "a custom domain"),
            (running.exchange(OWN, "front", "/"), "a route"),
        ] {
            running.run(&mut exchange).await;
            let expected = format!("{by} leads to Worker front");
            let entries = exchange.trace.entries();
            assert!(entries.iter().any(|entry| entry.decision.contains(&expected)), "{by}: {entries:?}");
        }
    });
}

#[test]
fn the_seventeenth_that_is_called_is_not_run() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return fetch('http://a.example/')")).await;
        let answer = by_stranger(&running, "app", 17).await;
        assert!(answer.is_error(508, 1019), "{answer:?}");
        for (row, runs) in [(15, true), (16, false), (u8::MAX, false)] {
            let mut exchange = at_domain(&running, "app", Some(("app", row, false)));
            let answer = running.run_fetched(&mut exchange).await;
            assert_eq!(answer.is_error(508, 1019), !runs, "{row}: {answer:?}");
        }
        assert_eq!(callers(&running), [("app".to_owned(), 16)]);
    });
}

#[test]
fn who_has_thrown_at_its_domain_is_passed_there_and_nobody_else_is() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('app')")).await;
        for (caller, expected) in [
            (Some(("app", 1, true)), "behind"),
            (Some(("app", 1, false)), "app"),
            (Some(("other", 1, true)), "app"),
            // What no Worker fetches.
            (None, "behind"),
        ] {
            let answer = running.run_fetched(&mut at_domain(&running, "app", caller)).await;
            assert!(answer.is(200, expected), "{caller:?}: {answer:?}");
        }
        // A route is for visitors.
        let mut exchange = running.exchange(OWN, "app", "/");
        let worker = WorkerName::parse("other").unwrap();
        exchange.extensions.insert(Caller { worker, row: 0, passes: false });
        assert!(running.run_fetched(&mut exchange).await.is(200, "behind"));
    });
}

#[test]
fn a_worker_belongs_to_the_first_active_zone_of_its_account_in_which_it_is_reached() {
    with_engine("", async |running| {
        let replica = &running.node.replica;
        let app = WorkerName::parse("app").unwrap();
        let made = |number: u8, name: &str, account, status| {
            let mut zone = running.exchange(account, "app", "/").site.unwrap().zone.clone();
            (zone.id, zone.name, zone.status) =
                (ZoneId::from_bytes([number; 16]), ZoneName::parse(name).unwrap(), status);
            zone
        };
        let zones = [
            made(1, "a.example", OWN, ZoneStatus::Pending),
            made(2, "b.example", OTHER, ZoneStatus::Active),
            made(3, "d.example", OWN, ZoneStatus::Active),
            made(4, "c.example", OWN, ZoneStatus::Active),
        ];
        let domain = WorkerDomain {
            id: WorkerDomainId::from_bytes([6; 16]),
            account: OWN,
            zone: zones[3].id,
            hostname: DnsName::parse("app.c.example").unwrap(),
            service: app.clone(),
            created_at: Timestamp::from_millis(0),
        };
        let route = |number: u8| (ZoneId::from_bytes([number; 16]), WorkerRouteId::from_bytes([number; 16]));
        let triggers = WorkerTriggers {
            account: OWN,
            worker: app.clone(),
            // The last one was deleted.
            routes: [route(1), route(2), route(3), route(9)].into(),
            domains: [domain.id].into(),
            crons: Vec::new(),
        };
        let mut changes: Vec<_> = zones.iter().map(|zone| replica.put(zone)).collect();
        changes.extend([replica.put(&domain), replica.put(&triggers)]);
        running.change(changes).await;
        let known = Zones::new(replica.clone());
        let told = || known.zone_of(OWN, &app).unwrap().map(|zone| zone.to_string());
        assert_eq!(told().as_deref(), Some("c.example"));
        assert!(known.zone_of(OTHER, &app).unwrap().is_none());
        // What is remembered is not what was.
        let mut gone = zones[3].clone();
        gone.status = ZoneStatus::Pending;
        running.change(vec![replica.put(&gone)]).await;
        assert_eq!(told().as_deref(), Some("d.example"));
    });
}
