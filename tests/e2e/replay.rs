//! Recorded images judged as if live: table, JSON lines, one page, exit codes.

use crate::harness::{command, directory};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const N_IMAGES: usize = 30;
/// The image with a patch that no other has.
const ODD: usize = 24;

/// A PPM of 64 x 64 pixels: waves that move a little with each step.
pub(crate) fn waves(step: usize) -> Vec<u8> {
    let mut bytes = b"P6\n64 64\n255\n".to_vec();
    let phase = 0.15 * step as f64 + 0.02 * (step as f64 * 1.7).sin();
    for row in 0..64 {
        for column in 0..64 {
            let wave = (f64::from(row) / 9.0 + phase).sin() * (f64::from(column) / 7.0 - 0.6 * phase).cos();
            let level = (110.0 + 50.0 * wave) as u8;
            bytes.extend([level, level / 2, 200 - level]);
        }
    }
    bytes
}

/// Waves with a patch that no other image has.
pub(crate) fn odd_waves(step: usize) -> Vec<u8> {
    let mut bytes = waves(step);
    let start = bytes.len() - 64 * 64 * 3;
    for row in 20..34 {
        for column in 30..44 {
            let pixel = start + (row * 64 + column) * 3;
            bytes[pixel..pixel + 3].copy_from_slice(&[
                (row * 37 % 251) as u8,
                255,
                (column * 91 % 256) as u8,
            ]);
        }
    }
    bytes
}

/// Images of waves in `directory`, one of them odd where asked.
fn record(directory: &Path, with_odd: bool) -> PathBuf {
    let images = directory.join("images");
    for step in 1..=N_IMAGES {
        let bytes = if with_odd && step == ODD { odd_waves(step) } else { waves(step) };
        fs::write(images.join(format!("entropy_{step:04}.ppm")), bytes).unwrap();
    }
    images
}

fn replay(images: &Path, more: &[&str]) -> Output {
    command(&[&["replay", images.to_str().unwrap()], more].concat()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn quiet_run_has_no_alarm_and_a_verdict_from_the_sixteenth_image_at_the_latest() {
    let directory = directory();
    let replayed = replay(&record(directory.path(), false), &["--json", "-"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    let lines = json_lines(&replayed);
    assert_eq!(lines.len(), N_IMAGES);
    assert!(lines[15..].iter().all(|line| line["label"] == "normal"), "{lines:?}");
    assert_eq!((&lines[0]["label"], &lines[0]["score"]), (&"unknown".into(), &Value::Null));
    let steps: Vec<usize> = lines.iter().map(|line| line["step"].as_u64().unwrap() as usize).collect();
    assert_eq!(steps, (1..=N_IMAGES).collect::<Vec<_>>());
}

#[test]
fn odd_image_is_told_in_the_table_the_lines_and_the_page() {
    let directory = directory();
    let images = record(directory.path(), true);
    let (json, html) = (directory.path().join("lines.json"), directory.path().join("report.html"));
    let replayed = replay(&images, &["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()]);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed.stderr));
    let table = text(&replayed.stdout);
    assert!(
        table.contains("entropy_0024.ppm") && table.contains("false alarms are to be expected"),
        "{table}"
    );
    let lines: Vec<Value> =
        fs::read_to_string(json).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let odd = &lines[ODD - 1];
    assert_eq!((&odd["label"], &odd["step"], &odd["event"]), (&"anomalous".into(), &24.into(), &1.into()));
    assert!(
        odd["p_value"].as_f64().unwrap() < 1e-3 && odd["score"].as_f64() > odd["threshold"].as_f64(),
        "{odd}"
    );
    let region: Vec<u64> = serde_json::from_value(odd["region"].clone()).unwrap();
    assert!(region[0] <= 33 && region[2] >= 20 && region[1] <= 43 && region[3] >= 30, "{region:?}");
    assert!(odd["timings_s"]["judge"].as_f64().unwrap() > 0.0);

    let page = fs::read_to_string(html).unwrap();
    for part in [
        "<!DOCTYPE html>",
        "data:image/png;base64,iVBOR",
        "Heat map of step 24",
        "<svg",
        "entropy_0024.ppm",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    for foreign in ["http:", "https:", "<script", "<link", "@import", "url(", "src="] {
        assert!(!page.contains(foreign), "{foreign} is in the page");
    }
}

#[test]
fn alarmed_image_is_accepted_after_a_rewind_and_kept_out_otherwise() {
    let directory = directory();
    let images = record(directory.path(), true);
    let pool_after = |more: &[&str]| {
        let lines = json_lines(&replay(&images, &[&["--json", "-"], more].concat()));
        let odd = &lines[ODD - 1];
        assert_eq!(odd["label"], "anomalous");
        (odd["pool"].as_u64().unwrap(), odd["accepted_after_rewind"].as_bool().unwrap())
    };
    assert_eq!(pool_after(&[]), (ODD as u64 - 1, false));
    assert_eq!(pool_after(&["--on-alarm", "rewind"]), (ODD as u64, true));
}

#[test]
fn steps_are_chosen_by_first_last_and_every() {
    let directory = directory();
    let images = record(directory.path(), false);
    let replayed = replay(&images, &["--json", "-", "--from", "3", "--to", "11", "--every", "4"]);
    assert_eq!(replayed.status.code(), Some(3), "too few images for a verdict");
    let steps: Vec<i64> = json_lines(&replayed).iter().map(|line| line["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, [3, 7, 11]);
    let none = replay(&images, &["--from", "31"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("the steps are 1 to 30"), "{}", text(&none.stderr));
}

#[test]
fn image_that_cannot_be_judged_is_told_and_the_rest_is_judged() {
    let directory = directory();
    let images = record(directory.path(), false);
    fs::write(images.join("entropy_0020.ppm"), b"P6\n64 64\n255\n...").unwrap();
    let replayed = replay(&images, &[]);
    assert_eq!(replayed.status.code(), Some(4));
    let table = text(&replayed.stdout);
    assert!(table.contains("not judged") && table.contains("entropy_0020.ppm"), "{table}");
    assert_eq!(replay(&images, &["--set", "online.metod=forest"]).status.code(), Some(2));
    assert_eq!(replay(&images.join("missing.ppm"), &[]).status.code(), Some(2));
}

#[test]
fn papers_rule_is_chosen_by_name() {
    let directory = directory();
    let images = record(directory.path(), false);
    let more = ["--json", "-", "--method", "forest", "--set", "online.forest.warm_up=25"];
    let lines = json_lines(&replay(&images, &more));
    assert!(lines[..25].iter().all(|line| line["label"] == "unknown"), "{lines:?}");
    assert!(lines[25..].iter().all(|line| line["score"].is_f64() && line["p_value"].is_null()), "{lines:?}");
}
