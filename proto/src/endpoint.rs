//! The endpoint file: how a client finds the daemon (PROTOCOL.md, section 11). Reading and writing it is the caller's.

use std::fmt::Write as _;

use crate::error::excerpt;
use crate::identity::Instance;
use crate::limits::MAX_ENDPOINT_FILE_BYTES;

/// What an endpoint file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointFile {
    /// Endpoints of the service socket, the preferred one first; at least one.
    pub service: Vec<String>,
    /// Endpoints of the control socket, the preferred one first; at least one.
    pub control: Vec<String>,
    /// The life of the daemon that wrote the file.
    pub instance: Instance,
    /// Name of the daemon's node, as `gethostname` gives it.
    pub host: String,
    /// The daemon's process id, at least 1.
    pub pid: u32,
    /// Of the kernel that the daemon's node runs; empty: not known.
    pub boot_id: String,
    /// When the daemon started, seconds since 1970; 0: not known.
    pub started_unix_s: u64,
    /// CURVE public key, 40 characters of Z85; empty: no encryption.
    pub server_public_key: String,
}

/// Why an endpoint file cannot be used or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The file is larger than [`MAX_ENDPOINT_FILE_BYTES`].
    #[error(
        "endpoint file: expected at most {MAX_ENDPOINT_FILE_BYTES} bytes, found {0}; is it the right file?"
    )]
    TooLarge(usize),
    /// A line has no `=`, or is not UTF-8.
    #[error("endpoint file, line {line}: expected key=value in UTF-8, found {found}; is it the right file?")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Excerpt of the line.
        found: String,
    },
    /// A key that has to be there is missing.
    #[error("endpoint file: expected the key {0}, found none; is it the right file?")]
    Missing(&'static str),
    /// A key that may occur once occurs again.
    #[error("endpoint file: expected the key {0} once, found it twice")]
    Twice(&'static str),
    /// The value of a key is not what it has to be.
    #[error("endpoint file, key {key}: expected {expected}, found {found}")]
    Value {
        /// The key.
        key: &'static str,
        /// What the value has to be.
        expected: &'static str,
        /// Excerpt of the value.
        found: String,
    },
}

/// Why the daemon that wrote an endpoint file is known to be gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaleEndpoint {
    /// The node has been started anew since.
    #[error(
        "stale endpoint file: {host} has been restarted since (boot {found} then, {expected} now); start the daemon again"
    )]
    OtherBoot {
        /// The node.
        host: String,
        /// The boot id of the file.
        found: String,
        /// The node's boot id.
        expected: String,
    },
    /// The daemon's process has ended.
    #[error("stale endpoint file: process {pid} on {host} has ended; start the daemon again")]
    NoProcess {
        /// The node.
        host: String,
        /// The process id of the file.
        pid: u32,
    },
}

impl EndpointFile {
    /// The content of the file.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] if it could not be read again: a value with a line feed, no endpoint, pid 0, a key that is no Z85.
    pub fn format(&self) -> Result<String, EndpointError> {
        let mut content = String::from("protocol=ANOM1\n");
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let start = content.len();
            writeln!(content, "{key}={value}").expect("writing to a String does not fail");
            // Checked on the line as written: a line feed in a value would begin another key.
            if content[start..].matches('\n').count() > 1 {
                Err(excerpt(&content.as_bytes()[start..]))
            } else {
                Ok(())
            }
        };
        let mut write = |key: &'static str, value: &dyn std::fmt::Display| {
            line(key, value).map_err(|found| EndpointError::Value { key, expected: "one line", found })
        };
        for endpoint in &self.service {
            write("service", endpoint)?;
        }
        for endpoint in &self.control {
            write("control", endpoint)?;
        }
        write("instance", &self.instance)?;
        write("host", &self.host)?;
        write("pid", &self.pid)?;
        write("boot_id", &self.boot_id)?;
        write("started_unix_s", &self.started_unix_s)?;
        write("server_public_key", &self.server_public_key)?;
        EndpointFile::parse(content.as_bytes())?;
        Ok(content)
    }

    /// Reads the content of the file. Unknown keys and empty lines are skipped.
    ///
    /// # Errors
    ///
    /// [`EndpointError`]; a file of another protocol version is a `Value` error of the key `protocol`.
    pub fn parse(content: &[u8]) -> Result<EndpointFile, EndpointError> {
        if content.len() > MAX_ENDPOINT_FILE_BYTES {
            return Err(EndpointError::TooLarge(content.len()));
        }
        let mut lines = Vec::new();
        for (line_idx, line) in content.split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let pair = std::str::from_utf8(line).ok().and_then(|line| line.split_once('='));
            lines.push(pair.ok_or_else(|| EndpointError::Line { line: line_idx + 1, found: excerpt(line) })?);
        }
        let all =
            |key: &'static str| lines.iter().filter(move |(found, _)| *found == key).map(|(_, value)| *value);
        let one = |key: &'static str| {
            let mut values = all(key);
            let value = values.next();
            if values.next().is_some() { Err(EndpointError::Twice(key)) } else { Ok(value) }
        };
        let required = |key: &'static str| one(key)?.ok_or(EndpointError::Missing(key));
        let optional = |key: &'static str| Ok(one(key)?.unwrap_or_default());

        let protocol = required("protocol")?;
        if protocol != "ANOM1" {
            return Err(wrong("protocol", "ANOM1", protocol));
        }
        let endpoints = |key: &'static str| {
            let endpoints: Vec<String> = all(key).map(str::to_owned).collect();
            if let Some(endpoint) = endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
                return Err(wrong(key, "an endpoint as tcp://host:port or ipc:///path", endpoint));
            }
            if endpoints.is_empty() { Err(EndpointError::Missing(key)) } else { Ok(endpoints) }
        };
        let instance = required("instance")?;
        let host = required("host")?;
        let pid = required("pid")?;
        let started = optional("started_unix_s")?;
        let server_public_key = optional("server_public_key")?;
        if host.is_empty() {
            return Err(wrong("host", "a node's name", host));
        }
        if !server_public_key.is_empty() && !is_z85_key(server_public_key) {
            return Err(wrong("server_public_key", "40 characters of Z85, or nothing", server_public_key));
        }
        Ok(EndpointFile {
            service: endpoints("service")?,
            control: endpoints("control")?,
            instance: Instance::new(instance)
                .ok_or_else(|| wrong("instance", "1 to 64 visible ASCII characters", instance))?,
            host: host.to_owned(),
            pid: decimal(pid)
                .and_then(|pid| u32::try_from(pid).ok())
                .filter(|&pid| pid > 0)
                .ok_or_else(|| wrong("pid", "a process id", pid))?,
            boot_id: optional("boot_id")?.to_owned(),
            started_unix_s: if started.is_empty() {
                0
            } else {
                decimal(started).ok_or_else(|| wrong("started_unix_s", "seconds since 1970", started))?
            },
            server_public_key: server_public_key.to_owned(),
        })
    }

    /// Tells whether the daemon that wrote the file can still be there.
    ///
    /// - `host`: name of the caller's node; on another node than the daemon's nothing can be checked.
    /// - `boot_id`: of the caller's node; empty: not known, and not compared.
    /// - `pid_alive`: whether a process `self.pid` exists on the caller's node.
    ///
    /// # Errors
    ///
    /// [`StaleEndpoint`] if the daemon is gone.
    pub fn check(&self, host: &str, boot_id: &str, pid_alive: bool) -> Result<(), StaleEndpoint> {
        if host != self.host {
            return Ok(());
        }
        if !boot_id.is_empty() && !self.boot_id.is_empty() && boot_id != self.boot_id {
            let (found, expected) = (self.boot_id.clone(), boot_id.to_owned());
            return Err(StaleEndpoint::OtherBoot { host: host.to_owned(), found, expected });
        }
        if !pid_alive {
            return Err(StaleEndpoint::NoProcess { host: host.to_owned(), pid: self.pid });
        }
        Ok(())
    }

    /// The endpoint of the service socket for a client on `host`: the first on the daemon's own node, else the first
    /// `tcp://` one. None if the daemon cannot be reached from there.
    pub fn service_for(&self, host: &str) -> Option<&str> {
        self.choose(&self.service, host)
    }

    /// The endpoint of the control socket for a client on `host`, chosen as in [`EndpointFile::service_for`].
    pub fn control_for(&self, host: &str) -> Option<&str> {
        self.choose(&self.control, host)
    }

    fn choose<'a>(&self, endpoints: &'a [String], host: &str) -> Option<&'a str> {
        let is_here = host == self.host;
        endpoints.iter().find(|endpoint| is_here || endpoint.starts_with("tcp://")).map(String::as_str)
    }
}

fn wrong(key: &'static str, expected: &'static str, found: &str) -> EndpointError {
    EndpointError::Value { key, expected, found: excerpt(found.as_bytes()) }
}

/// Digits only: `str::parse` would also take a plus sign.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn is_endpoint(text: &str) -> bool {
    text.split_once("://").is_some_and(|(transport, address)| !transport.is_empty() && !address.is_empty())
}

/// Whether `text` is a CURVE key as ZeroMQ RFC 32 writes it.
fn is_z85_key(text: &str) -> bool {
    text.len() == 40
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:+=^!/*?&<>()[]{}@%$#".contains(&byte))
}
