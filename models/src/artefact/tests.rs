use super::*;
use crate::Error;
use crate::detector::one_class_svm::KernelKind;
use crate::detector::{DetectorParams, ExtendedForestParams, OneClassSvmParams};
use crate::extractor::sha256_of;
use crate::pipeline::PipelineParams;
use crate::pipeline::tests::{fit, params, picture};
use tempfile::TempDir;

fn params_with_components() -> PipelineParams {
    PipelineParams { n_components: Some(6), ..params() }
}

fn extended_forest() -> DetectorParams {
    DetectorParams::ExtendedForest(ExtendedForestParams { n_trees: 20, ..Default::default() })
}

fn svm(kernel: KernelKind) -> DetectorParams {
    DetectorParams::OneClassSvm(OneClassSvmParams { nu: 0.2, kernel, ..Default::default() })
}

/// A saved artefact; its directory goes with the first value.
fn saved() -> (TempDir, PathBuf, Artefact) {
    let place = tempfile::tempdir().expect("temporary directory");
    let dir = place.path().join("model");
    let pipeline = fit(&params_with_components(), 40).expect("fits");
    let artefact = Artefact::save(pipeline, &dir, Some("2026-01-02T03:04:05Z".into())).expect("saves");
    (place, dir, artefact)
}

fn load(dir: &Path) -> Result<Artefact> {
    Artefact::load(dir, &WeightsStore::default(), &DeviceChoice::Cpu)
}

#[track_caller]
fn refused(dir: &Path) -> (ArtefactErrorKind, String) {
    match load(dir) {
        Err(Error::Artefact(error)) => (error.kind(), error.to_string()),
        other => panic!("expected an artefact error, found {other:?}"),
    }
}

/// Changes the manifest and makes its own sum right again, as a careful forger or a strange program would.
fn rewrite_manifest(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join(MANIFEST_FILE);
    let mut value: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("reads")).expect("JSON");
    change(&mut value);
    let zeros = "0".repeat(64);
    value["sha256"] = zeros.clone().into();
    let text = serde_json::to_string_pretty(&value).expect("JSON");
    fs::write(&path, text.replace(&zeros, &sha256_of(text.as_bytes()))).expect("writes");
}

/// Changes the arrays and makes all sums right again, but for those of single arrays.
fn rewrite_arrays(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(ARRAYS_FILE);
    let mut bytes = fs::read(&path).expect("reads");
    change(&mut bytes);
    fs::write(&path, &bytes).expect("writes");
    rewrite_manifest(dir, |manifest| {
        manifest["arrays_file"]["n_bytes"] = bytes.len().into();
        manifest["arrays_file"]["sha256"] = sha256_of(&bytes).into();
    });
}

#[test]
fn loaded_artefact_gives_the_same_scores_bit_for_bit() {
    for params in [
        params(),
        params_with_components(),
        PipelineParams { detector: extended_forest(), ..params() },
        PipelineParams { detector: svm(KernelKind::Rbf), ..params_with_components() },
        PipelineParams { detector: svm(KernelKind::Linear), ..params() },
        PipelineParams { scale: false, ..params() },
        PipelineParams {
            calibration: crate::calibration::CalibrationParams::Contamination { contamination: 0.13 },
            ..params()
        },
    ] {
        let place = tempfile::tempdir().expect("temporary directory");
        let dir = place.path().join("model");
        let artefact = Artefact::save(fit(&params, 44).expect("fits"), &dir, None).expect("saves");
        let again = load(&dir).expect("loads");
        assert_eq!(again.manifest(), artefact.manifest());
        assert_eq!(again.pipeline().params(), &params);
        for (seed, bar) in [(1, None), (700, None), (701, Some(10))] {
            let image = picture(seed, bar);
            let wanted = artefact.pipeline().judge(&image).expect("judges");
            assert_eq!(again.pipeline().judge(&image).expect("judges"), wanted);
        }
        assert_eq!(again.pipeline().detector(), artefact.pipeline().detector());
        assert_eq!(again.pipeline().pca(), artefact.pipeline().pca());
        assert_eq!(again.pipeline().threshold(), artefact.pipeline().threshold());
    }
}

#[test]
fn manifest_tells_every_parameter_and_the_arrays_are_plain_safetensors() {
    let (_place, dir, artefact) = saved();
    let text = fs::read_to_string(dir.join(MANIFEST_FILE)).expect("reads");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(manifest["format_version"], FORMAT_VERSION);
    assert_eq!(manifest["created"], "2026-01-02T03:04:05Z");
    assert_eq!(manifest["params"]["seed"], 3);
    assert_eq!(manifest["params"]["detector"]["n_trees"], 60);
    assert_eq!(manifest["images"]["n_images"], 40);
    assert_eq!(manifest["images"]["file_size"], serde_json::json!([48, 60]));
    assert_eq!(manifest["weights"], serde_json::Value::Null);
    let bytes = fs::read(dir.join(ARRAYS_FILE)).expect("reads");
    assert_eq!(manifest["arrays_file"]["sha256"], sha256_of(&bytes));
    let arrays = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let components = arrays.tensor("pca.components").expect("is there");
    assert_eq!(components.shape(), artefact.pipeline().pca().expect("projects").components().shape());
    let record = artefact.manifest().arrays.iter().find(|a| a.name == "pca.components").expect("recorded");
    assert_eq!(record.sha256, sha256_of(components.data()));
    assert_eq!(arrays.len(), artefact.manifest().arrays.len());
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let (place, dir, artefact) = saved();
    let entries = fs::read_dir(place.path()).expect("reads").count();
    assert_eq!(entries, 1, "no part is left");
    let error = Artefact::save(fit(&params(), 40).expect("fits"), &dir, None).expect_err("refused");
    assert!(matches!(&error, Error::Artefact(e) if e.kind() == ArtefactErrorKind::Exists), "{error}");
    assert_eq!(load(&dir).expect("loads").manifest(), artefact.manifest());
    let absent = place.path().join("absent").join("model");
    let error = Artefact::save(fit(&params(), 40).expect("fits"), &absent, None).expect_err("refused");
    assert!(matches!(&error, Error::Artefact(e) if e.kind() == ArtefactErrorKind::NotFound), "{error}");
    let empty = place.path().join("empty");
    fs::create_dir(&empty).expect("creates");
    Artefact::save(fit(&params(), 40).expect("fits"), &empty, None).expect("an empty directory is filled");
    assert!(load(&empty).is_ok());
}

#[test]
fn absent_files_are_named() {
    let (_place, dir, _) = saved();
    assert_eq!(refused(&dir.join("absent")).0, ArtefactErrorKind::NotFound);
    fs::remove_file(dir.join(ARRAYS_FILE)).expect("removes");
    let (kind, text) = refused(&dir);
    assert_eq!(kind, ArtefactErrorKind::NotFound);
    assert!(text.contains(ARRAYS_FILE), "{text}");
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let (_place, dir, _) = saved();
    for file in [MANIFEST_FILE, ARRAYS_FILE] {
        let path = dir.join(file);
        let bytes = fs::read(&path).expect("reads");
        let step = bytes.len() / 40 + 1;
        for length in (0..bytes.len()).step_by(step).chain([1, 7, 8, 9, bytes.len() - 1]) {
            fs::write(&path, &bytes[..length]).expect("writes");
            let (kind, text) = refused(&dir);
            assert_eq!(kind, ArtefactErrorKind::Corrupt, "{length} bytes of {file}: {text}");
            assert!(text.contains(file), "{text}");
        }
        fs::write(&path, [bytes.as_slice(), b" "].concat()).expect("writes");
        assert_eq!(refused(&dir).0, ArtefactErrorKind::Corrupt, "a byte too many in {file}");
        fs::write(&path, &bytes).expect("writes");
    }
    assert!(load(&dir).is_ok());
}

#[test]
fn flipped_bit_anywhere_is_refused() {
    let (_place, dir, _) = saved();
    for file in [MANIFEST_FILE, ARRAYS_FILE] {
        let path = dir.join(file);
        let bytes = fs::read(&path).expect("reads");
        let step = bytes.len() / 150 + 1;
        for position in (0..bytes.len()).step_by(step).chain(0..40) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << (position % 8);
            fs::write(&path, &flipped).expect("writes");
            let (kind, text) = refused(&dir);
            let version = kind == ArtefactErrorKind::Version && file == MANIFEST_FILE;
            assert!(kind == ArtefactErrorKind::Corrupt || version, "byte {position} of {file}: {text}");
        }
        fs::write(&path, &bytes).expect("writes");
    }
}

#[test]
fn another_version_or_format_is_refused_by_name() {
    let (_place, dir, _) = saved();
    rewrite_manifest(&dir, |manifest| manifest["format_version"] = 1.into());
    let (kind, text) = refused(&dir);
    assert_eq!(kind, ArtefactErrorKind::Version);
    assert!(text.contains("format version 1, this program reads 2"), "{text}");
    rewrite_manifest(&dir, |manifest| manifest["format"] = "other".into());
    assert_eq!(refused(&dir).0, ArtefactErrorKind::Corrupt);
}

#[test]
fn changed_parameters_are_refused_even_with_the_sum_made_right() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 11] = [
        ("unknown key", |m| m["params"]["colour"] = 1.into()),
        ("parameter outside its range", |m| m["params"]["detector"]["n_trees"] = 0.into()),
        ("another number of trees", |m| m["params"]["detector"]["n_trees"] = 61.into()),
        ("another detector", |m| m["params"]["detector"] = serde_json::json!({"name": "one_class_svm"})),
        ("trees without rows", |m| m["forest_sample_size"] = serde_json::Value::Null),
        ("more features than the projection gives", |m| m["n_detector_features"] = 7.into()),
        ("no scaler, but its arrays", |m| m["params"]["scale"] = false.into()),
        ("a threshold its scores do not give", |m| {
            m["params"]["calibration"]["false_alarm_rate"] = 0.3.into()
        }),
        ("another file", |m| m["arrays_file"]["name"] = "../../other".into()),
        ("an array less", |m| {
            m["arrays"].as_array_mut().expect("array").pop();
        }),
        ("another shape", |m| m["arrays"][0]["shape"] = serde_json::json!([4_000_000_000_000_u64])),
    ];
    let (_place, dir, _) = saved();
    let original = fs::read(dir.join(MANIFEST_FILE)).expect("reads");
    for (what, change) in changes {
        rewrite_manifest(&dir, change);
        let (kind, text) = refused(&dir);
        assert_eq!(kind, ArtefactErrorKind::Corrupt, "{what}: {text}");
        fs::write(dir.join(MANIFEST_FILE), &original).expect("writes");
    }
    rewrite_manifest(&dir, |_| ());
    assert!(load(&dir).is_ok(), "an equal manifest in another layout is as good");
}

#[test]
fn other_image_sizes_features_or_weights_are_a_mismatch() {
    let (_place, dir, _) = saved();
    let original = fs::read(dir.join(MANIFEST_FILE)).expect("reads");
    rewrite_manifest(&dir, |m| m["images"]["file_size"] = serde_json::json!([48, 64]));
    assert_eq!(refused(&dir).0, ArtefactErrorKind::Mismatch);
    fs::write(dir.join(MANIFEST_FILE), &original).expect("writes");
    rewrite_manifest(&dir, |m| m["feature_shape"] = serde_json::json!([1, 2, 3]));
    assert_eq!(refused(&dir).0, ArtefactErrorKind::Mismatch);
    fs::write(dir.join(MANIFEST_FILE), &original).expect("writes");
    rewrite_manifest(&dir, |m| m["weights"] = serde_json::json!({"name": "w", "sha256": "0a"}));
    let (kind, text) = refused(&dir);
    assert_eq!(kind, ArtefactErrorKind::Mismatch);
    assert!(text.contains("weights w with sha256 0a; found none"), "{text}");
}

#[test]
fn huge_counts_are_refused_without_memory_for_them() {
    let (_place, dir, _) = saved();
    let [manifest, arrays] =
        [MANIFEST_FILE, ARRAYS_FILE].map(|file| fs::read(dir.join(file)).expect("reads"));
    let restore = || {
        fs::write(dir.join(MANIFEST_FILE), &manifest).expect("writes");
        fs::write(dir.join(ARRAYS_FILE), &arrays).expect("writes");
    };
    for length in [u64::MAX, 1 << 40, arrays.len() as u64] {
        rewrite_arrays(&dir, |bytes| bytes[..8].copy_from_slice(&length.to_le_bytes()));
        assert_eq!(refused(&dir).0, ArtefactErrorKind::Corrupt, "header of {length} bytes");
        restore();
    }
    // A header of the same length in which the first shape is as large as its digits allow.
    rewrite_arrays(&dir, |bytes| {
        let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
        let start = 8 + text.find("\"shape\":[").expect("a shape") + 9;
        let end = (start..).find(|&i| !bytes[i].is_ascii_digit()).expect("ends");
        bytes[start..end].fill(b'9');
    });
    assert_eq!(refused(&dir).0, ArtefactErrorKind::Corrupt);
    restore();
    fs::write(dir.join(MANIFEST_FILE), vec![b' '; 3 << 20]).expect("writes");
    assert_eq!(refused(&dir).0, ArtefactErrorKind::Corrupt);
    restore();
    assert!(load(&dir).is_ok());
}

#[test]
fn artefact_tells_the_arithmetic_of_its_features_and_those_of_few_bits_are_not_mixed_with_others() {
    let (_place, dir, artefact) = saved();
    assert_eq!(artefact.manifest().arithmetic.as_deref(), Some("f32"));
    assert_eq!(artefact.other_arithmetic(), None);
    rewrite_manifest(&dir, |manifest| manifest["arithmetic"] = "bf16x3".into());
    let words = load(&dir).expect("loads").other_arithmetic().expect("differs");
    assert!(words.contains("bf16x3") && words.contains("cpu:f32"), "{words}");
    for name in ["bf16", "f16", "int8"] {
        rewrite_manifest(&dir, |manifest| manifest["arithmetic"] = name.into());
        let (kind, message) = refused(&dir);
        assert_eq!(kind, ArtefactErrorKind::Mismatch);
        let found = message.contains(&format!("in {name};"));
        assert!(found && message.contains("fit again"), "{message}");
    }
    rewrite_manifest(&dir, |manifest| drop(manifest.as_object_mut().expect("object").remove("arithmetic")));
    assert_eq!(load(&dir).expect("an older artefact loads").other_arithmetic(), None);
}
