//! Stored runs, whole, damaged and foreign.

use super::*;
use crate::job::tests::job;
use crate::job::{Answer, Job};
use anomalyd_models::extractor::OwnExtractors;
use anomalyd_models::image::{Decoded, Preprocess};
use anomalyd_models::online::{OnlineParams, Streams};
use ndarray::Array3;
use std::sync::Arc;

fn settings() -> RunSettings {
    RunSettings {
        params: OnlineParams { max_snapshots: 3, ..OnlineParams::default() },
        preprocess: Preprocess::default(),
        extractors: Arc::new(OwnExtractors::default()),
        max_streams: 4,
    }
}

fn image(step: i64) -> Decoded {
    let pixels =
        Array3::from_shape_fn((24, 32, 1), |(row, column, _)| (row * 3 + column * 5 + step as usize) as u8);
    Decoded { pixels, format: "png" }
}

/// A run in `dir` after the steps 1 to `last` of two streams, stored after each.
fn stored(store: &RunStore, last: i64) -> (RunFiles, Streams, Answered) {
    let mut streams = Streams::new(settings()).unwrap();
    let (mut files, mut answered) = (store.open_run("a", &settings()).0, Answered::default());
    for step in 1..=last {
        for stream in ["", "v:2"] {
            streams.judge(stream, step, &image(step)).unwrap();
            let job = Job { request_id: format!("{stream}{step}").into(), ..job("a", step) };
            answered.remember(&job, &Answer::done(format!("step {step}")));
            files.save(&streams, &answered).unwrap();
        }
    }
    (files, streams, answered)
}

fn open(dir: &Path) -> RunStore {
    RunStore::open(dir).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_read_is_what_was_stored_and_goes_on_alike() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (_, mut live, answered) = stored(&store, 60);
    let again = store.open_run("a", &settings()).1.unwrap();
    let mut streams = again.streams;
    assert_eq!((streams.manifest(), &again.answered), (live.manifest(), &answered));
    for step in 61..=70 {
        let judged = [&mut live, &mut streams].map(|run| run.judge("v:2", step, &image(step)).unwrap());
        assert_eq!(judged[0], judged[1]);
    }
    assert_eq!(streams.manifest(), live.manifest());
}

#[test]
fn disk_use_is_bounded_and_nothing_is_left_of_what_was_forgotten() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (mut files, mut streams, answered) = stored(&store, 70);
    let n_held = streams.manifest().records().count();
    let dir = temporary.path().join("run-a");
    let n_files = names(&dir).len();
    assert!(
        n_files <= n_held + 2 + 1,
        "two heads, and a record that the older one needs: {n_files} of {n_held}"
    );
    streams.rewind(0).unwrap();
    for _ in 0..2 {
        files.save(&streams, &answered).unwrap();
    }
    assert_eq!(names(&dir), ["head-0", "head-1"]);
    store.remove("a");
    assert_eq!(names(temporary.path()), ["lock"]);
}

#[test]
fn record_that_is_damaged_is_left_out_and_the_run_goes_on_from_the_image_before() {
    for damage in ["cut", "changed", "gone", "empty"] {
        let temporary = tempfile::tempdir().unwrap();
        let store = open(temporary.path());
        stored(&store, 20);
        let dir = temporary.path().join("run-a");
        let newest = names(&dir).into_iter().rfind(|name| name.ends_with("-v:2.safetensors")).unwrap();
        let path = dir.join(newest);
        let bytes = fs::read(&path).unwrap();
        match damage {
            "cut" => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            "gone" => fs::remove_file(&path).unwrap(),
            "empty" => fs::write(&path, b"").unwrap(),
            _ => {
                let mut bytes = bytes.clone();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        let Stored { mut streams, answered, mut files } = store.open_run("a", &settings()).1.unwrap();
        let steps = [streams.last_step_of(""), streams.last_step_of("v:2")];
        assert_eq!(steps, [Some(20), Some(19)], "{damage}");
        let request = |id: &str| Job { request_id: id.into(), ..job("a", id.parse().unwrap_or(20)) };
        assert_eq!(answered.find(&request("20")), Ok(None), "it is judged again");
        assert!(answered.find(&request("19")).unwrap().is_some());
        let (mut straight, ..) = {
            let other = tempfile::tempdir().unwrap();
            let (_, streams, _) = stored(&open(other.path()), 20);
            (streams,)
        };
        streams.judge("v:2", 20, &image(20)).unwrap();
        files.save(&streams, &answered).unwrap();
        assert_eq!(store.open_run("a", &settings()).1.unwrap().streams.manifest(), streams.manifest());
        let next = [&mut streams, &mut straight].map(|run| run.judge("v:2", 21, &image(21)).unwrap());
        assert_eq!(next[0], next[1], "{damage}");
    }
}

#[test]
fn damaged_head_gives_way_to_the_one_before() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (files, streams, _) = stored(&store, 20);
    drop(files);
    let newest = temporary.path().join("run-a").join("head-0");
    let bytes = fs::read(&newest).unwrap();
    for length in [0, 10, 90, bytes.len() - 1] {
        fs::write(&newest, &bytes[..length]).unwrap();
        let manifest = RunFiles::peek(&temporary.path().join("run-a"), &settings()).unwrap().unwrap();
        let steps: Vec<_> = manifest.summaries().iter().map(|stream| stream.last_step).collect();
        assert_eq!(steps, [Some(20), Some(19)], "{length}");
    }
    fs::write(&newest, &bytes).unwrap();
    assert_eq!(store.open_run("a", &settings()).1.unwrap().streams.manifest(), streams.manifest());
}

#[test]
fn run_of_another_form_or_of_other_settings_is_set_aside_and_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    stored(&store, 5);
    let mut free = settings();
    free.params.one_step_ahead.false_alarm_rate = 0.01;
    free.params.max_snapshots = 7;
    assert_eq!(store.runs(&free).unwrap().len(), 1, "states do not depend on these");
    let mut other = settings();
    other.preprocess.reduce = 2;
    let refused = RunFiles::peek(&temporary.path().join("run-a"), &other).unwrap_err();
    assert!(refused.0.contains("image.reduce = 1, now it is 2"), "{refused:?}");
    assert_eq!(store.runs(&other).unwrap(), []);
    assert_eq!(names(temporary.path()), ["lock", "refused-a"]);
    assert!(names(&temporary.path().join("refused-a")).len() > 2, "nothing of it is lost");

    stored(&store, 5);
    for name in ["head-0", "head-1"] {
        let path = temporary.path().join("run-a").join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("anomalyd-run 1", "anomalyd-run 2", 1)).unwrap();
    }
    let refused = RunFiles::peek(&temporary.path().join("run-a"), &settings()).unwrap_err();
    assert!(refused.0.contains("form 2"), "{refused:?}");
    assert!(store.open_run("a", &settings()).1.is_none());
    assert_eq!(names(temporary.path()), ["lock", "refused-a"], "the later one replaces the earlier");
}

#[test]
fn what_a_process_has_left_half_done_is_cleared_away() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    stored(&store, 5);
    let dir = temporary.path().join("run-a");
    let whole = names(&dir);
    for name in ["head-1.part", "00000000000000ff-.safetensors", "00000000000000ff-.safetensors.part"] {
        fs::write(dir.join(name), b"half").unwrap();
    }
    store.open_run("a", &settings()).1.unwrap();
    assert!(names(&dir).iter().all(|name| whole.contains(name)), "{:?}", names(&dir));
    fs::create_dir(temporary.path().join("run-b")).unwrap();
    fs::write(temporary.path().join("run-b/0000000000000000-.safetensors"), b"x").unwrap();
    let runs: Vec<String> = store.runs(&settings()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        (runs, names(temporary.path())),
        (vec!["a".to_owned()], vec!["lock".to_owned(), "run-a".to_owned()])
    );
}

#[test]
fn directory_belongs_to_one_daemon_at_a_time() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b");
    let store = open(&path);
    let error = format!("{:#}", RunStore::open(&path).unwrap_err());
    assert!(error.contains("another anomalyd") && error.contains("--state-dir"), "{error}");
    drop(store);
    open(&path);
    let file = temporary.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(format!("{:#}", RunStore::open(&file).unwrap_err()).contains("runs.state_dir"));
}
