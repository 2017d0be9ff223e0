//! Labelled runs: false alarms, delays, baselines, flips, painted faults.

use crate::harness::{command, directory};
use crate::replay::{odd_waves, waves};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Writes a run with a manifest; the images from `onset` on are odd and labelled so.
fn run(
    directory: &Path,
    name: &str,
    steps: std::ops::RangeInclusive<usize>,
    onset: Option<usize>,
) -> PathBuf {
    let directory = directory.join(name);
    fs::create_dir(&directory).unwrap();
    let mut manifest = String::from("frame,time,file,label\n");
    for step in steps {
        let is_odd = onset.is_some_and(|onset| step >= onset);
        fs::write(directory.join(format!("{step}.ppm")), if is_odd { odd_waves(step) } else { waves(step) })
            .unwrap();
        let label = if is_odd { "anomalous" } else { "valid" };
        manifest += &format!("{step},{}.5,{step}.ppm,{label}\n", 2 * step);
    }
    let path = directory.join("manifest.csv");
    fs::write(&path, manifest).unwrap();
    path
}

fn evaluate(arguments: &[&str]) -> Output {
    command(&[&["evaluate"], arguments].concat()).output().unwrap()
}

fn figures(arguments: &[&str]) -> Value {
    let output = evaluate(&[arguments, &["--json", "-"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn fault_is_alarmed_at_its_onset_and_its_twin_is_quiet() {
    let directory = directory();
    let faulty = run(directory.path(), "wave", 1..=34, Some(30));
    let clean = run(directory.path(), "wave_clean", 30..=34, None);
    let (faulty, clean) = (faulty.to_str().unwrap(), clean.to_str().unwrap());
    let together = figures(&[faulty, clean, "--before", faulty]);
    let [wave, twin] = [&together["runs"][0], &together["runs"][1]];
    let judge = &wave["judges"][0];
    assert_eq!(
        (&judge["judge"], &judge["onset"], &judge["delay"]),
        (&"one_step_ahead".into(), &30.into(), &0.into())
    );
    assert_eq!(
        (&judge["false_alarms"], &judge["confusion"]["normal"]["anomalous"]),
        (&0.into(), &0.into()),
        "{judge}"
    );
    assert!(judge["first_verdict"].as_u64().unwrap() <= 16, "{judge}");
    assert_eq!(wave["judges"].as_array().unwrap().len(), 4, "the method and three baselines");
    let after = &twin["judges"][0];
    assert_eq!(
        (&twin["images_before"], &after["normal_judged"], &after["onset"]),
        (&29.into(), &5.into(), &Value::Null)
    );
    // Going back in the faulty run is as good as judging the earlier images once more.
    let alone = figures(&[clean, "--before", &format!("wave_clean={faulty}")]);
    assert_eq!(alone["runs"][0], *twin);
    let bounds = &together["all"][0]["false_alarms_per_1000_bounds"];
    assert!(bounds[0] == 0.0 && bounds[1].as_f64().unwrap() > 50.0, "{bounds}");
}

#[test]
fn painted_faults_are_counted_by_contrast_and_size_and_leave_no_trace() {
    let directory = directory();
    let manifest = run(directory.path(), "wave", 1..=32, None);
    let manifest = manifest.to_str().unwrap();
    let arguments = [manifest, "--inject", "48", "--seed", "3", "--flips", "8"];
    let with = figures(&arguments);
    let cells = with["injections"]["counts"].as_array().unwrap();
    let sum = |key: &str| cells.iter().map(|cell| cell[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("injected") + with["injections"]["without_place"].as_u64().unwrap(), 48);
    let found: u64 = cells.iter().map(|cell| cell["found"]["one_step_ahead"].as_u64().unwrap()).sum();
    assert!(found > 0 && sum("region_meets_fault") <= found, "{found} found");
    let sums = with["injections"]["by_contrast_and_size"].as_array().unwrap();
    assert_eq!(sums.len(), 12);
    assert_eq!(sums.iter().map(|sum| sum["injected"].as_u64().unwrap()).sum::<u64>(), sum("injected"));
    assert_eq!(with["flips"].as_array().unwrap().len(), 3);
    assert_eq!(with, figures(&arguments), "equal seeds give equal figures");
    assert_eq!(with["runs"], figures(&[manifest])["runs"], "what is painted is never accepted");
    let text = String::from_utf8(evaluate(&arguments).stdout).unwrap();
    for part in ["per 1,000 (95 %)", "saturated pixels", "x 1.25", "stuck block", "vertically"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_told() {
    let directory = directory();
    let manifest = run(directory.path(), "wave", 1..=3, None);
    let path = manifest.to_str().unwrap();
    fs::remove_file(manifest.with_file_name("2.ppm")).unwrap();
    for (arguments, words) in [
        (vec![path], "2.ppm"),
        (vec![path, "--before", path], "no run begins later"),
        (vec![path, "--from", "9"], "no image of wave is left"),
        (vec!["/nonexistent/manifest.csv"], "cannot read the manifest"),
    ] {
        let output = evaluate(&arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(words), "{words} is not in: {message}");
    }
}
