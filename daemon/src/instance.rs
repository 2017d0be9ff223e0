//! What names this life of the daemon: its instance id, its node, and the endpoint file that tells clients about it.

use anomalyd_proto::{EndpointFile, Instance};
use anyhow::Context;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A new instance id: 32 hexadecimal digits that no other life of a daemon has.
///
/// # Errors
///
/// If the system's random source cannot be read.
pub fn new_instance() -> anyhow::Result<Instance> {
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("while reading /dev/urandom")?;
    Instance::new(hex(&bytes)).context("an instance id that the protocol does not allow; this is a bug")
}

/// `bytes` in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The node's name, as `gethostname` gives it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The id of the running kernel's boot; empty where /proc does not show it, as under systemd's `ProcSubset=pid`.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The endpoint file of a running daemon; removed when dropped, if it is still this daemon's.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    instance: String,
}

impl Published {
    /// Writes `content` to `path` by writing another file beside it, mode 0600, and renaming that.
    ///
    /// # Errors
    ///
    /// If the directory is missing or cannot be written.
    pub fn write(path: &Path, content: &EndpointFile) -> anyhow::Result<Self> {
        let text = content.format().context("the endpoint file")?;
        let mut name = path.file_name().context("the endpoint file's path has no file name")?.to_owned();
        name.push(format!(".{}.tmp", content.instance));
        let beside = path.with_file_name(name);
        let write = || -> std::io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&beside, path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&beside))).with_context(|| {
            format!(
                "while writing the endpoint file {}: its directory must exist and be writable",
                path.display()
            )
        })?;
        Ok(Self { path: path.to_owned(), instance: content.instance.as_str().to_owned() })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let is_ours = fs::read_to_string(&self.path).is_ok_and(|text| {
            text.lines().any(|line| line.strip_prefix("instance=") == Some(self.instance.as_str()))
        });
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the endpoint file cannot be removed");
        }
    }
}
