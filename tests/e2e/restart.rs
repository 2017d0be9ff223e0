//! Runs that outlive the daemon's process: killed at any moment and started again, it judges as if it had never ended.

use crate::fields::{COLUMNS, ROWS, density, f64s, faulty, send};
use crate::harness::{Daemon, Reply, directory, frames_of, fresh_id, image, scene, serve};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn state_dir(directory: &Path) -> PathBuf {
    directory.join("state")
}

fn settings(directory: &Path) -> String {
    format!("runs.state_dir = {:?}", state_dir(directory))
}

fn start(directory: &Path) -> Daemon {
    Daemon::start(directory, &settings(directory))
}

/// Kills the daemon, as the kernel does that is out of memory, and starts its successor.
fn restart(mut daemon: Daemon) -> Daemon {
    daemon.signal(Signal::KILL);
    daemon.ended();
    let directory = daemon.directory.clone();
    drop(daemon);
    start(&directory)
}

/// What must be equal to the bit.
fn bits(reply: &Reply) -> (String, u64, Value, Value, Value) {
    let detail = |key: &str| reply.detail[key].clone();
    (reply.verdict.clone(), reply.score.to_bits(), detail("p_value"), detail("pool"), detail("box"))
}

fn classify(daemon: &Daemon, step: i64, with_fault: bool) -> Reply {
    let reply = daemon.classify("run", step, &scene(daemon, step, with_fault));
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// Steps in the order sent, a fault in some, one told rewind to 24 before the second 25 and gaps.
const FAULTS: [i64; 3] = [22, 31, 32];

fn story() -> Vec<(Option<i64>, i64)> {
    let mut story: Vec<(Option<i64>, i64)> = (1..=28).map(|step| (None, step)).collect();
    story.push((Some(24), 25));
    story.extend((26..=34).chain([36, 37, 41, 42]).map(|step| (None, step)));
    // Back without a word, as from a checkpoint.
    story.extend((38..=44).map(|step| (None, step)));
    story
}

fn tell(daemon: &Daemon, (rewind, step): (Option<i64>, i64)) -> Reply {
    if let Some(to) = rewind {
        assert_eq!(daemon.rewind("run", to).status, 200);
    }
    classify(daemon, step, FAULTS.contains(&step))
}

#[test]
fn killed_and_restarted_daemon_gives_the_scores_of_an_undisturbed_one_to_the_bit() {
    let (directory, other) = (directory(), directory());
    let undisturbed = Daemon::start(other.path(), "");
    let mut daemon = start(directory.path());
    let mut n_alarms = 0;
    for (idx, act) in story().into_iter().enumerate() {
        // After an alarm, between a rewind and the step before it, within a gap, and often.
        if idx % 5 == 2 || FAULTS.contains(&act.1) || act.0.is_some() {
            daemon = restart(daemon);
        }
        let (expected, found) = (tell(&undisturbed, act), tell(&daemon, act));
        assert_eq!(bits(&found), bits(&expected), "{act:?}: {}", found.text);
        n_alarms += usize::from(found.verdict == "anomalous");
    }
    assert!(n_alarms >= 2, "{n_alarms}");
    let daemon = restart(daemon);
    let statuses = [&undisturbed, &daemon].map(|daemon| daemon.control("STATUS").detail["runs"].clone());
    assert_eq!(statuses[0], statuses[1], "told before the run is used");
    let refused = daemon.rewind("run", 0);
    assert_eq!((refused.status, &refused.detail["forgot"]), (200, &statuses[0][0]["pool_size"]));
}

#[test]
fn papers_rule_gives_the_same_scores_whether_there_is_time_to_settle_or_the_daemon_is_killed_instead() {
    let rule = "online.method = \"forest\"\nonline.forest.warm_up = 8\nonline.forest.threshold = 0.6";
    let (directory, other) = (directory(), directory());
    let settings = format!("{rule}\n{}", settings(directory.path()));
    let hurried = Daemon::start(other.path(), rule);
    let mut daemon = Daemon::start(directory.path(), &settings);
    let (mut had_time, mut n_accepted, mut n_settled) = (false, 0, 0);
    for (idx, act) in story().into_iter().enumerate() {
        let (expected, found) = (tell(&hurried, act), tell(&daemon, act));
        assert_eq!(bits(&found), bits(&expected), "{act:?}: {}", found.text);
        n_accepted += usize::from(found.verdict != "anomalous");
        if had_time && act.0.is_none() {
            assert_eq!(found.detail["timings_s"]["settle"], 0.0, "{}", found.detail);
        }
        had_time = false;
        match idx % 4 {
            // Right after the answer: it may or may not have been settled.
            0 => {
                daemon.signal(Signal::KILL);
                daemon.ended();
                daemon = Daemon::start(directory.path(), &settings);
            }
            1 | 2 => {
                let settling = settled(&daemon);
                assert_eq!(settling["failed"], 0, "{settling}");
                n_settled += settling["done"].as_u64().unwrap();
                had_time = true;
            }
            _ => {}
        }
    }
    assert!(n_accepted > 20 && n_settled > 0, "{n_accepted} {n_settled}");
}

/// What `STATUS` tells once nothing is left to do.
fn settled(daemon: &Daemon) -> Value {
    loop {
        let settling = daemon.control("STATUS").detail["settling"].clone();
        if settling["runs"] == 0 {
            return settling;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn one_shot_replay_gives_the_scores_of_a_daemon_that_was_killed_again_and_again() {
    let directory = directory();
    let mut daemon = start(directory.path());
    let mut expected = Vec::new();
    for step in 1..=30 {
        if step % 7 == 0 {
            daemon = restart(daemon);
        }
        let reply = classify(&daemon, step, step == 26);
        expected.push((reply.verdict.clone(), reply.score.to_bits()));
    }
    for step in 1..=30 {
        let name = if step == 26 { "26-true.ppm".to_owned() } else { format!("{step}-false.ppm") };
        fs::rename(daemon.images().join(name), daemon.images().join(format!("frame_{step:04}.ppm"))).unwrap();
    }
    let output = daemon.run(&["replay", daemon.images().to_str().unwrap(), "--json", "-"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<(String, u64)> = text
        .lines()
        .map(|line| {
            let label = serde_json::from_str::<Value>(line).unwrap()["label"].as_str().unwrap().to_owned();
            // From the digits: the JSON reader rounds the last bit as it likes.
            let (_, rest) = line.split_once("\"score\":").unwrap();
            let digits = rest.split([',', '}']).next().unwrap();
            (label, digits.parse().unwrap_or(f64::NAN).to_bits())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn run_of_fields_goes_on_by_the_scale_of_its_first_field() {
    let (directory, other) = (directory(), directory());
    let undisturbed = Daemon::start(other.path(), "");
    let mut daemon = start(directory.path());
    let options = [&format!("shape={ROWS}x{COLUMNS}")[..], "dtype=f64"];
    for step in 1..=25 {
        if step % 6 == 0 {
            daemon = restart(daemon);
        }
        let values = f64s(&if step == 25 { faulty(step) } else { density(step) });
        let expected = send(&undisturbed, "run", step, &values, &options);
        let found = send(&daemon, "run", step, &values, &options);
        assert_eq!((found.status, bits(&found)), (200, bits(&expected)), "{step}: {}", found.text);
        assert_eq!(found.detail["field"], expected.detail["field"]);
        assert_eq!(found.verdict == "anomalous", step == 25, "{}", found.text);
    }
}

#[test]
fn daemon_that_is_killed_during_a_judgement_judges_the_retry_as_if_nothing_had_been() {
    let (directory, other) = (directory(), directory());
    let undisturbed = Daemon::start(other.path(), "");
    let mut daemon = start(directory.path());
    let mut n_killed_before_the_reply = 0;
    for step in 1..=36i64 {
        let expected = classify(&undisturbed, step, step == 30);
        let path = scene(&daemon, step, step == 30);
        let frames = frames_of(&format!("request-{step}"), 0, "run", step, &path);
        if step % 2 == 0 {
            let client = daemon.client("service");
            client.send(&frames);
            // From before the request is read to after its reply is sent.
            std::thread::sleep(Duration::from_micros(400 * (step as u64 % 18)));
            daemon = restart(daemon);
            n_killed_before_the_reply += usize::from(client.receive_within(0).is_none());
        }
        let reply = daemon.client("service").ask(&frames);
        assert_eq!(bits(&reply), bits(&expected), "{step}: {}", reply.text);
        assert!(reply.detail["reproducible"].is_null(), "a retry is no replay: {}", reply.text);
    }
    assert!(n_killed_before_the_reply >= 3, "{n_killed_before_the_reply}");
}

#[test]
fn retry_after_a_restart_is_answered_alike_by_the_new_instance() {
    let directory = directory();
    let mut daemon = start(directory.path());
    (1..=20).for_each(|step| drop(classify(&daemon, step, false)));
    let path = scene(&daemon, 21, true);
    let frames = frames_of("alarm", 0, "run", 21, &path);
    let first = daemon.client("service").ask(&frames);
    assert_eq!(first.verdict, "anomalous");
    daemon = restart(daemon);
    let again = daemon.client("service").ask(&frames);
    assert_eq!((&again.text, &again.detail, bits(&again)), (&first.text, &first.detail, bits(&first)));
    assert_ne!(again.instance, first.instance);
    let other = frames_of("alarm", 0, "run", 22, &path);
    assert_eq!(daemon.client("service").ask(&other).status, 400, "the id was another request's");
    daemon = restart(daemon);
    daemon.rewind("run", 20);
    let replayed = daemon.client("service").ask(&frames);
    let (verdict, reproducible) = (replayed.verdict.as_str(), &replayed.detail["reproducible"]);
    assert_eq!((verdict, reproducible), ("normal", &true.into()), "after a rewind it is a replay");
}

#[test]
fn label_and_streams_outlive_the_process() {
    let directory = directory();
    let mut daemon = start(directory.path());
    (1..=20).for_each(|step| drop(classify(&daemon, step, false)));
    let small = image(&daemon, "small.ppm", 24, 24);
    let mut frames = frames_of(&fresh_id(), 0, "run", 20, &small).to_vec();
    frames.push(b"stream=density".to_vec());
    assert_eq!(daemon.client("service").ask(&frames).status, 200);
    assert_eq!(classify(&daemon, 21, true).verdict, "anomalous");
    daemon = restart(daemon);
    let labelled = daemon.label("run", 21, "normal");
    assert_eq!(
        &labelled.detail["in_pool"], true,
        "the state of an image kept out is stored: {}",
        labelled.text
    );
    assert_eq!(daemon.label("run", 10, "anomalous").detail["forgot"], 13, "the stream's image among them");
    daemon = restart(daemon);
    assert_eq!(classify(&daemon, 10, false).detail["labelled"], "anomalous");
    let runs = daemon.control("STATUS").detail["runs"].clone();
    assert_eq!((&runs[0]["labels"], &runs[0]["pool_size"]), (&2.into(), &9.into()));
}

#[test]
fn damaged_record_costs_the_newest_image_and_the_log_says_so() {
    let directory = directory();
    let daemon = start(directory.path());
    (1..=20).for_each(|step| drop(classify(&daemon, step, false)));
    let newest = classify(&daemon, 21, false);
    drop(daemon);
    let run = state_dir(directory.path()).join("run-run");
    let mut records: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    records.sort();
    let bytes = fs::read(records.last().unwrap()).unwrap();
    fs::write(records.last().unwrap(), &bytes[..bytes.len() - 100]).unwrap();
    let daemon = start(directory.path());
    let again = classify(&daemon, 21, false);
    assert_eq!(bits(&again), bits(&newest), "the image before it is the newest one");
    assert!(daemon.log().contains("cannot be read"), "{}", daemon.log());
}

#[test]
fn daemon_that_was_killed_while_it_stored_a_run_goes_on_from_what_was_stored_before() {
    let directory = directory();
    let daemon = start(directory.path());
    (1..=20).for_each(|step| drop(classify(&daemon, step, false)));
    let newest = classify(&daemon, 21, false);
    drop(daemon);
    let head = state_dir(directory.path()).join("run-run/head-1");
    let bytes = fs::read(&head).unwrap();
    fs::write(&head, &bytes[..bytes.len() - 100]).unwrap();
    let daemon = restart(start(directory.path()));
    let again = classify(&daemon, 21, false);
    assert_eq!((bits(&again), &again.detail["reproducible"]), (bits(&newest), &Value::Null));
    assert!(daemon.log().contains("last line is not whole"), "{}", daemon.log());
    // The line that was torn is not followed by another.
    let daemon = restart(daemon);
    assert_eq!(daemon.control("STATUS").detail["runs"][0]["last_step"], 21);
}

#[test]
fn run_stored_under_other_settings_begins_anew_and_the_log_says_which() {
    let directory = directory();
    let daemon = start(directory.path());
    let path = image(&daemon, "a.ppm", 64, 64);
    (1..=5).for_each(|step| drop(daemon.classify("run", step, &path)));
    drop(daemon);
    let other = format!("{}\nimage.colour = \"grey\"", settings(directory.path()));
    let daemon = Daemon::start(directory.path(), &other);
    assert!(daemon.log().contains("image.colour"), "{}", daemon.log());
    assert_eq!(daemon.control("STATUS").detail["runs"], serde_json::json!([]));
    assert_eq!(daemon.classify("run", 6, &path).pool_size(), 1);
    assert!(state_dir(directory.path()).join("refused-run/head-1").exists());
}

#[test]
fn forgotten_run_is_forgotten_on_disk_too() {
    let directory = directory();
    let settings = format!("{}\nruns.max_runs = 2", settings(directory.path()));
    let daemon = Daemon::start(directory.path(), &settings);
    let path = image(&daemon, "a.ppm", 64, 64);
    for run in ["..", "b", "c"] {
        daemon.classify(run, 1, &path);
    }
    let stored = |name: &str| state_dir(directory.path()).join(format!("run-{name}")).exists();
    assert_eq!(["..", "b", "c"].map(stored), [false, true, true]);
    daemon.rewind("b", 0);
    assert_eq!(["..", "b", "c"].map(stored), [false, false, true]);
    drop(daemon);
    let daemon = Daemon::start(directory.path(), &settings);
    assert_eq!(daemon.control("STATUS").detail["runs"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.classify("c", 2, &path).pool_size(), 2);
    assert_eq!(daemon.control("STATUS").detail["not_stored"], 0);
}

#[test]
fn disk_that_takes_no_more_costs_no_verdict_and_the_reply_says_so() {
    let directory = directory();
    let daemon = start(directory.path());
    let path = image(&daemon, "a.ppm", 64, 64);
    assert_eq!(daemon.classify("run", 1, &path).status, 200);
    // A file where the run's directory was: nothing can be written there, whoever asks.
    let run = state_dir(directory.path()).join("run-run");
    fs::remove_dir_all(&run).unwrap();
    fs::write(&run, b"").unwrap();
    let reply = daemon.classify("run", 2, &path);
    assert_eq!((reply.status, reply.pool_size()), (200, 2));
    assert!(reply.text.contains("could not be stored"), "{}", reply.text);
    assert_eq!(daemon.control("STATUS").detail["not_stored"], 1);
}

#[test]
fn second_daemon_with_the_same_directory_does_not_start() {
    let (first, second) = (directory(), directory());
    let _daemon = start(first.path());
    let output = serve(second.path(), &settings(first.path())).status().unwrap();
    assert_eq!(output.code(), Some(2));
    let log = fs::read_to_string(second.path().join("log")).unwrap();
    assert!(log.contains("another anomalyd keeps its runs"), "{log}");
}
