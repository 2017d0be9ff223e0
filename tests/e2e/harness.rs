//! Starts daemons, speaks raw frames, writes images.

use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_anomalyd");
const START_LIMIT: Duration = Duration::from_secs(30);
const REPLY_LIMIT_MS: i32 = 30_000;

/// A directory for one test, with a place for images; not below TMPDIR, which may be too long for an ipc path.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("anomalyd-").tempdir_in("/tmp").unwrap();
    fs::create_dir(directory.path().join("images")).unwrap();
    directory
}

/// One life of the daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) directory: PathBuf,
    pub(crate) endpoints: HashMap<String, String>,
    process: Child,
}

impl Daemon {
    /// Starts a daemon in `directory` with further settings (TOML), and waits until it is ready.
    pub(crate) fn start(directory: &Path, settings: &str) -> Self {
        Self::wait_for(directory, spawn(directory, settings))
    }

    /// Waits until `process`, started in `directory`, is ready.
    pub(crate) fn wait_for(directory: &Path, process: Child) -> Self {
        let mut daemon = Self { directory: directory.to_owned(), endpoints: HashMap::new(), process };
        let limit = Instant::now() + START_LIMIT;
        let pid = daemon.process.id().to_string();
        while daemon.endpoints.get("pid") != Some(&pid) {
            daemon.endpoints = endpoints(&daemon.endpoint_file());
            let ended = daemon.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < limit, "the daemon did not start:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    pub(crate) fn endpoint_file(&self) -> PathBuf {
        self.directory.join("endpoint")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let limit = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < limit, "the daemon did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One request to the service socket, over a socket of its own.
    pub(crate) fn ask(&self, frames: &[&[u8]]) -> Reply {
        self.client("service").ask(frames)
    }

    /// One command to the control socket.
    pub(crate) fn control(&self, command: &str) -> Reply {
        self.client("control").ask(&[b"ANOM1", command.as_bytes(), b"control", b"0"])
    }

    /// Asks for the judgement of an image file, with a request id of its own.
    pub(crate) fn classify(&self, run: &str, step: i64, path: &Path) -> Reply {
        self.client("service").ask(&frames_of(&fresh_id(), 0, run, step, path).each_ref().map(Vec::as_slice))
    }

    pub(crate) fn rewind(&self, run: &str, step: i64) -> Reply {
        let (id, step) = (fresh_id(), step.to_string());
        self.ask(&[b"ANOM1", b"REWIND", id.as_bytes(), b"0", run.as_bytes(), step.as_bytes()])
    }

    pub(crate) fn label(&self, run: &str, step: i64, label: &str) -> Reply {
        let (id, step) = (fresh_id(), step.to_string());
        let (id, run, step, label) = (id.as_bytes(), run.as_bytes(), step.as_bytes(), label.as_bytes());
        self.ask(&[b"ANOM1", b"LABEL", id, b"0", run, step, b"label", label])
    }

    /// A DEALER that may have many requests in flight.
    pub(crate) fn client(&self, socket: &str) -> Client {
        Client::connect(&self.endpoints[socket])
    }

    /// Runs a command of the binary that finds this daemon by its endpoint file.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command(arguments).env("ANOMALYD_ENDPOINT_FILE", self.endpoint_file()).output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, in the tests of its end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary with `arguments`, untouched by the variables of whoever runs the tests.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ANOMALYD_")) {
        command.env_remove(name);
    }
    command
}

/// Starts a daemon without waiting for it.
pub(crate) fn spawn(directory: &Path, settings: &str) -> Child {
    serve(directory, settings).spawn().unwrap()
}

/// The command that starts a daemon.
pub(crate) fn serve(directory: &Path, settings: &str) -> Command {
    let config = directory.join("anomalyd.toml");
    let text = format!(
        "sockets.runtime_dir = {:?}\nsockets.endpoint_file = {:?}\npaths.roots = [{:?}]\n{settings}\n",
        directory.join("runtime"),
        directory.join("endpoint"),
        directory.join("images")
    );
    fs::write(&config, text).unwrap();
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = command(&["serve", "--config", config.to_str().unwrap()]);
    command.stdout(Stdio::null()).stderr(log);
    command
}

fn endpoints(path: &Path) -> HashMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

/// A request id that was not used before.
pub(crate) fn fresh_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("id-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The frames of a CLASSIFY.
pub(crate) fn frames_of(id: &str, deadline_ms: u32, run: &str, step: i64, path: &Path) -> [Vec<u8>; 8] {
    [
        b"ANOM1".to_vec(),
        b"CLASSIFY".to_vec(),
        id.into(),
        deadline_ms.to_string().into(),
        run.into(),
        step.to_string().into(),
        b"path".to_vec(),
        path.to_str().unwrap().into(),
    ]
}

/// A client that may have many requests in flight.
pub(crate) struct Client {
    socket: zmq::Socket,
}

impl Client {
    fn connect(endpoint: &str) -> Self {
        let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(REPLY_LIMIT_MS).unwrap();
        socket.connect(endpoint).unwrap();
        Self { socket }
    }

    pub(crate) fn send<T: AsRef<[u8]>>(&self, frames: &[T]) {
        let frames = std::iter::once(&b""[..]).chain(frames.iter().map(AsRef::as_ref));
        self.socket.send_multipart(frames, 0).unwrap();
    }

    /// The next reply, whosever it is.
    pub(crate) fn receive(&self) -> Reply {
        self.receive_within(REPLY_LIMIT_MS.into()).expect("a reply within the time limit")
    }

    /// The next reply, if one comes within so many milliseconds.
    pub(crate) fn receive_within(&self, milliseconds: i64) -> Option<Reply> {
        let ready = self.socket.poll(zmq::POLLIN, milliseconds).unwrap() > 0;
        let frames = ready.then(|| self.socket.recv_multipart(0).unwrap())?;
        assert!(
            frames.len() >= 10 && frames[0].is_empty(),
            "a delimiter and nine frames at least: {frames:?}"
        );
        let text = |idx: usize| String::from_utf8(frames[idx + 1].clone()).unwrap();
        assert_eq!(text(0), "ANOM1");
        Some(Reply {
            id: text(1),
            status: text(2).parse().unwrap(),
            verdict: text(3),
            score: text(4).parse().unwrap(),
            step: text(6),
            instance: text(7),
            text: text(8),
            detail: frames.get(10).map_or(Value::Null, |bytes| serde_json::from_slice(bytes).unwrap()),
            heat_map: frames.get(11).cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn ask<T: AsRef<[u8]>>(&self, frames: &[T]) -> Reply {
        self.send(frames);
        self.receive()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) status: u16,
    pub(crate) verdict: String,
    pub(crate) score: f64,
    pub(crate) step: String,
    pub(crate) instance: String,
    pub(crate) text: String,
    pub(crate) detail: Value,
    pub(crate) heat_map: Vec<u8>,
}

impl Reply {
    pub(crate) fn pool_size(&self) -> u64 {
        self.detail["pool"]["size"].as_u64().unwrap_or_else(|| panic!("no pool in {self:?}"))
    }
}

/// A binary PPM of `rows` x `columns` pixels of noise over a pattern that moves with `step`.
pub(crate) fn ppm(rows: usize, columns: usize, step: usize) -> Vec<u8> {
    let mut bytes = format!("P6\n{columns} {rows}\n255\n").into_bytes();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64.wrapping_add(step as u64);
    for row in 0..rows {
        for column in 0..columns {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let level = ((row / 7 + column / 5 + step) % 24) * 10 + (noise >> 61) as usize;
            bytes.extend([level as u8, (level / 2) as u8, 255 - level as u8]);
        }
    }
    bytes
}

/// Writes an image into the daemon's root.
pub(crate) fn image(daemon: &Daemon, name: &str, rows: usize, columns: usize) -> PathBuf {
    let path = daemon.images().join(name);
    fs::write(&path, ppm(rows, columns, 0)).unwrap();
    path
}

/// Pixels of a [`scene`].
pub(crate) const ROWS: usize = 120;
pub(crate) const COLUMNS: usize = 160;
/// Rows and columns of its fault.
pub(crate) const FAULT: [std::ops::Range<usize>; 2] = [60..76, 100..116];

/// A smooth pattern that moves with `step`, and on demand a square of light; written as a binary PPM.
pub(crate) fn scene(daemon: &Daemon, step: i64, with_fault: bool) -> PathBuf {
    let mut bytes = format!("P6\n{COLUMNS} {ROWS}\n255\n").into_bytes();
    let mut noise = step as u64 + 1;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (y, x, t) = (row as f64, column as f64, step as f64);
            let wave = (0.11 * x + 0.3 * t).sin() + (0.07 * y - 0.2 * t + 0.03 * x).cos();
            let lit = with_fault && FAULT[0].contains(&row) && FAULT[1].contains(&column);
            let level = if lit { 250 } else { (100.0 + 35.0 * wave) as u8 + (noise >> 61) as u8 };
            bytes.extend([level, level / 2, 200]);
        }
    }
    let path = daemon.images().join(format!("{step}-{with_fault}.ppm"));
    fs::write(&path, bytes).unwrap();
    path
}
