//! More requests than can be judged.

use crate::harness::{Daemon, directory, frames_of, fresh_id, image};

#[test]
fn full_queue_answers_overloaded_at_once_and_the_rest_is_judged() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "queue.capacity = 2");
    let path = image(&daemon, "a.ppm", 400, 400);
    let client = daemon.client("service");
    // Sent faster than one of them can be judged.
    for step in 0..40 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    let replies: Vec<_> = (0..40).map(|_| client.receive()).collect();
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(count(200) + count(429), 40, "{replies:#?}");
    // Two that wait, and one in work if a worker was quick.
    assert!(count(200) >= 2 && count(429) >= 1, "{} judged, {} refused", count(200), count(429));
    // Refused at once: before a judgement that was already waiting.
    let first_refused = replies.iter().position(|reply| reply.status == 429).unwrap();
    let last_judged = replies.iter().rposition(|reply| reply.status == 200).unwrap();
    assert!(first_refused < last_judged);
    let refused = &replies[first_refused];
    assert_eq!((refused.verdict.as_str(), refused.score.is_nan()), ("unknown", true));
    assert!(refused.text.contains("queue.capacity"), "{}", refused.text);
    assert_eq!(daemon.classify("run", 100, &path).status, 200);
}

#[test]
fn control_socket_answers_while_images_wait_to_be_judged() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let path = image(&daemon, "a.ppm", 600, 600);
    let client = daemon.client("service");
    for step in 0..60 {
        client.send(&frames_of(&fresh_id(), 0, "run", step, &path));
    }
    client.receive();
    let status = daemon.control("STATUS");
    assert_eq!(status.status, 200);
    assert!(status.detail["queue"]["length"].as_u64().unwrap() > 10, "{}", status.detail);
    assert_eq!(status.detail["queue"]["capacity"], 64);
    // Between two images a worker is not busy, and on a loaded machine it may be kept there for long; but not until no image waits.
    let mut look = status.clone();
    while look.detail["workers"]["busy"] != 1 {
        assert_eq!(look.detail["workers"]["busy"], 0, "{}", look.detail);
        assert!(look.detail["queue"]["length"].as_u64().unwrap() > 0, "{}", look.detail);
        look = daemon.control("STATUS");
    }
    assert!(status.detail["last_progress_age_s"].as_f64().unwrap() < 30.0);
    assert_eq!(daemon.control("PING").status, 200);
    (1..60).for_each(|_| assert_eq!(client.receive().status, 200));
}

#[test]
fn images_of_one_run_are_judged_in_the_order_sent_by_any_number_of_workers() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "workers.count = 4");
    let path = image(&daemon, "a.ppm", 64, 64);
    let client = daemon.client("service");
    for step in 0..30 {
        for run in ["a", "b"] {
            client.send(&frames_of(&fresh_id(), 0, run, step, &path));
        }
    }
    for _ in 0..60 {
        let reply = client.receive();
        assert_eq!(reply.status, 200, "{reply:?}");
        // Out of order would have been taken for a rewind.
        assert_eq!(reply.detail["forgot"], 0, "{reply:?}");
    }
}
