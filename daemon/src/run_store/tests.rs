//! Stored runs, whole, damaged and foreign.

use super::files::HEADS;
use super::head::Head;
use super::*;
use crate::instance::hex;
use crate::job::tests::job;
use crate::job::{Answer, Job};
use anomalyd_models::extractor::OwnExtractors;
use anomalyd_models::image::{Decoded, Preprocess};
use anomalyd_models::online::{OnlineParams, Streams, Truth};
use ndarray::Array3;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

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
    let dir = temporary.path().join("run-a");
    let n_records = || names(&dir).len() - 2;
    let (mut most, mut n_held) = (0, 0);
    for step in 71..=170 {
        streams.judge("", step, &image(step)).unwrap();
        files.save(&streams, &answered).unwrap();
        most = most.max(n_records());
        n_held = streams.manifest().n_records();
    }
    assert!((n_held + 32..=n_held + 65).contains(&most), "{most} of {n_held}");
    let mut n_tidied = 0;
    for step in 171..=270 {
        streams.judge("", step, &image(step)).unwrap();
        files.save(&streams, &answered).unwrap();
        if !files.is_tidy() {
            files.tidy().unwrap();
            assert_eq!((files.is_tidy(), n_records()), (true, n_held), "{step}");
            n_tidied += 1;
        }
    }
    assert!((3..=4).contains(&n_tidied), "{n_tidied}");
    streams.rewind(0).unwrap();
    files.save(&streams, &answered).unwrap();
    files.tidy().unwrap();
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

/// The last steps of the two streams, as the head says.
fn last_steps(dir: &Path) -> Vec<Option<i64>> {
    let manifest = RunFiles::peek(&dir.join("run-a"), &settings()).unwrap().unwrap();
    manifest.summaries().iter().map(|stream| stream.last_step).collect()
}

#[test]
fn head_that_ends_anywhere_is_gone_on_from_after_its_last_whole_line() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (_, streams, _) = stored(&store, 20);
    let path = temporary.path().join("run-a/head-1");
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
    let (base, last, n_lines) = (ends[1], ends[ends.len() - 2], ends.len() - 2);
    assert_eq!(n_lines, 39, "one for each image but the first, and not all of the run again");
    assert!(ends.windows(2).all(|line| line[1] - line[0] < 2000), "however many images there are");
    for length in [last + 1, last + 20, bytes.len() - 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(last_steps(temporary.path()), [Some(20), Some(19)], "{length}");
        let Stored { mut streams, mut files, answered } = store.open_run("a", &settings()).1.unwrap();
        assert_eq!(answered.find(&Job { request_id: b"v:220".to_vec(), ..job("a", 20) }), Ok(None));
        streams.judge("v:2", 20, &image(20)).unwrap();
        files.save(&streams, &answered).unwrap();
        assert_eq!(last_steps(temporary.path()), [Some(20); 2], "no line follows one that is torn");
        fs::remove_file(temporary.path().join("run-a/head-0")).unwrap();
    }
    for (at, steps) in [(ends[7] + 50, [Some(4), Some(3)]), (ends[8] - 1, [Some(4), Some(3)])] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(last_steps(temporary.path()), steps, "{at}");
    }
    for length in [0, 10, 90, base - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let refused = RunFiles::peek(&temporary.path().join("run-a"), &settings()).unwrap_err();
        assert!(refused.0.contains("head-1"), "{refused:?}");
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(store.open_run("a", &settings()).1.unwrap().streams.manifest(), streams.manifest());
}

#[test]
fn head_that_lost_lines_has_the_records_of_any_image_before_them() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    // Far more than are held.
    stored(&store, 120);
    let path = temporary.path().join("run-a");
    let newest = HEADS.map(|name| fs::read(path.join(name)).unwrap());
    let newest = (0..2).max_by_key(|&idx| Head::from_bytes(&newest[idx]).unwrap().0.generation).unwrap();
    let bytes = fs::read(path.join(HEADS[newest])).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
    let copy = temporary.path().join("run-b");
    let mut n_images = Vec::new();
    for end in [ends[1], ends[ends.len() / 2], ends[ends.len() - 2]] {
        copy_dir(&path, &copy);
        fs::write(copy.join(HEADS[newest]), &bytes[..end + 1]).unwrap();
        let streams = store.open_run("b", &settings()).1.unwrap().streams;
        n_images.push(streams.last_step_of("v:2").unwrap());
        assert_eq!(Some(streams.manifest()), RunFiles::peek(&copy, &settings()).unwrap());
    }
    // Nor is more than that lost with all of it.
    copy_dir(&path, &copy);
    fs::write(copy.join(HEADS[newest]), b"").unwrap();
    let streams = store.open_run("b", &settings()).1.unwrap().streams;
    assert_eq!(Some(streams.manifest()), RunFiles::peek(&copy, &settings()).unwrap());
    n_images.insert(0, streams.last_step_of("v:2").unwrap());
    assert!(n_images.is_sorted() && n_images[0] < 119 && n_images[3] == 119, "{n_images:?}");
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(name)).unwrap();
    }
}

#[test]
fn whatever_a_run_does_what_is_read_is_what_was_stored_last() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (mut files, mut streams, mut answered) = stored(&store, 3);
    for round in 0..150u64 {
        let last = streams.last_step().unwrap_or(0);
        // No more than a mixture that visits everything.
        match round * 37 % 23 {
            0 => drop(streams.rewind(last - 4)),
            1 => drop(streams.label("", last, Truth::Anomalous)),
            2 => drop(streams.label("", last, Truth::Normal)),
            3 => files.tidy().unwrap(),
            4 => drop(streams.judge("third", last, &image(last))),
            5 => drop(streams.judge("", last - 2, &image(last))),
            act => {
                let other = if act == 6 { image(7 * last + 100) } else { image(last + 1) };
                drop(streams.judge(["", "v:2"][act as usize % 2], last + 1, &other));
            }
        }
        let job = Job { request_id: round.to_le_bytes().into(), ..job("a", last) };
        answered.remember(&job, &Answer::done(format!("round {round}")));
        files.save(&streams, &answered).unwrap();
        let manifest = RunFiles::peek(&temporary.path().join("run-a"), &settings()).unwrap();
        assert_eq!(manifest, Some(streams.manifest()), "{round}");
        if round % 10 == 9 {
            let again = store.open_run("a", &settings()).1.unwrap();
            assert_eq!(
                (again.streams.manifest(), &again.answered),
                (streams.manifest(), &answered),
                "{round}"
            );
            if round % 20 == 9 {
                Stored { files, streams, answered } = again;
            }
        }
    }
    assert!(streams.manifest().n_records() > 20);
}

#[test]
fn stream_that_was_forgotten_wholly_and_begins_anew_is_stored_anew() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (mut files, mut streams, answered) = stored(&store, 2);
    for last in [40, 30] {
        streams.judge("v:3", 3, &image(last)).unwrap();
        files.save(&streams, &answered).unwrap();
        let again = store.open_run("a", &settings()).1.unwrap().streams;
        assert_eq!((again.last_step_of("v:3"), again.manifest()), (Some(3), streams.manifest()));
        streams.rewind(2).unwrap();
        files.save(&streams, &answered).unwrap();
        assert_eq!(streams.last_step_of("v:3"), None);
    }
}

#[test]
fn run_that_went_back_last_was_used_last() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (mut files, mut streams, answered) = stored(&store, 2);
    store.open_run("b", &settings()).0.save(&streams, &answered).unwrap();
    for (age, run) in ["run-b", "run-a"].into_iter().enumerate() {
        let dir = temporary.path().join(run);
        for name in names(&dir) {
            let file = fs::File::options().write(true).open(dir.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60 * (age as u64 + 1))).unwrap();
        }
    }
    let order = || store.runs(&settings()).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(order(), ["a", "b"]);
    streams.rewind(1).unwrap();
    files.save(&streams, &answered).unwrap();
    assert_eq!(order(), ["b", "a"]);
}

#[test]
fn head_that_somebody_else_has_changed_gets_no_line() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut files, mut streams, answered) = stored(&open(temporary.path()), 5);
    let path = temporary.path().join("run-a/head-1");
    for (step, change) in [(6, "longer"), (7, "gone"), (8, "cut")] {
        let newest = if step == 7 { path.with_file_name("head-0") } else { path.clone() };
        let bytes = fs::read(&newest).unwrap();
        match change {
            "longer" => fs::write(&newest, [&bytes[..], b"x"].concat()).unwrap(),
            "gone" => fs::remove_file(&newest).unwrap(),
            _ => fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap(),
        }
        streams.judge("", step, &image(step)).unwrap();
        files.save(&streams, &answered).unwrap();
        assert_eq!(last_steps(temporary.path()), [Some(step), Some(5)], "{change}");
    }
}

/// Writes the head as it was before it had lines, with the sums of that time.
fn to_first_form(dir: &Path) {
    let mut head = HEADS
        .into_iter()
        .filter_map(|name| Some(Head::from_bytes(&fs::read(dir.join(name)).ok()?).unwrap().0))
        .max_by_key(|head| head.generation)
        .unwrap();
    let names: Vec<String> = head.records.keys().cloned().collect();
    for name in names {
        let Ok(bytes) = fs::read(dir.join(&name)) else { continue };
        head.records.insert(name, hex(&Sha256::digest(bytes)[..16]));
    }
    let body = serde_json::to_string(&head).unwrap();
    for name in HEADS {
        let _ = fs::remove_file(dir.join(name));
    }
    fs::write(dir.join("head-0"), format!("anomalyd-run 1 {}\n{body}", hex(&Sha256::digest(&body)))).unwrap();
}

#[test]
fn run_that_an_earlier_version_has_stored_is_gone_on_with() {
    let temporary = tempfile::tempdir().unwrap();
    let store = open(temporary.path());
    let (_, mut live, answered) = stored(&store, 20);
    to_first_form(&temporary.path().join("run-a"));
    let again = store.open_run("a", &settings()).1.unwrap();
    assert_eq!((again.streams.manifest(), &again.answered), (live.manifest(), &answered));
    let Stored { mut streams, mut files, answered } = again;
    for step in 21..25 {
        let judged = [&mut live, &mut streams].map(|run| run.judge("v:2", step, &image(step)).unwrap());
        assert_eq!(judged[0], judged[1]);
        files.save(&streams, &answered).unwrap();
        assert_eq!(store.open_run("a", &settings()).1.unwrap().streams.manifest(), live.manifest());
    }
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
    let path = temporary.path().join("run-a/head-1");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("anomalyd-run 2", "anomalyd-run 3", 1)).unwrap();
    let refused = RunFiles::peek(&temporary.path().join("run-a"), &settings()).unwrap_err();
    assert!(refused.0.contains("form 3"), "{refused:?}");
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
