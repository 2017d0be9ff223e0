//! Beginning and end of a daemon.

use crate::harness::{Daemon, directory, frames_of, fresh_id, image, spawn};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

#[test]
fn sigterm_answers_what_waits_and_ends_with_success() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let client = daemon.client("service");
    for step in 0..30 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.receive();
    daemon.signal(Signal::TERM);
    let statuses: Vec<_> = (1..30).map(|_| client.receive().status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert!(
        statuses.iter().filter(|status| **status == 200).count() >= 5,
        "what waited was judged: {statuses:?}"
    );
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.endpoint_file().exists(), "the endpoint file goes with the daemon");
}

#[test]
fn draining_daemon_refuses_new_requests_and_says_so() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let (client, late) = (daemon.client("service"), daemon.client("service"));
    late.ask(&[&b"ANOM1"[..], b"PING", b"connected", b"0"]);
    for step in 0..30 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.receive();
    assert_eq!(daemon.control("DRAIN").status, 200);
    late.send(&frames_of("late", 0, "other", 1, &path));
    let status = daemon.control("STATUS");
    assert_eq!(status.detail["state"], "draining");
    assert_eq!(late.receive().status, 503);
    (1..30).for_each(|_| assert_eq!(client.receive().status, 200));
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn drain_that_takes_too_long_answers_503_and_ends() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path(), "lifecycle.drain_timeout_ms = 0");
    let path = image(&daemon, "a.ppm", 600, 600);
    let client = daemon.client("service");
    for step in 0..30 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.receive();
    daemon.signal(Signal::TERM);
    let statuses: Vec<_> = (1..30).map(|_| client.receive().status).collect();
    assert!(statuses.iter().filter(|status| **status == 503).count() >= 20, "{statuses:?}");
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn restart_is_a_new_instance_that_has_forgotten_its_runs() {
    let directory = directory();
    let mut first = Daemon::start(directory.path(), "");
    let path = image(&first, "a.ppm", 64, 64);
    let before = first.classify("run", 1, &path);
    assert_eq!(before.instance, first.endpoints["instance"]);
    first.signal(Signal::TERM);
    first.ended();
    let second = Daemon::start(directory.path(), "");
    let after = second.classify("run", 2, &path);
    assert_ne!(before.instance, after.instance);
    assert_eq!(after.pool_size(), 1);
}

#[test]
fn second_daemon_on_the_same_sockets_is_refused_and_the_first_goes_on() {
    let directory = directory();
    let first = Daemon::start(directory.path(), "");
    let mut second = spawn(directory.path(), "");
    assert_eq!(second.wait().unwrap().code(), Some(2));
    let log = first.log();
    assert!(log.contains("another anomalyd (process") && log.contains("serves ipc://"), "{log}");
    assert_eq!(first.control("PING").instance, first.endpoints["instance"]);
    assert!(first.endpoint_file().exists());
}

#[test]
fn killed_daemons_leftovers_do_not_keep_its_successor_from_starting() {
    let directory = directory();
    let mut first = Daemon::start(directory.path(), "");
    first.signal(Signal::KILL);
    first.ended();
    assert!(first.endpoint_file().exists());
    let second = Daemon::start(directory.path(), "");
    assert_ne!(first.endpoints["instance"], second.endpoints["instance"]);
    assert_eq!(second.control("PING").status, 200);
}

#[test]
fn endpoint_file_is_private_names_real_ports_and_is_left_alone_if_it_is_anothers() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path(), "sockets.service = [\"tcp://127.0.0.1:0\"]");
    let file = daemon.endpoint_file();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for key in ["service", "control"] {
        let port = daemon.endpoints[key].strip_prefix("tcp://127.0.0.1:").unwrap().parse::<u16>().unwrap();
        assert_ne!(port, 0);
    }
    assert_eq!(daemon.endpoints["protocol"], "ANOM1");
    assert_eq!(daemon.control("PING").status, 200);
    fs::write(&file, "protocol=ANOM1\ninstance=another\n").unwrap();
    daemon.signal(Signal::TERM);
    daemon.ended();
    assert!(file.exists(), "a successor's file is not removed");
}

#[test]
fn stopped_daemon_answers_when_it_goes_on() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    let client = daemon.client("service");
    assert_eq!(client.ask(&frames_of("1", 0, "run", 1, &path)).status, 200);
    daemon.signal(Signal::STOP);
    let start = Instant::now();
    client.send(&frames_of("2", 0, "run", 2, &path));
    // A client that has timed out asks again, with the same id.
    daemon.client("service").send(&frames_of("2", 0, "run", 2, &path));
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal(Signal::CONT);
    let late = client.receive();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!((late.status, late.pool_size()), (200, 2));
    assert_eq!(daemon.classify("run", 3, &path).pool_size(), 3);
}
