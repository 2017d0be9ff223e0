//! Fitted models: from images to an artefact to verdicts, by a daemon and without one.

use crate::harness::{Daemon, command, directory, ppm};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Fits a model on 44 images of a pattern in motion; `settings` as on the command line.
fn fit(directory: &Path, name: &str, settings: &[&str]) -> PathBuf {
    let images = directory.join("images");
    for step in 0..44 {
        fs::write(images.join(format!("frame_{step}.ppm")), ppm(48, 48, step)).unwrap();
    }
    // `models` is not there yet: fit makes it.
    let artefact = directory.join("models").join(name);
    let mut arguments = vec!["fit", images.to_str().unwrap(), "--output", artefact.to_str().unwrap()];
    if !settings.contains(&"one-class-svm") {
        arguments.extend(["--trees", "50"]);
    }
    arguments.extend(["--false-alarm-rate", "0.1", "--hold-out-every", "4"]);
    arguments.extend(settings);
    let fitted = command(&arguments).output().unwrap();
    let summary = String::from_utf8(fitted.stdout).unwrap();
    assert_eq!(fitted.status.code(), Some(0), "{}", String::from_utf8_lossy(&fitted.stderr));
    assert!(summary.contains("threshold") && summary.contains("48 x 48"), "{summary}");
    artefact
}

fn settings(directory: &Path) -> String {
    format!("models.models_dir = {:?}", directory.join("models"))
}

#[test]
fn fitted_forest_judges_alike_in_a_daemon_and_without_one() {
    assert_judges_alike("isolation_forest", &[]);
}

#[test]
fn fitted_extended_forest_judges_alike_in_a_daemon_and_without_one() {
    let settings = ["--detector", "extended-forest", "--split-columns", "2", "--max-depth", "9"];
    assert_judges_alike("extended_forest", &settings);
}

#[test]
fn fitted_one_class_svm_judges_alike_in_a_daemon_and_without_one() {
    assert_judges_alike(
        "one_class_svm",
        &["--detector", "one-class-svm", "--nu", "0.01", "--gamma", "0.0003"],
    );
}

#[test]
fn settings_that_a_detector_cannot_use_are_refused_before_an_image_is_read() {
    let directory = directory();
    let output = directory.path().join("model");
    for (settings, wanted) in [
        (&["--detector", "svm"][..], "expected isolation-forest, extended-forest or one-class-svm"),
        (&["--detector", "one-class-svm", "--trees", "9"], "--trees is for --detector isolation-forest or"),
        (&["--nu", "0.1"], "--nu is for --detector one-class-svm, not for isolation-forest"),
        (&["--split-columns", "2"], "--split-columns is for --detector extended-forest"),
        (&["--detector", "extended-forest", "--split-columns", "0"], "n_columns is 0, expected 1 to 1000"),
        (&["--detector", "one-class-svm", "--nu", "1.5"], "nu is 1.5, expected more than 0 and at most 1"),
        (&["--detector", "one-class-svm", "--gamma", "wide"], "gamma is \"wide\", expected a finite number"),
        (&["--detector", "one-class-svm", "--kernel", "poly"], "kernel is \"poly\", expected rbf or linear"),
        (&["--half-life", "9"], "--sample-size"),
        (
            &["--sample-size", "9", "--half-life", "0"],
            "sample_weights is a half-life of 0 images, expected above 0",
        ),
        (
            &["--sample-size", "9", "--sample-weights", "/nonexistent/weights"],
            "--sample-weights /nonexistent",
        ),
    ] {
        let mut arguments = vec!["fit", "/nonexistent/images", "--output", output.to_str().unwrap()];
        arguments.extend(settings);
        let fitted = command(&arguments).output().unwrap();
        let said = String::from_utf8(fitted.stderr).unwrap();
        assert_eq!(fitted.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn images_are_drawn_for_trees_by_weights_of_a_file_or_by_age() {
    let directory = directory();
    let arrays = |artefact: &Path| fs::read(artefact.join("arrays.safetensors")).unwrap();
    let weights = directory.path().join("weights.txt");
    let listed = |name: &str, weight: &dyn Fn(i32) -> f64| {
        let lines: Vec<String> = (0..44).map(|i| format!("{}\n", weight(i))).collect();
        fs::write(&weights, lines.concat()).unwrap();
        let settings = ["--sample-size", "8", "--sample-weights", weights.to_str().unwrap()];
        arrays(&fit(directory.path(), name, &settings))
    };
    let by_age = arrays(&fit(directory.path(), "age", &["--sample-size", "8", "--half-life", "11"]));
    assert!(by_age == listed("halves", &|i| (f64::from(i) / 11.0).exp2()), "only ratios matter");
    assert!(by_age != listed("equal", &|_| 1.0));
    let images = directory.path().join("images");
    let refused = |text: &str| {
        fs::write(&weights, text).unwrap();
        let output = directory.path().join("none");
        let arguments =
            ["fit", images.to_str().unwrap(), "--output", output.to_str().unwrap(), "--contamination", "0.1"];
        let arguments =
            [&arguments[..], &["--sample-size", "8", "--sample-weights", weights.to_str().unwrap()]].concat();
        let fitted = command(&arguments).output().unwrap();
        assert_eq!(fitted.status.code(), Some(2));
        String::from_utf8(fitted.stderr).unwrap()
    };
    assert!(refused("1 2\n3 x\n").contains("line 2: \"x\", expected a number"));
    assert!(refused("1 2 3").contains("sample_weights is 3 numbers, expected 44, one for each image given"));
}

/// Fits, serves and judges a normal image and an odd one.
fn assert_judges_alike(detector: &str, settings_of_fit: &[&str]) {
    let directory = directory();
    let artefact = fit(directory.path(), "pattern", settings_of_fit);
    let daemon = Daemon::start(directory.path(), &settings(directory.path()));
    let normal = daemon.images().join("frame_8.ppm");
    let odd = daemon.images().join("odd.ppm");
    fs::write(
        &odd,
        [b"P6\n48 48\n255\n".as_slice(), &(0..48 * 48 * 3).map(|i| (i * i % 251) as u8).collect::<Vec<_>>()]
            .concat(),
    )
    .unwrap();
    for (path, verdict, code) in [(&normal, "normal", 0), (&odd, "anomalous", 1)] {
        let served = daemon.classify("", 1, path);
        assert_eq!((served.status, served.verdict.as_str()), (200, verdict), "{served:?}");
        assert_eq!(
            (&served.detail["method"], &served.detail["model"]["name"]),
            (&"model".into(), &"pattern".into())
        );
        let alone =
            command(&["classify", "--json", "--model", artefact.to_str().unwrap(), path.to_str().unwrap()])
                .output()
                .unwrap();
        let object: serde_json::Value = serde_json::from_slice(&alone.stdout).unwrap();
        // A score is an f32; JSON is read with an error in the last bit of an f64.
        let score = object["score"].as_f64().map(|score| score as f32);
        assert_eq!((score, alone.status.code()), (Some(served.score as f32), Some(code)), "{object}");
        let asked = daemon.run(&["classify", "--model", "pattern", path.to_str().unwrap()]);
        assert_eq!(asked.status.code(), Some(code));
    }
    let other_size = daemon.images().join("other.ppm");
    fs::write(&other_size, ppm(48, 50, 0)).unwrap();
    assert_eq!(daemon.classify("", 1, &other_size).status, 415);
    let models = daemon.control("MODELS").detail["models"].clone();
    assert_eq!(
        (&models[0]["name"], &models[0]["extractor"], &models[0]["detector"]),
        (&"pattern".into(), &"hog".into(), &detector.into())
    );
}

#[test]
fn equal_fits_give_equal_artefacts_and_an_existing_one_is_not_overwritten() {
    let directory = directory();
    let (a, b) =
        (fit(directory.path(), "a", &["--range", "3:42"]), fit(directory.path(), "b", &["--range", "3:42"]));
    let arrays = |artefact: &Path| fs::read(artefact.join("arrays.safetensors")).unwrap();
    assert!(arrays(&a) == arrays(&b));
    let images = directory.path().join("images");
    let again =
        command(&["fit", images.to_str().unwrap(), "--output", a.to_str().unwrap(), "--threshold", "0.5"])
            .output()
            .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
}

#[test]
fn output_that_cannot_be_written_is_refused_before_an_image_is_read() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    // The images are not there either: that would be told first if images came first.
    for output in [file.clone(), file.join("below"), directory.path().to_owned()] {
        let fitted =
            command(&["fit", "/nonexistent/images", "--output", output.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8(fitted.stderr).unwrap();
        assert_eq!(fitted.status.code(), Some(2), "{said}");
        assert!(said.contains("--output") && said.contains(output.to_str().unwrap()), "{said}");
    }
}

#[test]
fn sighup_and_reload_read_the_models_again() {
    let directory = directory();
    fs::create_dir(directory.path().join("models")).unwrap();
    let daemon = Daemon::start(directory.path(), &settings(directory.path()));
    let names = |daemon: &Daemon| -> Vec<String> {
        let models = daemon.control("MODELS").detail["models"].clone();
        models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&daemon).is_empty());
    let artefact = fit(directory.path(), "late", &[]);
    daemon.signal(Signal::HUP);
    let limit = Instant::now() + Duration::from_secs(20);
    while names(&daemon).is_empty() {
        assert!(Instant::now() < limit, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.control("RELOAD").status, 200);
    fs::write(artefact.join("manifest.json"), "{}").unwrap();
    let failed = daemon.control("RELOAD");
    assert_eq!(failed.status, 500);
    assert!(failed.text.contains("late"), "{}", failed.text);
    assert_eq!(names(&daemon), ["late"], "the model in use stays");
    let path = daemon.images().join("frame_7.ppm");
    assert_eq!(daemon.classify("", 1, &path).status, 200);
}

#[test]
fn bad_image_ends_a_fit_and_is_named() {
    let directory = directory();
    let images = directory.path().join("images");
    for step in 0..4 {
        fs::write(images.join(format!("{step}.ppm")), ppm(48, 48, step)).unwrap();
    }
    fs::write(images.join("2.ppm"), &ppm(48, 48, 2)[..1000]).unwrap();
    let output = directory.path().join("artefact");
    let failed = command(&[
        "fit",
        images.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
        "--threshold",
        "0.5",
    ])
    .output()
    .unwrap();
    let message = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(4), "{message}");
    assert!(message.contains("2.ppm"), "{message}");
    assert!(!output.exists());
}

#[test]
fn weights_are_listed_and_shown_without_a_network() {
    let directory = directory();
    let weights = directory.path().join("weights");
    let weights = ["--weights-dir", weights.to_str().unwrap()];
    let list = command(&[&["models", "list"], &weights[..]].concat()).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.status.code(), Some(0));
    assert!(text.contains("resnet50-v1-keras-layer3") && text.contains("not here"), "{text}");
    let show =
        command(&[&["models", "show", "resnet50-v1-keras-layer3"], &weights[..]].concat()).output().unwrap();
    assert!(String::from_utf8(show.stdout).unwrap().contains("sha256 = \"ba0f266e"));
    let verify = command(&[&["models", "verify", "resnet50-v1-keras-layer3"], &weights[..]].concat())
        .output()
        .unwrap();
    assert_eq!(verify.status.code(), Some(4));
    let unknown = command(&[&["models", "pull", "no-such"], &weights[..]].concat()).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("resnet50-v1-keras-layer3"));
}
