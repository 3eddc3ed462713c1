//! What is told where a Worker does not answer.

use proxima_chassis::{Health, Service as _};
use proxima_model::ModuleKind;

use crate::harness::{Code, OWN, with_engine, with_node};

#[test]
fn what_a_worker_does_wrong_is_its_own_and_told_as_1101() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        let mut unread = Code::fetch("return new Response('never')");
        unread.modules.push(("data.json", ModuleKind::Json, "{".into()));
        let many_fields = Code::fetch(
            "const headers = [...Array(300).keys()].map((number) => [`x-${number}`, 'x']);
             return new Response('never', { headers })",
        );
        for (name, code, detail) in [
            ("throws", Code::fetch("throw new TypeError('boom')"), "threw an exception"),
            ("late", Code::fetch("await scheduler.wait(1); throw 1"), "threw an exception"),
            ("nothing", Code::fetch("return 17"), "threw an exception"),
            ("syntax", Code::module("export default { fetch( }"), "it does not start"),
            ("start", Code::module("throw new Error('at start')"), "it does not start"),
            ("missing", Code::module("import './none.js'; export default {}"), "it does not start"),
            ("unread", unread, "its code cannot be loaded"),
            ("fields", many_fields, "too many fields"),
        ] {
            running.upload(OWN, name, code).await;
            // Twice: what failed once fails alike from then on.
            for _ in 0..2 {
                let answer = running.get(OWN, name, "/").await;
                assert!(answer.is_error(500, 1101) && answer.text.contains(detail), "{name}: {answer:?}");
            }
        }
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"), "its neighbours do not notice");
    });
}

#[test]
fn a_worker_cannot_say_what_the_dispatcher_says() {
    with_engine("", async |running| {
        let forged =
            Code::fetch("return new Response('mine', { headers: { 'proxima-fault': 'x exception' } })");
        running.upload(OWN, "app", forged).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "mine"));
    });
}

#[test]
fn without_its_program_a_server_says_so_and_serves_what_is_not_a_workers() {
    with_node("workerd = \"/nowhere/workerd\"\n", async |running| {
        let health = running.service.health();
        assert!(
            matches!(&health, Health::Degraded(why) if why.contains("npm package `workerd`")),
            "{health:?}"
        );
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        let answer = running.get(OWN, "app", "/").await;
        assert!(answer.is_error(503, 503) && answer.text.contains("workerd is not there"), "{answer:?}");
        let mut exchange = running.exchange(OWN, "app", "/");
        exchange.request.host = "other.example.com".into();
        let response = running.run(&mut exchange).await;
        assert_eq!(response.body.collect(100).await.unwrap(), "behind");
    });
}

#[test]
fn a_program_that_ends_again_and_again_is_not_started_for_every_request() {
    with_node("workerd = \"/bin/false\"\nshards = 1\n", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        let mut waited = false;
        for _ in 0..20 {
            let answer = running.get(OWN, "app", "/").await;
            assert!(answer.status.is_server_error(), "{answer:?}");
            waited |= answer.is_error(503, 503) && answer.text.contains("ends again and again");
        }
        assert!(waited, "most are answered without a start");
    });
}
