//! What was written: the settings as they stand in a file, a variable or a flag, before anything is checked.

use anomalyd_models::image::{Colour, Crop, Limits, Preprocess};
use anomalyd_models::online::OnlineParams;
use serde::{Deserialize, Serialize};

/// All settings, in the shape of `deploy/anomalyd.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Where the daemon listens.
    pub sockets: Sockets,
    /// Encryption, and the admission of clients.
    pub security: Security,
    /// Requests that wait for a worker.
    pub queue: Queue,
    /// Threads that judge.
    pub workers: Workers,
    /// Image files that clients name.
    pub paths: Paths,
    /// From an image file to the pixels that are judged.
    pub image: Image,
    /// Simulation runs that are remembered.
    pub runs: Runs,
    /// Judgement within a run.
    pub online: OnlineParams,
    /// Fitted models and the weights of extractors.
    pub models: Models,
    /// The end of the process.
    pub lifecycle: Lifecycle,
    /// The log on standard error.
    pub log: Log,
}

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sockets {
    /// Endpoints of the service socket, `ipc://PATH` or `tcp://ADDRESS:PORT` (port `*` or 0: any free one), the preferred
    /// one first. Empty: `service.sock` in the runtime directory.
    pub service: Vec<String>,
    /// Endpoints of the control socket. Empty: `control.sock` in the runtime directory, or, where `service` names a
    /// TCP address, any free port of that address.
    pub control: Vec<String>,
    /// Directory of the sockets, the lock and the endpoint file; made with mode 0700 where it is missing. Empty:
    /// `$XDG_RUNTIME_DIR/anomalyd`, else `/tmp/anomalyd-UID`.
    pub runtime_dir: String,
    /// File that tells clients where the daemon is. Empty: `endpoint` in the runtime directory.
    pub endpoint_file: String,
    /// Host name or address to publish in place of the wildcard in `tcp://*:PORT`. Empty: the node's name.
    pub advertise_host: String,
    /// Permissions of the ipc sockets, octal: `0600` lets their owner in, `0660` the group as well.
    pub socket_mode: String,
    /// Largest message taken, in bytes; 65,536 to 4,294,967,296. Bounds the subject kind `image`.
    pub max_message_bytes: u64,
    /// Replies kept for a client that does not read them, before further ones are dropped; 1 to 100,000.
    pub send_high_water_mark: u32,
    /// Time a peer has for the ZeroMQ handshake, in milliseconds; 100 to 300,000.
    pub handshake_timeout_ms: u64,
    /// Time that the last replies are given to leave at the end, in milliseconds; 0 to 60,000.
    pub linger_ms: u64,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            service: Vec::new(),
            control: Vec::new(),
            runtime_dir: String::new(),
            endpoint_file: String::new(),
            advertise_host: String::new(),
            socket_mode: "0600".into(),
            max_message_bytes: 64 << 20,
            send_high_water_mark: 1000,
            handshake_timeout_ms: 10_000,
            linger_ms: 1000,
        }
    }
}

/// Encryption, and the admission of clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// File with the daemon's CURVE keys, as `anomalyd keygen` writes it, readable by its owner only. Empty: no encryption.
    pub server_key_file: String,
    /// Directory with the public key file (`*.public`) of each client that is admitted; read for each handshake. Empty: who
    /// knows the daemon's public key is admitted. Needs `server_key_file`.
    pub client_keys_dir: String,
}

/// Requests that wait for a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Requests that may wait; 1 to 100,000. One more is answered 429 at once.
    pub capacity: usize,
    /// Bytes that the waiting requests may hold together; 65,536 or more. Matters for the subject kind `image`.
    pub max_bytes: u64,
    /// Deadline of a request that names none, in milliseconds from its receipt; 1 to 86,400,000.
    pub default_deadline_ms: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { capacity: 64, max_bytes: 256 << 20, default_deadline_ms: 60_000 }
    }
}

/// Threads that judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workers {
    /// Images judged at the same time; 1 to 256. One judgement already uses all cores for its larger parts, so more than 1
    /// pays where several runs share the daemon. Images of one run are judged one after the other in any case.
    pub count: usize,
    /// Threads that compute, which all judgements share; 1 to 4,096, at most as many as the affinity mask and the control group's quota
    /// of the process allow. 0: as many as they allow.
    pub threads: usize,
    /// Time without progress, while there is work, after which the daemon counts as stalled, in milliseconds; 1000 or
    /// more. The service manager's watchdog is then no longer fed, and `anomalyd health` says CRITICAL.
    pub stall_timeout_ms: u64,
}

impl Default for Workers {
    fn default() -> Self {
        Self { count: 1, threads: 0, stall_timeout_ms: 120_000 }
    }
}

/// Image files that clients name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Directories below which images may lie; a path elsewhere is answered 403, also where `..` or a symbolic link leads
    /// there. Empty: `/`, which is refused with a TCP endpoint: say there what its clients may name.
    pub roots: Vec<String>,
    /// Largest image file read, in bytes; 1 to 4,294,967,296.
    pub max_file_bytes: u64,
}

impl Default for Paths {
    fn default() -> Self {
        Self { roots: Vec::new(), max_file_bytes: 256 << 20 }
    }
}

/// From an image file to the pixels that are judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// `"none"`, `"paper"` (rows 122 to 601, columns 257 to 1212), or `{ rows = [first, last], columns = [first, last] }`,
    /// inclusive, counted from 0.
    pub crop: CropSetting,
    /// `"grey"` (Rec. 601 luma) or `"rgb"`.
    pub colour: Colour,
    /// Side of the boxes of pixels that are averaged into one; 1 to 64, 1 leaves the image as it is.
    pub reduce: usize,
    /// Largest image height, in pixels; 1 to 1,000,000.
    pub max_rows: usize,
    /// Largest image width, in pixels; 1 to 1,000,000.
    pub max_columns: usize,
    /// Largest decoded image, in bytes; 1024 to 17,179,869,184.
    pub max_decoded_bytes: u64,
}

impl Default for Image {
    fn default() -> Self {
        let (preprocess, limits) = (Preprocess::default(), Limits::default());
        Self {
            crop: preprocess.crop.map_or_else(|| CropSetting::Named("none".into()), CropSetting::Intervals),
            colour: preprocess.colour,
            reduce: preprocess.reduce,
            max_rows: limits.max_rows,
            max_columns: limits.max_columns,
            max_decoded_bytes: limits.max_pixels_bytes,
        }
    }
}

/// The part of an image that is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CropSetting {
    /// `"none"` or `"paper"`.
    Named(String),
    /// Rows and columns, inclusive.
    Intervals(Crop),
}

/// Simulation runs that are remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runs {
    /// Runs remembered at the same time; 1 to 10,000. One more makes the daemon forget the run that was used least recently.
    pub max_runs: usize,
    /// Streams of one run, its outputs per step (variables, slices); 1 to 1,000. Each has a pool of its own, in memory.
    pub max_streams: usize,
    /// Replies remembered for each run, with which retries are answered; 64 to 100,000.
    pub remembered_replies: usize,
    /// Directory that runs are stored in, so that they outlive the daemon's process; made with mode 0700 if missing, and of one
    /// daemon at a time. Each image that a run holds a state of (`online.max_snapshots` and some 40 more) takes about its own
    /// pixels: 570 kB at the paper's crop, 185 MB a stream; up to 64 that it has forgotten may still lie there. Empty: runs are
    /// remembered in memory, until the end of the process.
    pub state_dir: String,
    /// Directory that the heat map of every alarm is written to, as `run-NAME-step-STEP.png` (with a stream:
    /// `run-NAME-stream-STREAM-step-STEP.png`); made if missing. Empty: none are written.
    pub heat_map_dir: String,
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            max_runs: 16,
            max_streams: 16,
            remembered_replies: 64,
            state_dir: String::new(),
            heat_map_dir: String::new(),
        }
    }
}

/// Fitted models and the weights of extractors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// Directory with one artefact directory a model, as `anomalyd fit` writes them; the directory's name is the model's.
    /// Empty: no models.
    pub models_dir: String,
    /// Model of a request without a run and without the option `model`. Empty: the only one there is, if there is one only.
    pub default: String,
    /// Directories searched for weights files. Empty: `$XDG_DATA_HOME/anomalyd/weights`, else
    /// `~/.local/share/anomalyd/weights`.
    pub weights_dirs: Vec<String>,
    /// `"cpu"`, `"cpu:f32"` (not by AMX), `"cpu:bf16"` (by AMX, rounded), `"cpu:int8"` (by AVX-512 VNNI or AMX, in 8
    /// bits) or, in a build with the feature `cuda`, `"cuda:N"`, `"cuda:N:f16"` or `"cuda:N:bf16"`. Empty: `"cpu"`.
    pub device: String,
}

/// The end of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifecycle {
    /// Time that waiting requests are given after SIGTERM or `DRAIN`, in milliseconds; 0 to 3,600,000. What is then still
    /// waiting is answered 503.
    pub drain_timeout_ms: u64,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { drain_timeout_ms: 25_000 }
    }
}

/// The log on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,anomalyd::server=debug`.
    pub level: String,
    /// `text`, or `json` with one object a line.
    pub format: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}
