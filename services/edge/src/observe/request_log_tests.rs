use std::time::Duration;

use http::StatusCode;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::*;
use crate::stages::tests::fixtures::exchange;

fn ended(status: u16) -> Ended {
    let answered = Some((StatusCode::from_u16(status).unwrap(), Duration::ZERO));
    Ended { answered, cache: 0, request_bytes: 0, response_bytes: 0, origin: None }
}

fn config(path: &Path, sample_interval: u64) -> RequestLogConfig {
    RequestLogConfig { path: path.to_owned(), sample_interval, always_errors: true, query: false }
}

fn start(path: &Path, sample_interval: u64) -> (RequestLog, Arc<EdgeMetrics>) {
    let metrics = EdgeMetrics::register(&mut Registry::default());
    let log =
        RequestLog::start(config(path, sample_interval), path.to_owned(), Arc::clone(&metrics)).unwrap();
    (log, metrics)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_was_noted_is_there_when_the_log_is_closed_and_errors_are_always() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests");
    let (log, metrics) = start(&path, 1_000_000_000);
    for status in [200, 404, 500, 522] {
        log.note(&exchange("http://www.example.com/"), &ended(status), None);
    }
    log.close();
    let lines = lines(&path);
    let told =
        lines.iter().map(|line| (line["EdgeResponseStatus"].as_u64(), line["SampleInterval"].as_u64()));
    // One of a thousand million would be chance.
    assert_eq!(told.collect::<Vec<_>>(), [(Some(500), Some(1)), (Some(522), Some(1))]);
    assert_eq!(metrics.log_lines_of(LogLines::Written), 2);
    log.close();
    log.note(&exchange("http://www.example.com/"), &ended(500), None);
    assert_eq!(metrics.log_lines_of(LogLines::QueueFull), 1, "nobody waits for a thread that has ended");
}

#[test]
fn two_processes_write_to_one_file_without_tearing_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests");
    let logs = [start(&path, 1).0, start(&path, 1).0];
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    log.note(&exchange("http://www.example.com/a/path/of/some/length"), &ended(200), None);
                }
                log.close();
            });
        }
    });
    assert_eq!(lines(&path).len(), 4_000);
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_also_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("requests"), folder.path().join("requests.1"));
    let mut writer = writer(&path);
    let note = |writer: &mut Writer, text: &str| {
        writer.batch.extend_from_slice(text.as_bytes());
        writer.look();
        writer.write();
    };
    note(&mut writer, "one\n");
    std::fs::rename(&path, &moved).unwrap();
    note(&mut writer, "two\n");
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    // Copied away and cut off, the other way of rotating: appending goes on from the beginning.
    std::fs::write(&path, "").unwrap();
    writer.reopen.store(true, Ordering::Relaxed);
    note(&mut writer, "three\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    // Without its folder it cannot be opened anew: the former file is kept.
    let away = folder.path().with_extension("away");
    std::fs::rename(folder.path(), &away).unwrap();
    note(&mut writer, "four\n");
    assert_eq!(std::fs::read_to_string(away.join("requests")).unwrap(), "three\nfour\n");
    std::fs::rename(&away, folder.path()).unwrap();
}

fn writer(path: &Path) -> Writer {
    Writer {
        output: Output::File(open(path).unwrap(), path.to_owned()),
        reopen: Arc::default(),
        metrics: EdgeMetrics::register(&mut Registry::default()),
        batch: Vec::new(),
        looked: Instant::now(),
        torn: false,
        failing: false,
    }
}

#[test]
fn a_full_disk_costs_lines_which_are_counted_and_what_comes_later_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests");
    let mut writer = writer(&path);
    writer.output = Output::File(open(Path::new("/dev/full")).unwrap(), path.clone());
    writer.batch.extend_from_slice(b"one\ntwo\n");
    writer.write();
    assert!(writer.failing && writer.batch.is_empty());
    assert_eq!(writer.metrics.log_lines_of(LogLines::WriteFailed), 2);
    std::fs::write(&path, "thr").unwrap();
    writer.output = Output::File(open(&path).unwrap(), path.clone());
    writer.torn = true;
    writer.batch.extend_from_slice(b"four\n");
    writer.write();
    assert!(!writer.failing);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "thr\nfour\n");
    assert_eq!(writer.metrics.log_lines_of(LogLines::Written), 1);
}

#[test]
fn when_the_queue_is_full_lines_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Held open by somebody who does not read: the thread waits in its write.
    let _reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let (log, metrics) = start(&path, 1);
    let asked = exchange("http://www.example.com/");
    let mut noted = 0;
    while metrics.log_lines_of(LogLines::QueueFull) == 0 {
        log.note(&asked, &ended(200), None);
        noted += 1;
        assert!(noted < 20 * QUEUE_LINES_MAX, "the queue has no bound");
    }
    assert!(noted > QUEUE_LINES_MAX, "{noted}");
    // The thread hangs as with a disk that hangs; nobody waits for it.
    std::mem::forget(log);
}

#[test]
fn a_check_says_what_is_wrong_with_the_path_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &Path| config(path, 1).check_path(path).map_err(|error| error.to_string());
    let path = folder.path().join("requests");
    assert_eq!(check(&path), Ok(()));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert_eq!(check(&path), Ok(()));
    for wrong in [folder.path().to_owned(), folder.path().join("none/requests"), path.join("requests")] {
        let said = check(&wrong).unwrap_err();
        assert!(
            said.contains("[edge.request_log]: path") && said.contains(wrong.to_str().unwrap()),
            "{said}"
        );
        assert!(
            RequestLog::start(
                config(&wrong, 1),
                wrong.clone(),
                EdgeMetrics::register(&mut Registry::default())
            )
            .is_err()
        );
    }
    assert_eq!(check(Path::new("stdout")), Ok(()));
}
