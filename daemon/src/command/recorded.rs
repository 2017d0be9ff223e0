//! A run's recorded images or fields, read one by one and judged by the settings a daemon would judge them by.

use super::fit::crop;
use super::serve::read as read_config;
use crate::cli::WatchArgs;
use crate::config::Config;
use anomalyd_models::extractor::WeightsStore;
use anomalyd_models::image::Input;
use anomalyd_models::online::OnlineRun;
use anyhow::{Context, ensure};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The configuration of `args`, as `serve` would have it.
pub(super) fn configured(args: &WatchArgs) -> anyhow::Result<Config> {
    let mut flags: Vec<(String, String)> = Vec::new();
    let mut add = |setting: &str, value: String| flags.push((setting.to_owned(), value));
    if let Some(method) = &args.method {
        add("online.method", method.clone());
    }
    if let Some(device) = &args.device {
        add("models.device", device.clone());
    }
    if !args.weights_dir.is_empty() {
        let dirs = args.weights_dir.iter().map(|dir| toml::Value::String(dir.display().to_string()));
        add("models.weights_dirs", toml::Value::Array(dirs.collect()).to_string());
    }
    let mut config = read_config(&args.config, &flags)?;
    if let Some(text) = &args.crop {
        config.preprocess.crop = crop(text)?;
    }
    Ok(config)
}

/// What the configuration calls the method.
pub(super) fn method_name(config: &Config) -> String {
    serde_json::to_value(config.online.method)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A run without images.
pub(super) fn new_run(config: &Config) -> anyhow::Result<OnlineRun> {
    let weights = Arc::new(WeightsStore::new(config.weights_dirs.clone())?);
    Ok(OnlineRun::new(config.online.clone(), config.preprocess, weights, config.device)?)
}

/// An image or a field with what it took to get it.
pub(super) struct Taken {
    pub(super) input: Input,
    pub(super) read: Duration,
    pub(super) decode: Duration,
}

/// Reads and decodes a file within the configuration's limits.
///
/// # Errors
///
/// What is wrong with the file.
pub(super) fn take(path: &Path, config: &Config) -> anyhow::Result<Taken> {
    let start = Instant::now();
    let mut bytes = Vec::new();
    File::open(path)?.take(config.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= config.max_file_bytes,
        "the file is larger than paths.max_file_bytes, {} bytes",
        config.max_file_bytes
    );
    let read = start.elapsed();
    let start = Instant::now();
    let input = Input::read(&bytes, &config.limits)?;
    Ok(Taken { input, read, decode: start.elapsed() })
}

/// Where an image's time went, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Timings {
    pub(super) read: f64,
    pub(super) decode: f64,
    pub(super) judge: f64,
}

/// The steps of files in natural order: a number in their names that increases from file to file, the last such one of each
/// name; else the positions, counted from 1.
pub(super) fn steps_of(files: &[PathBuf]) -> Vec<i64> {
    let numbers: Vec<Vec<Option<i64>>> = files.iter().map(|path| numbers_in(path)).collect();
    let n_numbers = numbers.first().map_or(0, Vec::len);
    // Names of one form only: the third number of one says nothing of the second of another.
    if numbers.iter().all(|found| found.len() == n_numbers) {
        for place in (0..n_numbers).rev() {
            let column: Option<Vec<i64>> = numbers.iter().map(|found| found[place]).collect();
            if let Some(column) = column.filter(|column| column.is_sorted_by(|a, b| a < b)) {
                return column;
            }
        }
    }
    (1..).take(files.len()).collect()
}

/// The numbers in a file's name without its extension; `None` for one that is too large for a step.
fn numbers_in(path: &Path) -> Vec<Option<i64>> {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().ok())
        .collect()
}

/// Writes a file as a whole, or says which one could not be written.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(names: &[&str]) -> Vec<i64> {
        steps_of(&names.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn steps_are_the_numbers_in_the_names() {
        assert_eq!(steps(&["a/f_0007.png", "a/f_0009.png", "b/f_0100.png"]), [7, 9, 100]);
        assert_eq!(
            steps(&["run2_plot_5_v3.png", "run2_plot_10_v3.png"]),
            [5, 10],
            "what does not change is no step"
        );
    }

    #[test]
    fn steps_are_positions_where_no_number_increases() {
        assert_eq!(steps(&["a.png", "b.png"]), [1, 2]);
        assert_eq!(steps(&["x/1.png", "y/1.png"]), [1, 2]);
        assert_eq!(steps(&["1.png", "2_b.png", "3_1.png"]), [1, 2, 3]);
        assert_eq!(steps(&["99999999999999999999.png", "999999999999999999999.png"]), [1, 2]);
    }
}
