//! `anomalyd models`: weights by their manifests, and what an artefact says of itself.

use super::{Exit, say};
use crate::cli::{ModelsCommand, WeightsArgs};
use crate::config::Surroundings;
use crate::instance::hex;
use anomalyd_models::extractor::{Manifest, WeightsStore, sha256_of};
use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Larger files are not fetched.
const MAX_PULL_BYTES: u64 = 1 << 30;

pub(super) fn run(command: &ModelsCommand) -> anyhow::Result<Exit> {
    match command {
        ModelsCommand::List(args) => list(&store(args)?),
        ModelsCommand::Show { name, weights } => show(name, &store(weights)?)?,
        ModelsCommand::Verify { names, weights } => return verify(names, &store(weights)?),
        ModelsCommand::Pull { name, accept_sha256, weights } => {
            pull(name, accept_sha256.as_deref(), store(weights)?)?
        }
    }
    Ok(Exit::Success)
}

fn store(args: &WeightsArgs) -> anyhow::Result<WeightsStore> {
    open_store(&args.weights_dir)
}

/// The weights in `dirs`, or in the user's directory where none are given.
pub(super) fn open_store(dirs: &[PathBuf]) -> anyhow::Result<WeightsStore> {
    let dirs = if dirs.is_empty() { Surroundings::of_process()?.weights_dirs() } else { dirs.to_vec() };
    Ok(WeightsStore::new(dirs)?)
}

fn list(store: &WeightsStore) {
    for manifest in store.manifests() {
        let place = store
            .find(&manifest.name)
            .map_or_else(|_| "not here".to_owned(), |path| path.display().to_string());
        say(format_args!(
            "{:36} {:9} {place}\n    {}",
            manifest.name,
            format!("{:?}", manifest.architecture),
            manifest.description
        ));
    }
    let dirs: Vec<_> = store.dirs().iter().map(|dir| dir.display().to_string()).collect();
    say(format_args!(
        "weights are looked for in: {}",
        if dirs.is_empty() { "nowhere".to_owned() } else { dirs.join(", ") }
    ));
}

fn show(name: &str, store: &WeightsStore) -> anyhow::Result<()> {
    let artefact = Path::new(name).join("manifest.json");
    if artefact.is_file() {
        let text = fs::read_to_string(&artefact).with_context(|| artefact.display().to_string())?;
        say(format_args!("{}", text.trim_end()));
        return Ok(());
    }
    let manifest = store.manifest(name)?;
    say(format_args!("{}", manifest.to_toml().trim_end()));
    match store.find(name) {
        Ok(path) => say(format_args!("# here: {}", path.display())),
        Err(error) => say(format_args!("# {error}")),
    }
    Ok(())
}

fn verify(names: &[String], store: &WeightsStore) -> anyhow::Result<Exit> {
    let names: Vec<&str> = if names.is_empty() {
        store
            .manifests()
            .map(|manifest| manifest.name.as_str())
            .filter(|name| store.find(name).is_ok())
            .collect()
    } else {
        names.iter().map(String::as_str).collect()
    };
    ensure!(!names.is_empty(), "there are no weights files to check: see `anomalyd models list`");
    let mut exit = Exit::Success;
    for name in names {
        match store.verify(name) {
            Ok(sum) => say(format_args!("{name}: sha256 {sum} as in its manifest")),
            Err(error) => {
                say(format_args!("{error}"));
                exit = Exit::Input;
            }
        }
    }
    Ok(exit)
}

fn pull(name: &str, accepted: Option<&str>, mut store: WeightsStore) -> anyhow::Result<()> {
    let manifest = store.manifest(name)?.clone();
    let dir =
        store.dirs().first().cloned().context("no directory to put weights into: give --weights-dir")?;
    if store.find(name).is_err() {
        fetch(&manifest, &dir)?;
    }
    if let Some(sum) = accepted {
        let path = store.find(name)?;
        let found = sha256_of(&fs::read(&path).with_context(|| path.display().to_string())?);
        ensure!(
            found == sum,
            "{name}: found sha256 {found}, expected the accepted {sum}: nothing was accepted"
        );
        let pinned = store.pin(name, sum, &dir)?;
        say(format_args!("{name}: accepted by {}", pinned.display()));
    }
    let sum = store.verify(name)?;
    say(format_args!("{name}: {}, sha256 {sum}", store.find(name)?.display()));
    Ok(())
}

/// Fetches a file into `dir`; it has its name only when it is whole and, where a sum is pinned, right.
fn fetch(manifest: &Manifest, dir: &Path) -> anyhow::Result<()> {
    let Some(source) = &manifest.source else { bail!("{}: {}", manifest.name, manifest.how_to_obtain()) };
    fs::create_dir_all(dir).with_context(|| format!("directory {}", dir.display()))?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .https_only(true)
        .timeout_connect(Some(Duration::from_secs(20)))
        .build()
        .into();
    let mut response = agent.get(source).call().with_context(|| {
        format!(
            "{source} cannot be fetched from here; where there is no network, copy {} into {}",
            manifest.file,
            dir.display()
        )
    })?;
    let body = response.body_mut();
    let length = body.content_length().or(manifest.size_bytes);
    ensure!(length.is_none_or(|n| n <= MAX_PULL_BYTES), "{source} has more than {MAX_PULL_BYTES} bytes");
    let bar = progress_bar(length);
    let part = dir.join(format!(".{}.part", manifest.file));
    let result = write_part(&part, bar.wrap_read(body.as_reader().take(MAX_PULL_BYTES + 1)), manifest)
        .and_then(|()| {
            fs::rename(&part, dir.join(&manifest.file)).context("while renaming the fetched file")
        });
    bar.finish_and_clear();
    if result.is_err() {
        // What is left of a failed fetch is of no use; its own removal may fail as the fetch did.
        let _ = fs::remove_file(&part);
    }
    result
}

fn write_part(part: &Path, mut source: impl Read, manifest: &Manifest) -> anyhow::Result<()> {
    let mut file = fs::File::create(part).with_context(|| part.display().to_string())?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = source.read(&mut buffer).context("the transfer broke off: try again")?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n]).with_context(|| part.display().to_string())?;
    }
    file.sync_all().with_context(|| part.display().to_string())?;
    let found = hex(&hash.finalize());
    match &manifest.sha256 {
        Some(wanted) => ensure!(
            *wanted == found,
            "{}: fetched sha256 {found}, expected {wanted}: not kept",
            manifest.name
        ),
        None => {
            tracing::warn!(sha256 = found, "the manifest pins no sum: compare this one with its publisher's")
        }
    }
    Ok(())
}

fn progress_bar(length: Option<u64>) -> ProgressBar {
    // Drawn on standard error, and only where that is a terminal.
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(sha256: Option<&str>) -> Manifest {
        let store = WeightsStore::default();
        let mut manifest = store.manifests().next().unwrap().clone();
        manifest.sha256 = sha256.map(str::to_owned);
        manifest
    }

    #[test]
    fn fetched_file_with_another_sum_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("part");
        let error = write_part(&part, &b"abc"[..], &manifest(Some(&"0".repeat(64)))).unwrap_err().to_string();
        assert!(
            error.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            "{error}"
        );
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        write_part(&part, &b"abc"[..], &manifest(Some(right))).unwrap();
        assert_eq!(fs::read(part).unwrap(), b"abc");
    }

    #[test]
    fn weights_without_a_source_say_how_to_come_by_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut unpublished = manifest(None);
        (unpublished.source, unpublished.obtain) = (None, Some("ask the observatory".into()));
        assert!(fetch(&unpublished, dir.path()).unwrap_err().to_string().contains("ask the observatory"));
    }

    #[test]
    fn nothing_is_left_of_a_fetch_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let mut unreachable = manifest(None);
        // Port 9 of this very machine, where nobody listens.
        unreachable.source = Some("https://127.0.0.1:9/weights".into());
        let error = format!("{:#}", fetch(&unreachable, dir.path()).unwrap_err());
        assert!(error.contains("where there is no network, copy"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
