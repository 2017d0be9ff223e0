//! The configuration: [`raw::RawConfig`] is what was written, [`Config`] what was meant. Only `Config` goes further.

mod endpoints;
mod layers;
pub mod raw;
mod surroundings;

pub use endpoints::ENDPOINT_FILE;
pub use layers::join;
pub use surroundings::Surroundings;

use crate::security::SecurityConfig;
use crate::sockets::SocketsConfig;
use anomalyd_models::extractor::DeviceChoice;
use anomalyd_models::image::{Crop, Limits, Preprocess};
use anomalyd_models::online::OnlineParams;
use anyhow::{Context, bail, ensure};
use endpoints::resolve_sockets;
use raw::{CropSetting, RawConfig};
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What was meant: defaults filled in, paths made absolute, ranges checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the daemon listens.
    pub sockets: SocketsConfig,
    /// Requests that may wait.
    pub queue_capacity: usize,
    /// Bytes that the waiting requests may hold together.
    pub queue_max_bytes: u64,
    /// Deadline of a request that names none.
    pub default_deadline: Duration,
    /// Images judged at the same time.
    pub n_workers: usize,
    /// Threads that compute; `None`: as many as affinity mask and control group allow, which is also the most.
    pub n_threads: Option<usize>,
    /// Time without progress after which the daemon counts as stalled.
    pub stall_timeout: Duration,
    /// Directories below which images may lie.
    pub roots: Vec<PathBuf>,
    /// Largest image file read, in bytes.
    pub max_file_bytes: u64,
    /// Largest image decoded.
    pub limits: Limits,
    /// From decoded images to those that are judged within a run.
    pub preprocess: Preprocess,
    /// Runs remembered at the same time.
    pub max_runs: usize,
    /// Streams of one run.
    pub max_streams: usize,
    /// Replies remembered for each run.
    pub remembered_replies: usize,
    /// Directory that runs are stored in; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// Directory that the heat maps of alarms are written to.
    pub heat_map_dir: Option<PathBuf>,
    /// Judgement within a run.
    pub online: OnlineParams,
    /// Directory of artefacts.
    pub models_dir: Option<PathBuf>,
    /// Model of a request that names none.
    pub default_model: Option<String>,
    /// Directories searched for weights files.
    pub weights_dirs: Vec<PathBuf>,
    /// Where extractors compute.
    pub device: DeviceChoice,
    /// Time that waiting requests are given at the end.
    pub drain_timeout: Duration,
    /// The log.
    pub log: LogConfig,
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Level or directives.
    pub level: String,
    /// Text, or one JSON object a line.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl Config {
    /// Completes and checks what was written.
    ///
    /// # Errors
    ///
    /// The first setting that lies outside its range or does not go with another, with what was found and what is expected.
    pub fn resolve(raw: &RawConfig, surroundings: &Surroundings) -> anyhow::Result<Self> {
        let sockets = resolve_sockets(&raw.sockets, &raw.security, surroundings)?;
        let mut roots = surroundings.paths(&raw.paths.roots);
        if roots.is_empty() {
            let tcp = sockets.service.iter().find(|endpoint| endpoint.starts_with("tcp://"));
            // A key made for this job and told to its ranks alone lets no other user in.
            let is_closed = matches!(&sockets.security, Some(SecurityConfig { server_key_file: None, .. }));
            if let Some(endpoint) = tcp.filter(|_| !is_closed) {
                bail!(
                    "paths.roots is empty, and {endpoint} lets clients of other users in: say with --roots below which \
                     directories they may name images"
                );
            }
            roots.push(PathBuf::from("/"));
        }
        let image = &raw.image;
        let crop = match &image.crop {
            CropSetting::Named(name) if name == "none" => None,
            CropSetting::Named(name) if name == "paper" => Some(Crop::PAPER),
            CropSetting::Named(name) => {
                bail!(
                    "image.crop is \"{name}\", expected \"none\", \"paper\" or {{ rows = [first, last], columns = [first, last] }}"
                )
            }
            CropSetting::Intervals(crop) => {
                for (name, [first, last]) in [("rows", crop.rows), ("columns", crop.columns)] {
                    ensure!(
                        first <= last,
                        "image.crop: {name} = [{first}, {last}], expected the first at or before the last"
                    );
                }
                Some(*crop)
            }
        };
        let device: DeviceChoice = if raw.models.device.is_empty() {
            DeviceChoice::Cpu
        } else {
            raw.models.device.parse().context("models.device")?
        };
        device.check()?;
        let weights_dirs = match surroundings.paths(&raw.models.weights_dirs) {
            dirs if dirs.is_empty() => surroundings.weights_dirs(),
            dirs => dirs,
        };
        Ok(Self {
            queue_capacity: in_range("queue.capacity", raw.queue.capacity, 1..=100_000)?,
            queue_max_bytes: in_range("queue.max_bytes", raw.queue.max_bytes, 65_536..=u64::MAX)?,
            default_deadline: milliseconds(
                "queue.default_deadline_ms",
                raw.queue.default_deadline_ms,
                1..=86_400_000,
            )?,
            n_workers: in_range("workers.count", raw.workers.count, 1..=256)?,
            n_threads: match in_range("workers.threads", raw.workers.threads, 0..=4096)? {
                0 => None,
                n_threads => Some(n_threads),
            },
            stall_timeout: milliseconds(
                "workers.stall_timeout_ms",
                raw.workers.stall_timeout_ms,
                1000..=86_400_000,
            )?,
            roots,
            max_file_bytes: in_range("paths.max_file_bytes", raw.paths.max_file_bytes, 1..=4 << 30)?,
            limits: Limits {
                max_rows: in_range("image.max_rows", image.max_rows, 1..=1_000_000)?,
                max_columns: in_range("image.max_columns", image.max_columns, 1..=1_000_000)?,
                max_pixels_bytes: in_range(
                    "image.max_decoded_bytes",
                    image.max_decoded_bytes,
                    1024..=16 << 30,
                )?,
            },
            preprocess: Preprocess {
                crop,
                colour: image.colour,
                reduce: in_range("image.reduce", image.reduce, 1..=64)?,
            },
            max_runs: in_range("runs.max_runs", raw.runs.max_runs, 1..=10_000)?,
            max_streams: in_range("runs.max_streams", raw.runs.max_streams, 1..=1000)?,
            remembered_replies: in_range(
                "runs.remembered_replies",
                raw.runs.remembered_replies,
                64..=100_000,
            )?,
            state_dir: surroundings.path(&raw.runs.state_dir),
            heat_map_dir: surroundings.path(&raw.runs.heat_map_dir),
            online: raw.online.clone(),
            models_dir: surroundings.path(&raw.models.models_dir),
            default_model: Some(raw.models.default.clone()).filter(|name| !name.is_empty()),
            weights_dirs,
            device,
            drain_timeout: milliseconds(
                "lifecycle.drain_timeout_ms",
                raw.lifecycle.drain_timeout_ms,
                0..=3_600_000,
            )?,
            log: resolve_log(&raw.log)?,
            sockets,
        })
    }
}

/// The log's settings alone, for commands that need no others.
///
/// # Errors
///
/// A format that is neither `text` nor `json`.
pub fn resolve_log(raw: &raw::Log) -> anyhow::Result<LogConfig> {
    let format = match raw.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => bail!("log.format is \"{other}\", expected \"text\" or \"json\""),
    };
    Ok(LogConfig { level: raw.level.clone(), format })
}

fn in_range<T: PartialOrd + Display + Debug>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> anyhow::Result<T> {
    ensure!(range.contains(&value), "{name} is {value}, expected {} to {}", range.start(), range.end());
    Ok(value)
}

fn milliseconds(name: &str, value: u64, range: RangeInclusive<u64>) -> anyhow::Result<Duration> {
    in_range(name, value, range).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    pub(super) fn surroundings() -> Surroundings {
        Surroundings {
            current_dir: "/home/user".into(),
            user: 1000,
            host_name: "node7".into(),
            ..Surroundings::default()
        }
    }

    pub(super) fn resolved(file: &str) -> anyhow::Result<Config> {
        let raw = join(Some((Path::new("test.toml"), file)), std::iter::empty(), &[])?;
        Config::resolve(&raw, &surroundings())
    }

    #[test]
    fn deployed_file_is_the_default_configuration_in_full() {
        let text = include_str!("../../../deploy/anomalyd.toml");
        let written: toml::Table = text.parse().unwrap();
        assert_eq!(written, toml::Table::try_from(RawConfig::default()).unwrap());
        assert_eq!(resolved(text).unwrap(), resolved("").unwrap());
    }

    #[test]
    fn deployed_file_says_something_about_every_setting() {
        let mut comments = 0;
        for line in include_str!("../../../deploy/anomalyd.toml").lines() {
            if line.starts_with('#') {
                comments += 1;
            } else if line.contains('=') {
                assert!(comments > 0, "no comment above: {line}");
                comments = 0;
            }
        }
    }

    #[test]
    fn tcp_endpoint_without_roots_is_refused() {
        let error = resolved("[sockets]\nservice = [\"tcp://127.0.0.1:0\"]\n").unwrap_err().to_string();
        assert!(error.contains("--roots"), "{error}");
        let config =
            resolved("[sockets]\nservice = [\"tcp://127.0.0.1:0\"]\n[paths]\nroots = [\"data\"]\n").unwrap();
        assert_eq!(config.roots, [Path::new("/home/user/data")]);
        assert_eq!(config.sockets.service, ["tcp://127.0.0.1:*"]);
        assert_eq!(resolved("").unwrap().roots, [Path::new("/")]);
    }

    #[test]
    fn value_outside_its_range_is_an_error_that_gives_the_range() {
        for (file, part) in [
            ("[queue]\ncapacity = 0", "queue.capacity is 0, expected 1 to 100000"),
            ("[image]\nreduce = 65", "image.reduce is 65, expected 1 to 64"),
            ("[image]\ncrop = \"papre\"", "expected \"none\", \"paper\""),
            ("[image]\ncrop = { rows = [2, 1], columns = [0, 1] }", "rows = [2, 1]"),
            ("[log]\nformat = \"xml\"", "expected \"text\" or \"json\""),
            ("[sockets]\nsocket_mode = \"rw\"", "octal"),
            ("[security]\nclient_keys_dir = \"keys\"", "needs security.server_key_file"),
            ("[sockets]\ncontrol = [\"udp://x:1\"]", "udp://x:1"),
            ("[sockets]\nservice = [\"ipc://relative\"]", "ipc://relative"),
            ("[sockets]\nservice = [\"tcp://127.0.0.1:70000\"]", "70000"),
        ] {
            let error = resolved(file).unwrap_err().to_string();
            assert!(error.contains(part), "{file}: {error}");
        }
    }

    #[test]
    fn crop_is_a_preset_or_intervals() {
        assert_eq!(resolved("[image]\ncrop = \"paper\"").unwrap().preprocess.crop, Some(Crop::PAPER));
        let crop = resolved("[image]\ncrop = { rows = [1, 2], columns = [3, 4] }").unwrap().preprocess.crop;
        assert_eq!(crop, Some(Crop { rows: [1, 2], columns: [3, 4] }));
    }
}
