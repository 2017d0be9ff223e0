//! Asks a running daemon, by the client rules of PROTOCOL.md section 12; for `classify` and `health`.

use crate::cli::KeyArgs;
use crate::config::{ENDPOINT_FILE, Surroundings};
use crate::fault::escaped;
use crate::instance;
use crate::security::{KeyPair, read_public_key};
use anomalyd_proto::{EndpointFile, Reply, Request, RequestId, Socket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the endpoint.
    #[error("no daemon answers at {0}: is it running there?")]
    Unavailable(String),
    /// The answer did not come in time.
    #[error("the daemon at {endpoint} did not answer within {timeout_ms} ms")]
    Timeout {
        /// Where.
        endpoint: String,
        /// The time given.
        timeout_ms: u128,
    },
    /// The endpoint file is that of a daemon that has gone, or is no endpoint file.
    #[error("{path}: {reason}", path = path.display())]
    EndpointFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The request or the endpoint cannot be sent.
    #[error("{0}")]
    Invalid(String),
}

/// Where a daemon was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The endpoint of the socket asked for.
    pub endpoint: String,
    /// CURVE public key of the daemon; empty: no encryption.
    pub server_public_key: String,
    /// CURVE keys of this client; `None`: a pair made for the call.
    pub client_keys: Option<KeyPair>,
}

impl Found {
    /// At `endpoint`, behind which the daemon's public key may stand (PROTOCOL.md, 12.3).
    fn at(endpoint: String) -> Self {
        let (endpoint, key) = match endpoint.split_once("?server_public_key=") {
            Some((endpoint, key)) => (endpoint.to_owned(), key.to_owned()),
            None => (endpoint, String::new()),
        };
        Self { endpoint, server_public_key: key, client_keys: None }
    }

    /// Reads the key files that the command line names.
    ///
    /// # Errors
    ///
    /// A file without a key, or with a secret that others can read.
    pub fn with_keys(mut self, keys: &KeyArgs) -> anyhow::Result<Self> {
        if let Some(path) = &keys.server_key {
            self.server_public_key = read_public_key(path)?;
        }
        self.client_keys = keys.client_key.as_deref().map(KeyPair::read).transpose()?;
        Ok(self)
    }
}

/// Looks for a daemon: by `argument`, by `ANOMALYD_ENDPOINT` (service socket), by the file that `ANOMALYD_ENDPOINT_FILE`
/// names, by the endpoint file in the user's runtime directory. `None` if nothing points to one.
///
/// # Errors
///
/// A file that is named but missing, malformed, or that of a daemon which has gone.
pub fn find(
    argument: Option<&str>,
    socket: Socket,
    surroundings: &Surroundings,
) -> Result<Option<Found>, ClientError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let direct = argument.map(str::to_owned).or_else(|| match socket {
        Socket::Service => variable("ANOMALYD_ENDPOINT"),
        Socket::Control => None,
    });
    if let Some(endpoint) = direct {
        return Ok(Some(Found::at(endpoint)));
    }
    if let Some(path) = variable("ANOMALYD_ENDPOINT_FILE") {
        return read_endpoint_file(Path::new(&path), socket).map(Some);
    }
    // The service socket answers STATUS as well.
    if let Some(endpoint) = variable("ANOMALYD_ENDPOINT") {
        return Ok(Some(Found::at(endpoint)));
    }
    let runtime_dir =
        variable("ANOMALYD_RUNTIME_DIR").map_or_else(|| surroundings.runtime_dir(), PathBuf::from);
    let path = runtime_dir.join(ENDPOINT_FILE);
    if path.exists() { read_endpoint_file(&path, socket).map(Some) } else { Ok(None) }
}

fn read_endpoint_file(path: &Path, socket: Socket) -> Result<Found, ClientError> {
    let failed = |reason: String| ClientError::EndpointFile { path: path.to_owned(), reason };
    let content = std::fs::read(path)
        .map_err(|error| failed(format!("{error}; a daemon writes it when it is ready")))?;
    let file = EndpointFile::parse(&content).map_err(|error| failed(error.to_string()))?;
    let host = instance::host_name();
    file.check(&host, &instance::boot_id(), process_exists(file.pid))
        .map_err(|error| failed(error.to_string()))?;
    let endpoint = match socket {
        Socket::Service => file.service_for(&host),
        Socket::Control => file.control_for(&host),
    };
    let endpoint = endpoint
        .ok_or_else(|| failed(format!("the daemon on {} has no tcp:// endpoint for {host}", file.host)))?;
    Ok(Found { server_public_key: file.server_public_key.clone(), ..Found::at(endpoint.to_owned()) })
}

fn process_exists(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    // Another user's process may not be signalled, and exists.
    !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// A request id that no other request of this process or its neighbours has.
pub fn new_request_id() -> RequestId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text =
        format!("{}-{}-{}", std::process::id(), since.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed));
    // Three numbers of at most 20 digits, 62 bytes with their hyphens; nanoseconds have 19 digits until the year 2262.
    RequestId::new(text).unwrap_or_else(|| unreachable!("three numbers make a request id"))
}

/// Sends `request` to `found` and waits for its answer, `timeout` in all.
///
/// # Errors
///
/// [`ClientError`]; no verdict may then be assumed.
pub fn ask(found: &Found, request: &Request, timeout: Duration) -> Result<Reply, ClientError> {
    let deadline = Instant::now() + timeout;
    let Found { endpoint, .. } = found;
    let invalid = |error: zmq::Error| {
        ClientError::Invalid(format!("endpoint {}: {error}", escaped(endpoint.as_bytes())))
    };
    let frames = request.encode().map_err(|error| ClientError::Invalid(error.to_string()))?;
    let context = zmq::Context::new();
    let socket = context.socket(zmq::REQ).map_err(invalid)?;
    socket.set_linger(0).map_err(invalid)?;
    // Without a connection a message is not taken, which tells an absent daemon from a slow one.
    socket.set_immediate(true).map_err(invalid)?;
    socket.set_req_relaxed(true).map_err(invalid)?;
    socket.set_req_correlate(true).map_err(invalid)?;
    socket.set_ipv6(endpoint.contains('[')).map_err(invalid)?;
    secure(&socket, found)?;
    socket.connect(endpoint).map_err(invalid)?;
    if !wait(&socket, zmq::POLLOUT, deadline) {
        return Err(ClientError::Unavailable(endpoint.clone()));
    }
    socket.send_multipart(frames, zmq::DONTWAIT).map_err(|_| ClientError::Unavailable(endpoint.clone()))?;
    while wait(&socket, zmq::POLLIN, deadline) {
        let Ok(frames) = socket.recv_multipart(zmq::DONTWAIT) else { continue };
        // What is not the answer to this very request is not taken.
        if let Ok(reply) = Reply::decode(&frames)
            && reply.request_id.as_ref() == Some(&request.request_id)
            && (reply.step == request.step || reply.step.is_none())
        {
            return Ok(reply);
        }
    }
    Err(ClientError::Timeout { endpoint: endpoint.clone(), timeout_ms: timeout.as_millis() })
}

/// Encrypts the connection if the daemon has a public key.
fn secure(socket: &zmq::Socket, found: &Found) -> Result<(), ClientError> {
    if found.server_public_key.is_empty() {
        return Ok(());
    }
    let pair = found.client_keys.clone().map_or_else(KeyPair::generate, Ok);
    pair.and_then(|pair| pair.join(socket, &found.server_public_key))
        .map_err(|error| ClientError::Invalid(format!("{error:#}")))
}

/// True when `event` is there, false when `deadline` has come.
fn wait(socket: &zmq::Socket, event: zmq::PollEvents, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
        match socket.poll(event, left_ms) {
            Ok(n) if n > 0 => return true,
            Ok(_) if left.is_zero() => return false,
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyd_proto::Command;

    fn ping() -> Request {
        Request::new(Command::Ping, new_request_id())
    }

    fn at(endpoint: &str) -> Found {
        Found::at(endpoint.to_owned())
    }

    #[test]
    fn absent_daemon_is_unavailable_within_the_time_given() {
        let start = Instant::now();
        let error =
            ask(&at("ipc:///nonexistent/anomalyd.sock"), &ping(), Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ClientError::Unavailable(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn silent_daemon_is_a_time_out() {
        let context = zmq::Context::new();
        let silent = context.socket(zmq::ROUTER).unwrap();
        silent.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = silent.get_last_endpoint().unwrap().unwrap();
        let error = ask(&at(&endpoint), &ping(), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    }

    #[test]
    fn request_ids_differ() {
        assert_ne!(new_request_id(), new_request_id());
    }

    #[test]
    fn own_process_exists_and_an_impossible_one_does_not() {
        assert!(process_exists(std::process::id()));
        assert!(!process_exists(u32::MAX));
    }
}
