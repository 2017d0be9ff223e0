//! Several outputs per step of one run.

use crate::harness::{Daemon, Reply, directory, frames_of, fresh_id, image, scene};
use std::path::Path;

fn classify(daemon: &Daemon, stream: &str, step: i64, path: &Path) -> Reply {
    let mut frames = frames_of(&fresh_id(), 0, "run", step, path).to_vec();
    frames.push(format!("stream={stream}").into_bytes());
    daemon.client("service").ask(&frames)
}

fn pools(daemon: &Daemon) -> Vec<(String, u64, Option<i64>)> {
    let runs = daemon.control("STATUS").detail["runs"].clone();
    let streams = runs[0]["streams"].as_array().cloned().unwrap_or_default();
    streams
        .iter()
        .map(|stream| {
            let name = stream["name"].as_str().unwrap().to_owned();
            (name, stream["pool_size"].as_u64().unwrap(), stream["last_step"].as_i64())
        })
        .collect()
}

#[test]
fn streams_of_a_run_have_pools_of_their_own_and_share_its_rate() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let other = image(&daemon, "other.ppm", 64, 48);
    for step in 1..=20 {
        let reply = classify(&daemon, "density", step, &scene(&daemon, step, false));
        assert_eq!((reply.status, reply.pool_size(), &reply.detail["forgot"]), (200, step as u64, &0.into()));
        // Other dimensions than the first stream's, and the same step.
        let reply = classify(&daemon, "slice:2", step, &other);
        assert_eq!((reply.status, reply.pool_size(), &reply.detail["forgot"]), (200, step as u64, &0.into()));
    }
    let reply = classify(&daemon, "density", 21, &scene(&daemon, 21, false));
    assert_eq!(reply.detail["false_alarm_rate"], 5e-4, "{}", reply.text);
    assert!(reply.text.contains("threshold 3.3010"), "{}", reply.text);
    let alarm = classify(&daemon, "density", 22, &scene(&daemon, 22, true));
    assert_eq!(alarm.verdict, "anomalous", "{}", alarm.text);
    assert_ne!(classify(&daemon, "slice:2", 22, &other).verdict, "anomalous");
    let status = daemon.control("STATUS").detail["runs"][0].clone();
    assert_eq!(
        (&status["pool_size"], &status["last_step"], &status["alarms"]),
        (&42.into(), &22.into(), &1.into())
    );
    let label = ["label", "run", "22", "normal", "--stream", "density"];
    assert_eq!(daemon.run(&label).status.code(), Some(0));
    assert_eq!(
        pools(&daemon),
        [("density".into(), 22, Some(22)), ("slice:2".into(), 21, Some(22))],
        "the label is that stream's"
    );
}

#[test]
fn what_goes_back_goes_back_in_all_streams() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "runs.max_streams = 2");
    let path = image(&daemon, "a.ppm", 48, 48);
    for step in 1..=6 {
        for stream in ["", "b"] {
            assert_eq!(classify(&daemon, stream, step, &path).status, 200);
        }
    }
    assert_eq!(daemon.rewind("run", 5).detail["forgot"], 2);
    let repeated = classify(&daemon, "b", 4, &path);
    assert_eq!((&repeated.detail["forgot"], repeated.pool_size()), (&4.into(), 4));
    assert_eq!(pools(&daemon), [("".into(), 3, Some(3)), ("b".into(), 4, Some(4))]);
    let refused = classify(&daemon, "c", 5, &path);
    assert_eq!((refused.status, refused.text.contains("runs.max_streams")), (413, true), "{}", refused.text);
    let wrong = classify(&daemon, "a/b", 5, &path);
    assert_eq!((wrong.status, wrong.text.contains("stream")), (400, true), "{}", wrong.text);
    assert_eq!(pools(&daemon).len(), 2);
}

#[test]
fn retry_is_answered_alike_though_another_stream_has_gone_on() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 48, 48);
    let client = daemon.client("service");
    let ask = |stream: &str, step: i64| {
        let mut frames = frames_of(&format!("{stream}-{step}"), 0, "run", step, &path).to_vec();
        frames.push(format!("stream={stream}").into_bytes());
        client.ask(&frames)
    };
    for (stream, step) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2)] {
        assert_eq!(ask(stream, step).pool_size(), step as u64);
    }
    assert_eq!((ask("a", 3).pool_size(), ask("b", 1).pool_size()), (3, 1), "answered from memory");
    assert_eq!(pools(&daemon), [("a".into(), 3, Some(3)), ("b".into(), 2, Some(2))]);
}
