//! The calibration of an earlier run, lent to a later one: verdicts from its sixth image on.

use crate::harness::{Daemon, Reply, command, directory, serve};
use crate::replay::{odd_waves, waves};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `n` images from `first` on, the one at `odd` with a patch that no other has.
fn record(directory: &Path, first: usize, n: usize, odd: Option<usize>) -> PathBuf {
    let images = directory.join(format!("run-{first}-{n}"));
    fs::create_dir_all(&images).unwrap();
    for step in first..first + n {
        let bytes = if odd == Some(step) { odd_waves(step) } else { waves(step) };
        fs::write(images.join(format!("entropy_{step:04}.ppm")), bytes).unwrap();
    }
    images
}

/// The prior of a run of `n` images.
fn prior(directory: &Path, n: usize) -> PathBuf {
    let file = directory.join(format!("earlier-{n}.json"));
    let images = record(directory, 1, n, None);
    let (status, _, stderr) = replay(&images, &["--save-prior", file.to_str().unwrap()]);
    assert!(status == Some(0) && file.is_file(), "{stderr}");
    file
}

fn replay(images: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output =
        command(&[&["replay", images.to_str().unwrap(), "--json", "-"], more].concat()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn labels(lines: &str) -> Vec<String> {
    let label = |line| serde_json::from_str::<Value>(line).unwrap()["label"].as_str().unwrap().to_owned();
    lines.lines().map(label).collect()
}

fn classify(daemon: &Daemon, step: i64) -> Reply {
    let path = daemon.images().join(format!("entropy_{step:04}.ppm"));
    fs::write(&path, waves(300 + step as usize)).unwrap();
    daemon.classify("run", step, &path)
}

fn lent_by(file: &Path) -> String {
    format!("online.one_step_ahead.prior={}", file.display())
}

#[test]
fn run_that_is_lent_a_calibration_has_verdicts_from_its_sixth_image_on() {
    let directory = directory();
    let file = prior(directory.path(), 80);
    let images = record(directory.path(), 200, 24, Some(209));
    let (_, alone, _) = replay(&images, &[]);
    let (status, lent, stderr) = replay(&images, &["--set", &lent_by(&file)]);
    assert_eq!(status, Some(1), "{stderr}");
    let (alone, lent) = (labels(&alone), labels(&lent));
    assert_eq!(alone.iter().position(|label| label != "unknown"), Some(15), "{alone:?}");
    assert_eq!(lent.iter().position(|label| label != "unknown"), Some(5), "{lent:?}");
    assert_eq!(lent[9], "anomalous", "alone, the run had to believe it");
    let n_alarms = lent.iter().filter(|label| *label == "anomalous").count();
    assert_eq!(n_alarms, 1, "{lent:?}");
}

#[test]
fn daemon_with_a_prior_scores_as_the_one_shot_and_goes_on_after_a_restart() {
    let directory = directory();
    let file = prior(directory.path(), 80);
    let settings = format!(
        "online.one_step_ahead.prior = {file:?}\nruns.state_dir = {:?}",
        directory.path().join("state")
    );
    let mut daemon = Daemon::start(directory.path(), &settings);
    let mut scores = Vec::new();
    for step in 1..=20 {
        if step == 4 || step == 9 {
            daemon.signal(rustix::process::Signal::KILL);
            daemon.ended();
            drop(daemon);
            // It is read again, and must be the same.
            daemon = Daemon::start(directory.path(), &settings);
        }
        let reply = classify(&daemon, step);
        assert_eq!((reply.status, reply.verdict == "unknown"), (200, step < 6), "{}", reply.text);
        scores.push(reply.score.to_bits());
    }
    let other = crate::harness::directory();
    let undisturbed = Daemon::start(other.path(), &format!("online.one_step_ahead.prior = {file:?}"));
    for (step, bits) in (1..=20).zip(scores) {
        let reply = classify(&undisturbed, step);
        assert_eq!(reply.score.to_bits(), bits, "{step}");
    }
}

#[test]
fn prior_that_cannot_be_used_stops_the_start_and_says_why() {
    let directory = directory();
    let file = prior(directory.path(), 80);
    let text = fs::read_to_string(&file).unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let refused = |path: &Path, more: &str| {
        let settings = format!("online.one_step_ahead.prior = {path:?}\n{more}");
        let status = serve(directory.path(), &settings).status().unwrap();
        assert_eq!(status.code(), Some(2));
        let log = directory.path().join("log");
        let told = fs::read_to_string(&log).unwrap();
        fs::remove_file(log).unwrap();
        told
    };
    let absent = refused(&directory.path().join("none.json"), "");
    assert!(absent.contains("none.json"), "{absent}");
    let changed = refused(&write("changed.json", &text.replacen("0.0", "0.1", 1)), "");
    assert!(changed.contains("it was changed"), "{changed}");
    let newer = text.replacen("\"format_version\": 1", "\"format_version\": 2", 1);
    let newer = refused(&write("newer.json", &newer), "");
    assert!(newer.contains("format version 2") && newer.contains("--save-prior"), "{newer}");
    let other = refused(&file, "online.one_step_ahead.max_shift = 3");
    assert!(other.contains("max_shift = 16, now it is 3"), "{other}");
}

#[test]
fn run_of_images_of_another_shape_warms_up_by_itself() {
    let directory = directory();
    let file = prior(directory.path(), 80);
    let images = record(directory.path(), 1, 20, None);
    let whole = lent_by(&file);
    let (_, lines, stderr) = replay(&images, &["--set", &whole, "--crop", "0:55,0:63"]);
    let labels = labels(&lines);
    assert!(labels[..15].iter().all(|label| label == "unknown"), "{labels:?} {stderr}");
}

#[test]
fn too_short_a_run_and_a_file_that_is_there_are_refused() {
    let directory = directory();
    let images = record(directory.path(), 1, 40, None);
    let file = directory.path().join("prior.json");
    let save = ["--save-prior", file.to_str().unwrap()];
    let (status, _, stderr) = replay(&images, &save);
    assert!(status == Some(2) && stderr.contains("at least 50"), "{stderr}");
    assert!(!file.exists());
    fs::write(&file, "precious").unwrap();
    let (status, _, stderr) = replay(&record(directory.path(), 1, 80, None), &save);
    assert!(status == Some(2) && stderr.contains("is there already"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}
