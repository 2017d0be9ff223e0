//! Requests that come too late to be worth their work.

use crate::harness::{Daemon, directory, frames_of, fresh_id, image};

#[test]
fn request_that_waits_past_its_deadline_is_answered_408_and_not_judged() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let client = daemon.client("service");
    for step in 0..20 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.send(&frames_of("late", 1, "run", 20, &path));
    let replies: Vec<_> = (0..21).map(|_| client.receive()).collect();
    let position = replies.iter().position(|reply| reply.id == "late").unwrap();
    assert_eq!((replies[position].status, replies[position].verdict.as_str()), (408, "unknown"));
    assert!(position < 19, "answered when the deadline came, not when its turn would have come");
    let newest = daemon.control("STATUS").detail["runs"][0]["last_step"].clone();
    assert_eq!(newest, 19, "the late image was not judged");
}

#[test]
fn retry_of_a_late_request_is_judged() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let client = daemon.client("service");
    for step in 0..20 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.send(&frames_of("same", 1, "run", 20, &path));
    (0..21).for_each(|_| drop(client.receive()));
    let retry = client.ask(&frames_of("same", 0, "run", 20, &path));
    assert_eq!((retry.status, retry.pool_size()), (200, 21));
}
