//! Workers that run by a cron trigger.

use proxima_model::{ModuleKind, Timestamp, WorkerName, WorkerSyntax};
use proxima_pipeline::{CronTrigger, Exceeded, Fault};

use crate::harness::{Code, OWN, Running, with_engine};

const AT: Timestamp = Timestamp::from_millis(1_700_000_040_000);

async fn run(running: &Running, worker: &str, cron: &str) -> Result<(), Fault> {
    let worker = WorkerName::parse(worker).unwrap();
    running.service.invoker().scheduled(OWN, &worker, CronTrigger { cron, at: AT }).await
}

#[test]
fn a_worker_is_told_its_trigger_and_runs_to_the_end_of_what_it_waits_for() {
    with_engine("", async |running| {
        let code = Code::module(
            "export default {
               async scheduled(controller, env, ctx) {
                 const { cron, scheduledTime } = controller;
                 ctx.waitUntil(scheduler.wait(20).then(() =>
                   fetch(`https://away.example/?${encodeURIComponent(cron)}&${scheduledTime}`)));
               }
             }",
        );
        running.upload(OWN, "app", code).await;
        assert_eq!(run(&running, "app", "*/5 * * * *").await, Ok(()));
        let lines = running.fetched.lines.lock().unwrap().clone();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains("GET https://away.example/?*%2F5%20*%20*%20*%20*&1700000040000"), "{line}");
        // A request of it is no trigger.
        assert!(running.get(OWN, "app", "/").await.is_error(500, 1101));
    });
}

#[test]
fn a_script_of_service_worker_syntax_hears_its_trigger() {
    with_engine("", async |running| {
        let script = "addEventListener('scheduled', event => event.waitUntil(
                        fetch(`https://away.example/?${event.scheduledTime}&${encodeURIComponent(event.cron)}`)))";
        let code = Code {
            modules: vec![("worker.js", ModuleKind::CommonJs, script.into())],
            syntax: WorkerSyntax::ServiceWorker,
            ..Code::module("")
        };
        running.upload(OWN, "old", code).await;
        assert_eq!(run(&running, "old", "0 0 * * *").await, Ok(()));
        let lines = running.fetched.lines.lock().unwrap().clone();
        assert!(lines[0].contains("https://away.example/?1700000040000&0%200%20*%20*%20*"), "{lines:?}");
    });
}

#[test]
fn what_fails_of_it_is_told_and_not_run_again() {
    with_engine("cpu_ms_max = 300", async |running| {
        let code = |body: &str| Code::module(&format!("export default {{ async scheduled() {{ {body} }} }}"));
        running
            .upload(OWN, "throws", code("await fetch('https://away.example/'); throw new Error('boom')"))
            .await;
        assert_eq!(run(&running, "throws", "* * * * *").await, Err(Fault::WorkerThrew));
        assert_eq!(running.fetched.lines.lock().unwrap().len(), 1);
        running.upload(OWN, "deaf", Code::fetch("return new Response('here')")).await;
        assert_eq!(run(&running, "deaf", "* * * * *").await, Err(Fault::WorkerThrew));
        assert!(running.get(OWN, "deaf", "/").await.is(200, "here"), "it is as well as before");
        running.upload(OWN, "broken", Code::module("syntax error")).await;
        assert!(matches!(run(&running, "broken", "* * * * *").await, Err(Fault::WorkerBroken(_))));
        running.upload(OWN, "spins", code("for (;;) {}")).await;
        let spun = Err(Fault::WorkerExceeded(Exceeded::Cpu));
        assert_eq!(run(&running, "spins", "* * * * *").await, spun);
        assert!(matches!(run(&running, "nobody", "* * * * *").await, Err(Fault::WorkerBroken(_))));
    });
}
