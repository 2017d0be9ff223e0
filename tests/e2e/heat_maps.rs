//! Where the score comes from, as a picture: in the reply when asked for, and on disk on an alarm.

use crate::harness::{COLUMNS, Daemon, FAULT, ROWS, Reply, command, directory, frames_of, fresh_id, scene};
use anomalyd_models::image::{Limits, decode};
use std::fs;

fn classify(daemon: &Daemon, step: i64, with_fault: bool, option: Option<&str>) -> Reply {
    let path = scene(daemon, step, with_fault);
    let mut frames = frames_of(&fresh_id(), 0, "run", step, &path).to_vec();
    frames.extend(option.map(|option| option.as_bytes().to_vec()));
    daemon.client("service").ask(&frames)
}

/// Rows and columns of the whitest pixels of a PNG file.
fn whitest(png: &[u8]) -> Vec<[usize; 2]> {
    let decoded = decode(png, &Limits::default()).unwrap();
    assert_eq!((decoded.format, decoded.pixels.dim()), ("png", (ROWS, COLUMNS, 3)), "the file's own size");
    let brightness = |row: usize, column: usize| -> u32 {
        (0..3).map(|channel| u32::from(decoded.pixels[[row, column, channel]])).sum()
    };
    let places = || (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| [row, column]));
    let greatest = places().map(|[row, column]| brightness(row, column)).max().unwrap();
    places().filter(|&[row, column]| brightness(row, column) == greatest).collect()
}

#[test]
fn heat_map_is_sent_when_asked_for_and_its_maximum_lies_on_the_fault() {
    let directory = directory();
    // The fault lies inside the crop, the crop away from the corner.
    let crop = "image.crop = { rows = [20, 119], columns = [30, 159] }";
    let daemon = Daemon::start(directory.path(), crop);
    for step in 1..=25 {
        let reply = classify(&daemon, step, false, Some("want=heatmap"));
        assert_ne!(reply.verdict, "anomalous", "{step}: {}", reply.text);
        assert_eq!(reply.heat_map.is_empty(), reply.verdict == "unknown", "{step}: {}", reply.text);
    }
    let reply = classify(&daemon, 26, true, Some("want=heatmap"));
    assert_eq!(reply.verdict, "anomalous", "{}", reply.text);
    let places = whitest(&reply.heat_map);
    let inside =
        places.iter().filter(|[row, column]| FAULT[0].contains(row) && FAULT[1].contains(column)).count();
    // A place is half a patch wide, four pixels: the hottest ones may reach that far over the fault's edge.
    let near =
        |place: usize, range: &std::ops::Range<usize>| (range.start - 4..range.end + 4).contains(&place);
    assert!(
        places.iter().all(|&[row, column]| near(row, &FAULT[0]) && near(column, &FAULT[1])),
        "{places:?}"
    );
    assert!(2 * inside > places.len(), "{inside} of {} lie on the fault", places.len());
    assert!(reply.detail.get("heat_map_file").is_none(), "none are kept on disk unless a directory is set");
}

#[test]
fn heat_map_is_left_out_when_not_asked_for_and_sent_again_to_a_retry() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    for step in 1..=20 {
        assert!(classify(&daemon, step, false, None).heat_map.is_empty());
    }
    let path = scene(&daemon, 21, false);
    let mut frames = frames_of("same", 0, "run", 21, &path).to_vec();
    frames.push(b"want=heatmap".to_vec());
    let client = daemon.client("service");
    let [first, again] = [client.ask(&frames), client.ask(&frames)];
    assert!(!first.heat_map.is_empty(), "{}", first.text);
    assert_eq!(first.heat_map, again.heat_map);
}

#[test]
fn heat_map_of_an_alarm_is_kept_on_disk_where_a_directory_is_set() {
    let directory = directory();
    let kept = directory.path().join("heat/maps");
    let daemon = Daemon::start(directory.path(), &format!("runs.heat_map_dir = {kept:?}"));
    for step in 1..=20 {
        classify(&daemon, step, false, None);
    }
    let reply = classify(&daemon, 21, true, None);
    assert_eq!((reply.verdict.as_str(), reply.heat_map.len()), ("anomalous", 0), "{}", reply.text);
    let names: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["run-run-step-21.png"]);
    let file = kept.join(&names[0]);
    assert_eq!(reply.detail["heat_map_file"], file.to_str().unwrap());
    assert!(!whitest(&fs::read(file).unwrap()).is_empty());
}

#[test]
fn heat_map_by_a_fitted_forest_is_sent_when_asked_for_and_none_by_another_detector() {
    let directory = directory();
    let paths: Vec<_> = {
        let daemon = Daemon::start(directory.path(), "");
        (1..=44).map(|step| scene(&daemon, step, false)).collect()
    };
    for settings in [&["--trees", "300"][..], &["--detector", "one-class-svm"]] {
        let model = directory.path().join("models/model");
        let mut arguments = vec!["fit", "--output", model.to_str().unwrap()];
        arguments.extend(["--false-alarm-rate", "0.1", "--hold-out-every", "4"]);
        arguments.extend(settings);
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let fitted = command(&arguments).output().unwrap();
        assert!(fitted.status.success(), "{}", String::from_utf8_lossy(&fitted.stderr));
        let models = directory.path().join("models");
        let daemon = Daemon::start(directory.path(), &format!("models.models_dir = {models:?}"));
        let faulty = scene(&daemon, 45, true);
        let ask = |want: Option<&str>| {
            let mut frames = frames_of(&fresh_id(), 0, "", 45, &faulty).to_vec();
            frames.extend(want.map(|want| want.as_bytes().to_vec()));
            daemon.client("service").ask(&frames)
        };
        let reply = ask(Some("want=heatmap"));
        assert_eq!(reply.verdict, "anomalous", "{}", reply.text);
        let by_forest = settings[0] == "--trees";
        assert_eq!((!reply.heat_map.is_empty(), reply.text.contains("; rows ")), (by_forest, by_forest));
        assert_eq!(reply.detail.get("box").is_some(), by_forest, "{}", reply.detail);
        if by_forest {
            let place: Vec<usize> = serde_json::from_value(reply.detail["box"].clone()).unwrap();
            let in_box = |&[row, column]: &[usize; 2]| {
                (place[0]..=place[2]).contains(&row) && (place[1]..=place[3]).contains(&column)
            };
            assert!(whitest(&reply.heat_map).iter().any(in_box), "{place:?}");
        }
        assert!(ask(None).heat_map.is_empty());
        fs::remove_dir_all(&model).unwrap();
    }
}
