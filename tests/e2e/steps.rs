//! Steps as simulations have them: uneven, with gaps, repeated, and again from a checkpoint.

use crate::harness::{Daemon, Reply, directory, scene};

fn classify(daemon: &Daemon, run: &str, step: i64, time: i64, with_fault: bool) -> Reply {
    let reply = daemon.classify(run, step, &scene(daemon, time, with_fault));
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn verdict(reply: &Reply) -> (&str, u64, u64) {
    (&reply.verdict, reply.score.to_bits(), reply.pool_size())
}

#[test]
fn uneven_steps_and_gaps_raise_no_alarm_and_a_fault_after_a_gap_is_found() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    // Cycle numbers of an adaptive time step: some 100 apart, never twice the same; the image shows the time.
    let step = |time: i64| 100 * time + (time * 37) % 23;
    for time in (1..=30).chain((32..=50).step_by(2)).chain(51..=70) {
        let reply = classify(&daemon, "run", step(time), time, false);
        assert_ne!(reply.verdict, "anomalous", "{time}: {}", reply.text);
    }
    // Some images are never sent, or were lost.
    let alarm = classify(&daemon, "run", step(73), 73, true);
    assert_eq!(alarm.verdict, "anomalous", "{}", alarm.text);
    assert_eq!(classify(&daemon, "run", step(75), 75, false).verdict, "normal", "judged at its own distance");
    // So long a pause that nothing is known at that distance: the run warms up again, shortly.
    let after = (200..=206).map(|time| classify(&daemon, "run", step(time), time, false));
    let verdicts: Vec<String> = after.map(|reply| reply.verdict).collect();
    assert!(verdicts[0] == "unknown" && verdicts[6] == "normal", "{verdicts:?}");
}

#[test]
fn simulation_that_goes_on_from_a_checkpoint_gets_the_verdicts_that_it_had() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let first: Vec<Reply> = (1..=40).map(|step| classify(&daemon, "run", step, step, false)).collect();
    // Told, told and further back, and not told at all.
    for (told, checkpoint) in [(true, 30), (true, 18), (false, 25)] {
        if told {
            assert_eq!(daemon.rewind("run", checkpoint).status, 200);
        }
        for step in checkpoint + 1..=40 {
            let again = classify(&daemon, "run", step, step, false);
            assert_eq!(verdict(&again), verdict(&first[step as usize - 1]), "{checkpoint} {step}");
        }
    }
    // Another way from there: what was forgotten does not count.
    daemon.rewind("run", 35);
    let other = classify(&daemon, "run", 36, 36, true);
    assert_eq!((other.verdict.as_str(), other.pool_size()), ("anomalous", 35));
}

#[test]
fn repeated_step_is_judged_alike_and_counted_once() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let first: Vec<Reply> = (1..=20).map(|step| classify(&daemon, "run", step, step, false)).collect();
    for _ in 0..3 {
        let again = classify(&daemon, "run", 20, 20, false);
        assert_eq!((verdict(&again), &again.detail["forgot"]), (verdict(&first[19]), &1.into()));
    }
    assert_eq!(classify(&daemon, "run", 21, 21, false).pool_size(), 21);
}

#[test]
fn steps_may_be_any_number_of_64_bits() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    for (idx, step) in [i64::MIN, -5, 0, i64::MAX].into_iter().enumerate() {
        let reply = classify(&daemon, "run", step, idx as i64, false);
        assert_eq!((reply.pool_size(), &reply.step), (idx as u64 + 1, &step.to_string()));
    }
    assert_eq!(classify(&daemon, "run", i64::MAX, 3, false).pool_size(), 4);
    assert_eq!(daemon.rewind("run", i64::MIN).detail["forgot"], 3);
    assert_eq!(classify(&daemon, "run", i64::MIN, 0, false).pool_size(), 1);
}
