//! An operator's word for an image, and what follows from it.

use crate::harness::{Daemon, Reply, directory, scene};

const LAST: i64 = 25;

/// A daemon with a run of normal images up to the step `LAST`.
fn start(directory: &std::path::Path) -> Daemon {
    let daemon = Daemon::start(directory, "");
    for step in 1..=LAST {
        assert_ne!(classify(&daemon, step, false).verdict, "anomalous", "{step}");
    }
    daemon
}

fn classify(daemon: &Daemon, step: i64, with_fault: bool) -> Reply {
    daemon.classify("run", step, &scene(daemon, step, with_fault))
}

#[test]
fn alarmed_image_that_an_operator_calls_normal_joins_the_pool_at_once() {
    let directory = directory();
    let daemon = start(directory.path());
    let alarm = classify(&daemon, LAST + 1, true);
    assert_eq!((alarm.verdict.as_str(), alarm.pool_size()), ("anomalous", LAST as u64));
    let reply = daemon.label("run", LAST + 1, "normal");
    assert_eq!(
        (reply.status, reply.verdict.as_str(), &reply.step),
        (200, "unknown", &alarm.step),
        "{}",
        reply.text
    );
    let detail = (&reply.detail["labelled"], &reply.detail["in_pool"], &reply.detail["forgot"]);
    assert_eq!(detail, (&"normal".into(), &true.into(), &0.into()));
    let run = daemon.control("STATUS").detail["runs"][0].clone();
    assert_eq!(
        (&run["pool_size"], &run["alarms"], &run["labels"]),
        (&(LAST + 1).into(), &1.into(), &1.into())
    );
    // The same fault in the next image is as its newest one is: no alarm.
    let next = classify(&daemon, LAST + 2, true);
    assert_eq!((next.verdict.as_str(), next.pool_size()), ("normal", LAST as u64 + 2), "{}", next.text);
    daemon.rewind("run", LAST);
    let back = classify(&daemon, LAST + 1, true);
    assert_eq!(
        (back.verdict.as_str(), &back.detail["labelled"]),
        ("normal", &"normal".into()),
        "{}",
        back.text
    );
    assert!(
        back.score > 3.0 && back.detail["reproducible"].is_null(),
        "the score is told as it is: {}",
        back.text
    );
}

#[test]
fn accepted_image_that_an_operator_calls_anomalous_is_forgotten_with_all_later_ones() {
    let directory = directory();
    let daemon = start(directory.path());
    let reply = daemon.label("run", LAST - 4, "anomalous");
    assert_eq!(
        (reply.status, &reply.detail["forgot"], &reply.detail["in_pool"]),
        (200, &5.into(), &false.into())
    );
    assert!(reply.text.contains("5 in all"), "{}", reply.text);
    for _ in 0..2 {
        let back = classify(&daemon, LAST - 4, false);
        assert_eq!((back.verdict.as_str(), &back.detail["labelled"]), ("anomalous", &"anomalous".into()));
        assert_eq!(back.pool_size(), LAST as u64 - 5, "{}", back.text);
    }
    let next = classify(&daemon, LAST - 3, false);
    assert_eq!((next.status, next.pool_size()), (200, LAST as u64 - 4), "the run goes on: {}", next.text);
}

#[test]
fn label_for_a_run_or_a_step_that_is_not_remembered_is_answered_404_and_says_which() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "online.max_snapshots = 2");
    let path = scene(&daemon, 1, false);
    for step in 1..=80 {
        daemon.classify("run", step, &path);
    }
    let before = daemon.control("STATUS").detail["runs"].clone();
    for (run, step, status, words) in [
        ("other", 1, 404, "run other"),
        ("run", 1, 404, "step 1 "),
        ("run", 81, 404, "up to step 80"),
        ("run", 50, 409, "step 50"),
    ] {
        let reply = daemon.label(run, step, "anomalous");
        assert_eq!((reply.status, reply.verdict.as_str()), (status, "unknown"), "{step}");
        assert!(reply.text.contains(words), "{}", reply.text);
    }
    assert_eq!(daemon.control("STATUS").detail["runs"], before);
}

#[test]
fn retry_of_a_request_that_a_label_made_void_is_judged_anew_and_of_one_that_stands_is_answered_alike() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let client = daemon.client("service");
    let ask = |step: i64| {
        let path = scene(&daemon, step, false);
        client.ask(&crate::harness::frames_of(&format!("step-{step}"), 0, "run", step, &path))
    };
    (1..=5).for_each(|step| assert_eq!(ask(step).pool_size(), step as u64));
    daemon.label("run", 3, "normal");
    assert_eq!(ask(5).pool_size(), 5, "the reply is remembered: nothing is forgotten");
    daemon.label("run", 4, "anomalous");
    assert_eq!(ask(3).pool_size(), 3);
    assert_eq!((ask(4).verdict.as_str(), ask(5).pool_size()), ("anomalous", 4));
}

#[test]
fn operator_labels_from_the_command_line() {
    let directory = directory();
    let daemon = start(directory.path());
    classify(&daemon, LAST + 1, true);
    let step = (LAST + 1).to_string();
    let done = daemon.run(&["label", "run", &step, "normal"]);
    let words = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{words}");
    assert!(words.starts_with("ok: ") && words.contains("pool of 26"), "{words}");
    assert_eq!(daemon.run(&["label", "run", "99", "normal"]).status.code(), Some(4));
    assert_eq!(daemon.run(&["label", "run", "1", "maybe"]).status.code(), Some(2));
    drop(daemon);
    let gone =
        crate::harness::command(&["label", "run", "1", "normal", "--endpoint", "ipc:///tmp/anomalyd-nobody"]);
    let gone = { gone }.args(["--timeout-ms", "200"]).output().unwrap();
    assert_eq!(gone.status.code(), Some(5));
}
