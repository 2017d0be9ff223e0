//! The heat maps of alarms on disk, for whoever looks at a run afterwards.

use anyhow::Context;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A directory of PNG files, one an alarm.
#[derive(Debug)]
pub struct HeatMapDir(PathBuf);

impl HeatMapDir {
    /// Makes the directory if it is missing, and checks that files can be written there.
    ///
    /// # Errors
    ///
    /// If they cannot.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let tried = || -> std::io::Result<()> {
            fs::create_dir_all(path)?;
            let probe = path.join(format!(".{}.probe", std::process::id()));
            File::create(&probe)?;
            fs::remove_file(&probe)
        };
        tried().with_context(|| format!("runs.heat_map_dir: {} cannot be written to", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes the heat map of a step of a stream, instead of one that is there already; returns its path. A disk that is full does not
    /// make the verdict fail: the log says so, and the result is `None`.
    pub fn keep(&self, run: &str, stream: &str, step: i64, png: &[u8]) -> Option<String> {
        // A run's name may be `..` or begin with a point, which is no file's name; nor is one with the part's.
        let stream = if stream.is_empty() { String::new() } else { format!("-stream-{stream}") };
        let path = self.0.join(format!("run-{run}{stream}-step-{step}.png"));
        match write_whole(&path, png) {
            Ok(()) => Some(path.display().to_string()),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the heat map of an alarm was not kept");
                None
            }
        }
    }
}

/// Writes a file that is never seen half written: another beside it, which is renamed.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = File::create(&part)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // What is left of it is of no use; its own removal may fail as the writing did.
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_named_for_run_and_step_and_replaced_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let dir = HeatMapDir::open(&path).unwrap();
        let kept = dir.keep("..", "", -3, b"first").unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"first");
        assert_eq!(dir.keep("..", "", -3, b"second").as_ref(), Some(&kept));
        assert_eq!(fs::read(&kept).unwrap(), b"second");
        dir.keep("sn:1.5", "v.x", 40, b"other").unwrap();
        assert_eq!(names(&path), ["run-..-step--3.png", "run-sn:1.5-stream-v.x-step-40.png"]);
    }

    #[test]
    fn directory_that_is_a_file_is_refused_and_one_that_has_gone_costs_no_verdict() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = format!("{:#}", HeatMapDir::open(&file).unwrap_err());
        assert!(error.contains("runs.heat_map_dir") && error.contains("file"), "{error}");
        let path = temporary.path().join("gone");
        let dir = HeatMapDir::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        assert_eq!(dir.keep("run", "", 1, b"x"), None);
    }
}
