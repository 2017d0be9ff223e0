//! The commands beside `serve`, with their exit codes.

use crate::harness::{Daemon, command, directory, image};
use rustix::process::Signal;

#[test]
fn health_is_ok_then_critical() {
    let directory = directory();
    let mut daemon = Daemon::start(directory.path(), "");
    let healthy = daemon.run(&["health"]);
    let line = String::from_utf8(healthy.stdout).unwrap();
    assert_eq!(healthy.status.code(), Some(0), "{line}");
    assert!(line.starts_with("OK - ready") && line.contains(" | queue=0;51;;0;64 "), "{line}");
    daemon.signal(Signal::STOP);
    let control = daemon.endpoints["control"].clone();
    let stopped = command(&["health", "--control", &control, "--timeout-ms", "200"]).output().unwrap();
    assert_eq!(stopped.status.code(), Some(2));
    daemon.signal(Signal::CONT);
    daemon.signal(Signal::KILL);
    daemon.ended();
    let gone = daemon.run(&["health"]);
    let line = String::from_utf8(gone.stdout).unwrap();
    assert_eq!(gone.status.code(), Some(2));
    assert!(line.starts_with("CRITICAL - ") && line.contains("stale endpoint file"), "{line}");
}

#[test]
fn probe_used_wrongly_is_unknown_and_another_command_used_wrongly_is_two() {
    assert_eq!(command(&["health", "--no-such-flag"]).output().unwrap().status.code(), Some(3));
    assert_eq!(command(&["serve", "--no-such-flag"]).output().unwrap().status.code(), Some(2));
    assert_eq!(command(&["--help"]).output().unwrap().status.code(), Some(0));
}

#[test]
fn classify_by_a_daemon_says_the_verdict_by_its_exit_code() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    let path = path.to_str().unwrap();
    let young = daemon.run(&["classify", "--run", "r", "--step", "1", path]);
    let line = String::from_utf8(young.stdout).unwrap();
    assert_eq!(young.status.code(), Some(3), "{line}");
    assert!(line.contains("unknown") && line.contains("a.ppm"), "{line}");
    let missing = daemon.images().join("missing.ppm");
    let missing = daemon.run(&["classify", "--json", "--run", "r", "--step", "2", missing.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(4));
    let object: serde_json::Value = serde_json::from_slice(&missing.stdout).unwrap();
    assert_eq!(
        (&object["status"], &object["verdict"], &object["step"]),
        (&404.into(), &"unknown".into(), &2.into())
    );
    let nowhere = [
        "classify",
        "--run",
        "r",
        "--step",
        "1",
        "--timeout-ms",
        "200",
        "--endpoint",
        "ipc:///nonexistent/x",
        path,
    ];
    assert_eq!(command(&nowhere).output().unwrap().status.code(), Some(5));
    assert_eq!(
        command(&["classify", "--run", "r", path]).output().unwrap().status.code(),
        Some(2),
        "a run without a step"
    );
}

#[test]
fn config_check_prints_what_is_meant_or_what_is_wrong() {
    let directory = directory();
    let file = directory.path().join("anomalyd.toml");
    std::fs::write(&file, "queue.capacity = 7\n").unwrap();
    let good = command(&["config", "check", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8(good.stdout).unwrap().contains("queue_capacity: 7"));
    std::fs::write(&file, "queue.capcity = 7\n").unwrap();
    let wrong = command(&["config", "check", file.to_str().unwrap()]).output().unwrap();
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(message.contains("did you mean `capacity`?"), "{message}");
}

#[test]
fn printed_defaults_are_a_configuration() {
    let directory = directory();
    let defaults = command(&["config", "defaults"]).output().unwrap();
    let file = directory.path().join("anomalyd.toml");
    std::fs::write(&file, &defaults.stdout).unwrap();
    assert_eq!(
        command(&["config", "check", file.to_str().unwrap()]).output().unwrap().status.code(),
        Some(0)
    );
}

#[test]
fn log_is_one_json_object_a_line_where_asked_for() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "log.format = \"json\"");
    daemon.classify("run", 7, &image(&daemon, "a.ppm", 64, 64));
    let log = daemon.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let judged = lines.iter().find(|line| line["verdict"] == "unknown").unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&judged["span"]["run"], &judged["span"]["step"]), (&"run".into(), &7.into()));
    assert!(judged["image"].as_str().unwrap().ends_with("a.ppm"));
}
