//! What the daemon remembers of runs.

use crate::harness::{Daemon, directory, frames_of, image};

#[test]
fn two_runs_have_pools_of_their_own() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    for step in 1..=3 {
        assert_eq!(daemon.classify("one", step, &path).pool_size(), step as u64);
    }
    assert_eq!(daemon.classify("two", 1, &path).pool_size(), 1);
    let runs = daemon.control("STATUS").detail["runs"].clone();
    assert_eq!(
        runs,
        serde_json::json!([
            {"name": "one", "pool_size": 3, "last_step": 3, "alarms": 0, "labels": 0,
             "streams": [{"name": "", "pool_size": 3, "last_step": 3, "alarms": 0, "labels": 0}]},
            {"name": "two", "pool_size": 1, "last_step": 1, "alarms": 0, "labels": 0,
             "streams": [{"name": "", "pool_size": 1, "last_step": 1, "alarms": 0, "labels": 0}]},
        ])
    );
}

#[test]
fn rewind_forgets_later_steps_told_or_implied() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    for step in 1..=6 {
        daemon.classify("run", step, &path);
    }
    let rewound = daemon.rewind("run", 4);
    assert_eq!((rewound.status, &rewound.detail["forgot"]), (200, &2.into()));
    assert_eq!(daemon.classify("run", 5, &path).pool_size(), 5);
    let repeated = daemon.classify("run", 3, &path);
    assert_eq!((repeated.pool_size(), &repeated.detail["forgot"]), (3, &3.into()));
    assert_eq!(daemon.rewind("run", 0).detail["forgot"], 3);
    assert_eq!(daemon.rewind("never seen", 0).status, 400, "a run's name has no blanks");
    assert_eq!(daemon.rewind("never-seen", 0).status, 200);
}

#[test]
fn rewind_further_back_than_is_remembered_is_answered_409_and_changes_nothing() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "online.max_snapshots = 2");
    let path = image(&daemon, "a.ppm", 32, 32);
    // More than the rule itself looks back.
    for step in 1..=80 {
        daemon.classify("run", step, &path);
    }
    let before = daemon.control("STATUS").detail["runs"].clone();
    let refused = daemon.rewind("run", 2);
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert_eq!(daemon.classify("run", 2, &path).status, 409, "an implied rewind as well");
    assert_eq!(daemon.control("STATUS").detail["runs"], before);
    let emptied = daemon.rewind("run", 0);
    assert_eq!(
        (emptied.status, daemon.classify("run", 1, &path).pool_size()),
        (200, 1),
        "before its first image a run can always begin anew"
    );
}

#[test]
fn retry_is_answered_alike_and_joins_the_pool_once() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    let client = daemon.client("service");
    let first = client.ask(&frames_of("same", 0, "run", 1, &path));
    // A retry may ask for another deadline.
    let again = client.ask(&frames_of("same", 5000, "run", 1, &path));
    assert_eq!(first.pool_size(), 1);
    assert_eq!((first.status, first.detail, first.text), (again.status, again.detail, again.text));
    assert_eq!(daemon.classify("run", 2, &path).pool_size(), 2);
}

#[test]
fn retry_that_comes_while_the_first_waits_is_answered_with_it() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let (client, other) = (daemon.client("service"), daemon.client("service"));
    for step in 0..10 {
        client.send(&frames_of(&format!("{step}"), 0, "run", step, &path));
    }
    client.receive();
    other.send(&frames_of("9", 0, "run", 9, &path));
    let firsts: Vec<_> = (1..10).map(|_| client.receive()).collect();
    let first = firsts.iter().find(|reply| reply.id == "9").unwrap();
    let retry = other.receive();
    assert_eq!((retry.status, &retry.detail), (200, &first.detail));
    assert_eq!(retry.pool_size(), 10);
}

#[test]
fn request_id_used_twice_for_different_images_is_refused() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    let client = daemon.client("service");
    assert_eq!(client.ask(&frames_of("same", 0, "run", 1, &path)).status, 200);
    let refused = client.ask(&frames_of("same", 0, "run", 2, &path));
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("step 1"), "{}", refused.text);
}

#[test]
fn step_repeated_after_a_rewind_is_judged_anew_though_its_id_is_old() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 64, 64);
    let client = daemon.client("service");
    for step in 1..=5 {
        client.ask(&frames_of(&format!("step-{step}"), 0, "run", step, &path));
    }
    daemon.rewind("run", 3);
    assert_eq!(client.ask(&frames_of("step-4", 0, "run", 4, &path)).pool_size(), 4);
    assert_eq!(daemon.control("STATUS").detail["runs"][0]["last_step"], 4);
}

#[test]
fn run_used_least_recently_makes_room_and_the_reply_says_so() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "runs.max_runs = 2");
    let path = image(&daemon, "a.ppm", 64, 64);
    for run in ["a", "b"] {
        daemon.classify(run, 1, &path);
    }
    let reply = daemon.classify("c", 1, &path);
    assert!(reply.text.contains("run a was forgotten"), "{}", reply.text);
    assert_eq!(daemon.classify("b", 2, &path).pool_size(), 2);
}
