//! The engine of one server, killed under load again and again, while Workers of two accounts are asked from every region.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Instant};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    CLIENTS, DIES, HOSTS, OTHER_HOST, asked,
    objects::{count, each_was_counted_once},
    objects_lock,
};
use crate::{
    two_pops::{TwoPops, parent_of},
    visitors::{Asked, Visit, Visitors},
};

/// How often.
const KILLS: usize = 8;
/// Who asks at a time, of each client.
const EACH: usize = 4;

/// Processes of the engine that a node has started.
fn processes(node: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_engine =
        |id: &i32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "workerd");
    ids.filter(|id| is_engine(id) && parent_of(*id) == Some(node)).collect()
}

/// Whether a process has a file open.
fn has_open(process: i32, file: &Path) -> bool {
    let Ok(wanted) = fs::metadata(file) else { return false };
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let same = |of: fs::Metadata| (of.dev(), of.ino()) == (wanted.dev(), wanted.ino());
    open.flatten().any(|entry| fs::metadata(entry.path()).is_ok_and(same))
}

/// Waits until nothing that was asked before is under way, and each counter has been clicked since: the process that has it is there.
fn until_all_are_served(visitors: &mut Visitors, counters: &[Asked]) {
    let (since, from) = (Instant::now(), visitors.visits.len());
    CLIENTS.iter().for_each(|client| visitors.until_each_has_asked(client));
    visitors.until("each counter is clicked", |visits| {
        let is_clicked = |counter: &Asked| {
            let mut clicks =
                visits[from..].iter().filter(|visit| visit.begun > since && visit.is_of(counter));
            clicks.any(|visit| visit.said().is_some())
        };
        counters.iter().all(is_clicked)
    });
}

/// All processes are killed but the one that has the other account's objects. `there`: counters whose home that server is.
pub(super) fn an_engine_that_is_killed_again_and_again_loses_nothing(
    lab: &TwoPops,
    accounts: &[String; 2],
    there: &[Asked],
) {
    let counters = HOSTS.map(|host| there.iter().find(|asked| asked.host == host).unwrap().clone());
    let before = counters.clone().map(|counter| {
        let counted = count(lab, &counter);
        (counter, counted)
    });
    let to_click = counters.clone();
    let asks = move |number: usize| match number % 4 {
        greeted @ (0 | 1) => asked("GET", HOSTS[greeted], "hello"),
        counted => to_click[counted - 2].clone(),
    };
    let node = lab.admin_pid(DIES);
    let [hit, spared] = accounts.each_ref().map(|account| objects_lock(lab, DIES, account));
    let sent_again = || lab.metric(DIES, "proxima_workers_retried_total").unwrap();
    let (sent_again_before, mut killed) = (sent_again(), 0);
    let mut visitors = Visitors::start(lab, &CLIENTS.map(|client| (client, EACH)), asks);
    for _ in 0..KILLS {
        // What was asked of the processes before is answered: nothing is lost twice.
        until_all_are_served(&mut visitors, &counters);
        let others = processes(node).into_iter().filter(|process| !has_open(*process, &spared));
        let others: Vec<i32> = others.collect();
        assert!(others.iter().any(|process| has_open(*process, &hit)), "one has the first account's objects");
        // One right after the other: what one of them loses is not sent again to one that is killed then.
        for process in others {
            match kill(Pid::from_raw(process), Signal::SIGKILL) {
                Ok(()) => killed += 1,
                // It has ended meanwhile.
                Err(Errno::ESRCH) => {}
                Err(error) => panic!("{process}: {error}"),
            }
        }
        let status = lab.lab().status().unwrap();
        let announces = status.server(DIES).map(|server| server.announces.len());
        assert_eq!(announces, Some(2), "a server is not withdrawn since its engine dies\n{status}");
    }
    until_all_are_served(&mut visitors, &counters);
    let visits = visitors.end();
    let sent_again = sent_again() - sent_again_before;
    println!("{} visits; {killed} processes were killed, {sent_again} requests sent again", visits.len());
    assert!(killed > KILLS && sent_again > 0.0, "nobody was at work in those that were killed");
    assert_eq!(lab.admin_pid(DIES), node, "the node has not died of it");
    visits.iter().for_each(is_well);
    each_was_counted_once(lab, before, &visits);
}

/// What may be sent twice is answered, and so is what the other account's objects are asked by way of other servers. All else is
/// answered, too, if only by what became of it; and by the nearest server, since none was withdrawn.
fn is_well(visit: &Visit) {
    let answer = visit.answer.as_ref().unwrap_or_else(|error| panic!("{error}: {visit:#?}"));
    match (visit.asked.method, visit.asked.host, visit.client) {
        ("GET", host, _) => assert_eq!(visit.said(), Some(&*format!("hello from {host}")), "{visit:#?}"),
        (_, OTHER_HOST, "near-a" | "near-c") => assert!(visit.said().is_some(), "{visit:#?}"),
        _ => {}
    }
    let pop = visit.client.trim_start_matches("near-").to_uppercase().repeat(3);
    assert_eq!(answer.pop(), Some(&*pop), "{visit:#?}");
}
