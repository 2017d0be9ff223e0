//! The configuration: [`raw::RawConfig`] is what was written, [`Config`] what was meant. Only `Config` goes further.

mod layers;
pub mod raw;

pub use layers::join;

use crate::security::SecurityConfig;
use crate::sockets::{SocketsConfig, ipc_path};
use anomalyd_models::extractor::DeviceChoice;
use anomalyd_models::image::{Crop, Limits, Preprocess};
use anomalyd_models::online::OnlineParams;
use anyhow::{Context, bail, ensure};
use raw::{CropSetting, RawConfig};
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
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

/// What a configuration is completed with: facts about the user and the node.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Directory against which relative paths are read.
    pub current_dir: PathBuf,
    /// The user's number.
    pub user: u32,
    /// The node's name.
    pub host_name: String,
    /// Whether this process is a part of the simulation's MPI job, whose other ranks may run on other nodes.
    pub in_mpi_job: bool,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    ///
    /// If the current directory has been removed.
    pub fn of_process() -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self {
            xdg_runtime_dir: variable("XDG_RUNTIME_DIR"),
            xdg_data_home: variable("XDG_DATA_HOME"),
            home: variable("HOME"),
            current_dir: std::env::current_dir().context("the current directory")?,
            user: rustix::process::geteuid().as_raw(),
            host_name: crate::instance::host_name(),
            in_mpi_job: false,
        })
    }

    /// `text` as an absolute path; `None` where it is empty.
    fn path(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| self.current_dir.join(text))
    }

    fn paths(&self, texts: &[String]) -> Vec<PathBuf> {
        texts.iter().filter_map(|text| self.path(text)).collect()
    }

    /// The runtime directory where none is set.
    pub fn runtime_dir(&self) -> PathBuf {
        match &self.xdg_runtime_dir {
            Some(dir) => dir.join("anomalyd"),
            None => PathBuf::from(format!("/tmp/anomalyd-{}", self.user)),
        }
    }

    /// The directories of weights where none are set.
    pub fn weights_dirs(&self) -> Vec<PathBuf> {
        let data = self.xdg_data_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/share")));
        data.map(|data| data.join("anomalyd/weights")).into_iter().collect()
    }
}

/// Names of the sockets and the file in the runtime directory.
const SERVICE_SOCKET: &str = "service.sock";
const CONTROL_SOCKET: &str = "control.sock";
/// Name of the endpoint file in the runtime directory.
pub const ENDPOINT_FILE: &str = "endpoint";

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

fn resolve_sockets(
    raw: &raw::Sockets,
    security: &raw::Security,
    surroundings: &Surroundings,
) -> anyhow::Result<SocketsConfig> {
    let runtime_dir = surroundings.path(&raw.runtime_dir).unwrap_or_else(|| surroundings.runtime_dir());
    let in_runtime_dir = |name: &str| {
        let path = runtime_dir.join(name);
        path.to_str()
            .map(|path| format!("ipc://{path}"))
            .context("sockets.runtime_dir is not UTF-8, which endpoints must be")
    };
    let is_for_job = raw.service.is_empty() && raw.control.is_empty() && surroundings.in_mpi_job;
    let service = if is_for_job {
        // An abstract name, since nothing would remove the files of all jobs; what lets nobody else in is the key.
        vec![format!("ipc://@anomalyd-{}-{}", surroundings.user, std::process::id()), "tcp://*:*".to_owned()]
    } else if raw.service.is_empty() {
        vec![in_runtime_dir(SERVICE_SOCKET)?]
    } else {
        checked_endpoints(&raw.service)?
    };
    let control = if raw.control.is_empty() {
        service.iter().map(|endpoint| control_beside(endpoint)).collect()
    } else {
        checked_endpoints(&raw.control)?
    };
    let socket_mode = u32::from_str_radix(&raw.socket_mode, 8)
        .ok()
        .filter(|mode| mode & !0o777 == 0 && mode & 0o600 == 0o600);
    let client_keys_dir = surroundings.path(&security.client_keys_dir);
    let security = match surroundings.path(&security.server_key_file) {
        Some(path) => Some(SecurityConfig { server_key_file: Some(path), client_keys_dir }),
        None if is_for_job && client_keys_dir.is_none() => {
            Some(SecurityConfig { server_key_file: None, client_keys_dir })
        }
        None => {
            ensure!(
                client_keys_dir.is_none(),
                "security.client_keys_dir needs security.server_key_file: make one with `anomalyd keygen`"
            );
            None
        }
    };
    Ok(SocketsConfig {
        security,
        service,
        control,
        endpoint_file: surroundings
            .path(&raw.endpoint_file)
            .unwrap_or_else(|| runtime_dir.join(ENDPOINT_FILE)),
        runtime_dir,
        advertise_host: match raw.advertise_host.as_str() {
            "" => surroundings.host_name.clone(),
            host => host.to_owned(),
        },
        socket_mode: socket_mode.with_context(|| {
            format!(
                "sockets.socket_mode is \"{}\", expected an octal mode from \"0600\" to \"0777\"",
                raw.socket_mode
            )
        })?,
        max_message_bytes: in_range("sockets.max_message_bytes", raw.max_message_bytes, 65_536..=4 << 30)?,
        send_high_water_mark: in_range(
            "sockets.send_high_water_mark",
            raw.send_high_water_mark,
            1..=100_000,
        )?,
        handshake_timeout: milliseconds(
            "sockets.handshake_timeout_ms",
            raw.handshake_timeout_ms,
            100..=300_000,
        )?,
        linger: milliseconds("sockets.linger_ms", raw.linger_ms, 0..=60_000)?,
    })
}

fn checked_endpoints(endpoints: &[String]) -> anyhow::Result<Vec<String>> {
    for endpoint in endpoints {
        let is_sound = match endpoint.split_once("://") {
            Some(("ipc", path)) => path.starts_with('@') || Path::new(path).is_absolute(),
            Some(("tcp", address)) => address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && (port == "*" || port.parse::<u16>().is_ok())),
            _ => false,
        };
        ensure!(
            is_sound,
            "endpoint \"{endpoint}\": expected ipc:///ABSOLUTE/PATH, ipc://@NAME or tcp://ADDRESS:PORT (port * or 0: any)"
        );
    }
    // ZeroMQ takes `*` for any port; everyone else writes 0.
    let any_port = |endpoint: &String| match endpoint.strip_suffix(":0") {
        Some(address) if endpoint.starts_with("tcp://") => format!("{address}:*"),
        _ => endpoint.clone(),
    };
    Ok(endpoints.iter().map(any_port).collect())
}

/// The control endpoint that goes with a service endpoint where none is set.
fn control_beside(service: &str) -> String {
    if let Some((address, _)) = service.rsplit_once(':').filter(|_| service.starts_with("tcp://")) {
        return format!("{address}:*");
    }
    match ipc_path(service) {
        Some(path) if path.ends_with(SERVICE_SOCKET) => {
            format!("ipc://{}", path.with_file_name(CONTROL_SOCKET).display())
        }
        _ => format!("{service}.control"),
    }
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

    fn surroundings() -> Surroundings {
        Surroundings {
            current_dir: "/home/user".into(),
            user: 1000,
            host_name: "node7".into(),
            ..Surroundings::default()
        }
    }

    fn resolved(file: &str) -> anyhow::Result<Config> {
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
    fn runtime_directory_is_the_users_own() {
        let sockets = resolved("").unwrap().sockets;
        assert_eq!(sockets.service, ["ipc:///tmp/anomalyd-1000/service.sock"]);
        assert_eq!(sockets.control, ["ipc:///tmp/anomalyd-1000/control.sock"]);
        assert_eq!(sockets.endpoint_file, Path::new("/tmp/anomalyd-1000/endpoint"));
        let with_xdg = Surroundings { xdg_runtime_dir: Some("/run/user/1000".into()), ..surroundings() };
        let sockets = Config::resolve(&RawConfig::default(), &with_xdg).unwrap().sockets;
        assert_eq!(sockets.service, ["ipc:///run/user/1000/anomalyd/service.sock"]);
    }

    #[test]
    fn control_socket_goes_beside_the_service_socket() {
        for (service, control) in [
            ("ipc:///x/service.sock", "ipc:///x/control.sock"),
            ("ipc:///x/a", "ipc:///x/a.control"),
            ("ipc://@a", "ipc://@a.control"),
            ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:*"),
        ] {
            assert_eq!(control_beside(service), control);
        }
    }

    #[test]
    fn endpoints_of_an_mpi_job_reach_other_nodes_and_are_closed_to_other_users() {
        let within = |file: &str| {
            let raw = join(Some((Path::new("test.toml"), file)), std::iter::empty(), &[]).unwrap();
            Config::resolve(&raw, &Surroundings { in_mpi_job: true, ..surroundings() })
        };
        let config = within("").unwrap();
        assert!(config.sockets.service[0].starts_with("ipc://@anomalyd-1000-"), "{:?}", config.sockets);
        assert_eq!(config.sockets.service[1], "tcp://*:*");
        assert!(config.sockets.control[0].ends_with(".control"), "{:?}", config.sockets);
        assert_eq!(config.sockets.control[1], "tcp://*:*");
        let fresh = SecurityConfig { server_key_file: None, client_keys_dir: None };
        assert_eq!(config.sockets.security, Some(fresh));
        assert_eq!(config.roots, [Path::new("/")]);
        // What is configured is respected, and so are the rules for it.
        let tcp = "[sockets]\nservice = [\"tcp://*:0\"]\n";
        assert!(within(tcp).unwrap_err().to_string().contains("--roots"));
        let config = within(&format!("{tcp}[paths]\nroots = [\"data\"]\n")).unwrap();
        assert_eq!((config.sockets.service, config.sockets.security), (vec!["tcp://*:*".into()], None));
        let keyed = within("[security]\nserver_key_file = \"k\"\n").unwrap_err().to_string();
        assert!(keyed.contains("--roots"), "{keyed}");
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
