//! Raw fields: over the wire, in files, in recorded runs.

use crate::harness::{Daemon, Reply, command, directory, fresh_id, image};
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(crate) const ROWS: usize = 48;
pub(crate) const COLUMNS: usize = 64;

/// A density over some decades, with waves that move a little from step to step.
pub(crate) fn density(step: usize) -> Vec<f64> {
    let time = step as f64 + 0.03 * (1.7 * step as f64).sin();
    let at = |row: usize, column: usize| {
        let wave = (row as f64 / 6.0 + 0.15 * time).sin() * (column as f64 / 7.0 - 0.1 * time).cos();
        10f64.powf(0.1 * row as f64 + 0.3 * wave - 3.0)
    };
    (0..ROWS * COLUMNS).map(|place| at(place / COLUMNS, place % COLUMNS)).collect()
}

/// The same with a block of zones ten times as dense.
pub(crate) fn faulty(step: usize) -> Vec<f64> {
    let mut values = density(step);
    for row in 20..30 {
        values[row * COLUMNS + 30..][..10].iter_mut().for_each(|value| *value *= 10.0);
    }
    values
}

fn f32s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect()
}

pub(crate) fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What `numpy.save` writes of `[48, 64]` numbers.
fn npy(values: &[f64]) -> Vec<u8> {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({ROWS}, {COLUMNS}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &f64s(values)].concat()
}

pub(crate) fn send(daemon: &Daemon, run: &str, step: usize, bytes: &[u8], options: &[&str]) -> Reply {
    let (id, step) = (fresh_id(), step.to_string());
    let mut frames: Vec<&[u8]> =
        vec![b"ANOM1", b"CLASSIFY", id.as_bytes(), b"0", run.as_bytes(), step.as_bytes(), b"field", bytes];
    frames.extend(options.iter().map(|option| option.as_bytes()));
    daemon.ask(&frames)
}

#[test]
fn field_is_judged_alike_over_the_wire_and_from_a_file() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let shape = format!("shape={ROWS}x{COLUMNS}");
    for step in 1..=25 {
        let values = if step == 25 { faulty(step) } else { density(step) };
        let path = daemon.images().join(format!("density_{step:03}.npy"));
        fs::write(&path, npy(&values)).unwrap();
        let sent = send(&daemon, "sent", step, &f64s(&values), &[&shape, "dtype=f64"]);
        let named = daemon.classify("named", step as i64, &path);
        assert_eq!((sent.status, named.status), (200, 200), "{}", sent.text);
        assert_eq!((&sent.verdict, sent.score.to_bits()), (&named.verdict, named.score.to_bits()));
        let wanted = if step < 16 { "unknown" } else { ["normal", "anomalous"][usize::from(step == 25)] };
        assert_eq!(sent.verdict, wanted, "{step}: {}", sent.text);
    }
    let again = send(&daemon, "sent", 25, &f64s(&faulty(25)), &[&shape, "dtype=f64", "want=heatmap"]);
    assert_eq!(again.detail["field"]["variables"], 1);
    assert_eq!((&again.detail["image"]["rows"], &again.detail["image"]["columns"]), (&48.into(), &64.into()));
    assert!(again.heat_map.starts_with(b"\x89PNG"), "{}", again.text);
    let region: Vec<usize> = serde_json::from_value(again.detail["box"].clone()).unwrap();
    assert!(region[0] <= 29 && region[2] >= 20 && region[1] <= 39 && region[3] >= 30, "{region:?}");
}

#[test]
fn what_is_not_finite_is_anomalous_at_once_and_never_joins_the_pool() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let options = [&format!("shape=2x{ROWS}x{COLUMNS}")[..], "dtype=f32"];
    let two = |step| [density(step), density(step)].concat();
    for (step, bad) in [(1, f64::NAN), (2, f64::INFINITY)] {
        let mut values = two(step);
        values[ROWS * COLUMNS + 5 * COLUMNS + 7] = bad;
        for _ in 0..4 {
            let reply = send(&daemon, "run", step, &f32s(&values), &options);
            assert_eq!((reply.status, &reply.verdict[..], reply.score), (200, "anomalous", f64::INFINITY));
            assert!(
                reply
                    .text
                    .contains("1 values are NaN or infinite; rows 5 to 5, columns 7 to 7 of variable 1"),
                "{}",
                reply.text
            );
            assert_eq!(reply.detail["box"], serde_json::json!([5, 7, 5, 7]));
            let field = &reply.detail["field"];
            assert_eq!((&field["not_finite"], &field["variable"]), (&1.into(), &1.into()));
            assert_eq!(reply.pool_size(), step as u64 - 1);
        }
        let good = send(&daemon, "run", step, &f32s(&two(step)), &options);
        assert_eq!((&good.verdict[..], good.pool_size()), ("unknown", step as u64));
    }
    let mut strange = two(3);
    (strange[0], strange[1]) = (-0.0, 1e-42);
    assert_eq!(send(&daemon, "run", 3, &f32s(&strange), &options).verdict, "unknown");
}

#[test]
fn fields_that_cannot_be_judged_get_their_statuses() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "image.max_rows = 100");
    let values = density(1);
    for (run, options, bytes, status, words) in [
        ("run", ["shape=3072", "dtype=f64"], f64s(&values), 415, "rows x columns"),
        ("run", ["shape=4x768", "dtype=f64"], f64s(&values), 415, "at least 8 rows"),
        ("run", ["shape=48x8x8", "dtype=f64"], f64s(&values), 415, "send slices"),
        ("run", ["shape=192x16", "dtype=f64"], f64s(&values), 413, "at most 100 rows"),
        ("run", ["shape=48x64", "dtype=f32"], f64s(&values), 400, "length of frame 7"),
        ("", ["shape=48x64", "dtype=f64"], f64s(&values), 404, "model"),
    ] {
        let reply = send(&daemon, run, 1, &bytes, &options);
        assert_eq!((reply.status, &reply.verdict[..]), (status, "unknown"), "{}", reply.text);
        assert!(reply.text.contains(words), "{words} is not in: {}", reply.text);
    }
    let cut = daemon.images().join("cut.npy");
    fs::write(&cut, &npy(&values)[..999]).unwrap();
    assert_eq!(daemon.classify("run", 1, &cut).status, 422);
    let picture = image(&daemon, "image.ppm", 48, 64);
    assert_eq!(daemon.classify("run", 1, &picture).status, 200);
    let mixed = send(&daemon, "run", 2, &f64s(&values), &["shape=48x64", "dtype=f64"]);
    assert_eq!(mixed.status, 415);
    assert!(mixed.text.contains("wanted an image, found a field"), "{}", mixed.text);
}

#[test]
fn same_bytes_in_another_shape_are_another_request() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let bytes = f64s(&density(1));
    let ask = |shape: &[u8]| {
        daemon.ask(&[
            b"ANOM1",
            b"CLASSIFY",
            b"same",
            b"0",
            b"run",
            b"1",
            b"field",
            &bytes,
            shape,
            b"dtype=f64",
        ])
    };
    assert_eq!(ask(b"shape=48x64").status, 200);
    assert_eq!(ask(b"shape=48x64").status, 200, "a retry");
    assert_eq!(ask(b"shape=64x48").status, 400);
}

/// Writes a run of fields with a manifest, the last of them faulty.
fn record(directory: &Path, n: usize) {
    let mut manifest = String::from("frame,file,label\n");
    for step in 1..=n {
        let values = if step == n { faulty(step) } else { density(step) };
        fs::write(directory.join(format!("{step}.npy")), npy(&values)).unwrap();
        manifest += &format!("{step},{step}.npy,{}\n", if step == n { "anomalous" } else { "valid" });
    }
    fs::write(directory.join("manifest.csv"), manifest).unwrap();
}

#[test]
fn recorded_fields_are_replayed_and_evaluated() {
    let directory = directory();
    let path = directory.path().join("run");
    fs::create_dir(&path).unwrap();
    record(&path, 28);
    let (html, figure) = (directory.path().join("report.html"), directory.path().join("faults.svg"));
    let replayed =
        command(&["replay", path.to_str().unwrap(), "--html", html.to_str().unwrap()]).output().unwrap();
    assert_eq!(replayed.status.code(), Some(1), "{}", String::from_utf8_lossy(&replayed.stderr));
    let page = fs::read_to_string(html).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 2, "the field and its heat map");

    let manifest = path.join("manifest.csv");
    let arguments = [
        "evaluate",
        manifest.to_str().unwrap(),
        "--inject",
        "24",
        "--flips",
        "9",
        "--inject-contrasts",
        "1.003,20",
        "--inject-sizes",
        "60",
        "--inject-figure",
        figure.to_str().unwrap(),
    ];
    let run = |more: &[&str]| command(&[&arguments[..], more].concat()).output().unwrap();
    let evaluated = run(&["--json", "-"]);
    assert_eq!(evaluated.status.code(), Some(0), "{}", String::from_utf8_lossy(&evaluated.stderr));
    let figures: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    let judge = &figures["runs"][0]["judges"][0];
    assert_eq!((&judge["delay"], &judge["false_alarms"]), (&0.into(), &0.into()), "{judge}");
    let sums = figures["injections"]["by_contrast_and_size"].as_array().unwrap();
    assert_eq!(sums.len(), 2);
    let found = |at: usize| sums[at]["found"]["one_step_ahead"].as_u64().unwrap();
    assert!(found(1) > found(0) && sums[1]["zones"] == 60, "{sums:?}");
    let bounds: Vec<f64> = serde_json::from_value(sums[1]["bounds"]["one_step_ahead"].clone()).unwrap();
    let rate = found(1) as f64 / sums[1]["injected"].as_f64().unwrap();
    assert!(bounds[0] < rate && rate <= bounds[1], "{bounds:?}");
    let svg = fs::read_to_string(&figure).unwrap();
    for part in [
        "<svg xmlns",
        "contrast x 20",
        "zones of the field",
        "one_step_ahead",
        "saturated pixels",
        "false alarms",
    ] {
        assert!(svg.contains(part), "{part} is not in: {svg}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("<script"));
    let text = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(text.contains("x 20") && text.contains("60 zones") && text.contains("% ("), "{text}");
}
