//! Binds the daemon's sockets: runtime directory, locks, permissions, limits, and the endpoints that clients are told.

use crate::security::{Gate, KeyPair, SecurityConfig};
use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to bind.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketsConfig {
    /// Endpoints of the service socket, the preferred one first.
    pub service: Vec<String>,
    /// Endpoints of the control socket, likewise.
    pub control: Vec<String>,
    /// Directory of the sockets and the endpoint file, made where it is missing.
    pub runtime_dir: PathBuf,
    /// Where clients are told the endpoints.
    pub endpoint_file: PathBuf,
    /// Published in place of a wildcard address.
    pub advertise_host: String,
    /// Permissions of the ipc sockets.
    pub socket_mode: u32,
    /// Largest message, in bytes.
    pub max_message_bytes: u64,
    /// Replies kept for one slow client.
    pub send_high_water_mark: u32,
    /// Time for a peer's handshake.
    pub handshake_timeout: Duration,
    /// Time for the last replies to leave.
    pub linger: Duration,
    /// Encryption; `None`: none.
    pub security: Option<SecurityConfig>,
}

/// Bound sockets, ready to be handed to the threads that own them.
pub struct Bound {
    /// The context; it must outlive the sockets.
    pub context: zmq::Context,
    /// For requests about images.
    pub service: zmq::Socket,
    /// For requests about the daemon.
    pub control: zmq::Socket,
    /// Endpoints under which clients reach the service socket.
    pub service_endpoints: Vec<String>,
    /// Endpoints under which clients reach the control socket.
    pub control_endpoints: Vec<String>,
    /// CURVE public key of the daemon; empty: no encryption.
    pub server_public_key: String,
    /// Admits clients for as long as the sockets are there.
    pub gate: Option<Gate>,
    /// Held for as long as the sockets are.
    pub locks: Vec<Lock>,
}

impl Bound {
    /// Binds both sockets.
    ///
    /// # Errors
    ///
    /// An endpoint that is malformed, in use, or served by another daemon; a runtime directory that others can write.
    pub fn bind(config: &SocketsConfig) -> anyhow::Result<Self> {
        prepare_runtime_dir(config)?;
        let context = zmq::Context::new();
        let mut keys = None;
        let mut gate = None;
        if let Some(security) = &config.security {
            keys = Some(match &security.server_key_file {
                Some(path) => KeyPair::read(path)?,
                None => KeyPair::generate()?,
            });
            if let Some(dir) = &security.client_keys_dir {
                gate = Some(Gate::start(&context, dir.clone())?);
            }
        }
        let mut locks = Vec::new();
        let mut bind =
            |endpoints: &[String], receive_hwm: i32| -> anyhow::Result<(zmq::Socket, Vec<String>)> {
                let socket = context.socket(zmq::ROUTER)?;
                socket.set_maxmsgsize(i64::try_from(config.max_message_bytes)?)?;
                socket.set_handshake_ivl(i32::try_from(config.handshake_timeout.as_millis())?)?;
                socket.set_linger(i32::try_from(config.linger.as_millis())?)?;
                socket.set_sndhwm(i32::try_from(config.send_high_water_mark)?)?;
                socket.set_rcvhwm(receive_hwm)?;
                // Replies to peers that have gone are dropped without a word.
                socket.set_router_mandatory(false)?;
                // Only where asked for: with it even 127.0.0.1 is reported as an address of version 6.
                socket.set_ipv6(endpoints.iter().any(|endpoint| endpoint.contains('[')))?;
                if let Some(keys) = &keys {
                    keys.serve(&socket)?;
                }
                let published = endpoints
                    .iter()
                    .map(|endpoint| bind_one(&socket, endpoint, config, &mut locks))
                    .collect::<anyhow::Result<_>>()?;
                Ok((socket, published))
            };
        // The service thread takes messages as they come; what waits in the socket is not yet counted by the queue.
        let (service, service_endpoints) = bind(&config.service, 100)?;
        let (control, control_endpoints) = bind(&config.control, 100)?;
        let server_public_key = keys.map(|keys| keys.public).unwrap_or_default();
        Ok(Self {
            context,
            service,
            control,
            service_endpoints,
            control_endpoints,
            server_public_key,
            gate,
            locks,
        })
    }
}

/// Binds one endpoint; returns it as clients are to write it.
fn bind_one(
    socket: &zmq::Socket,
    endpoint: &str,
    config: &SocketsConfig,
    locks: &mut Vec<Lock>,
) -> anyhow::Result<String> {
    if let Some(path) = ipc_path(endpoint) {
        check_ipc_length(path)?;
        locks.push(Lock::take(path)?);
        socket.bind(endpoint).with_context(|| format!("while binding {endpoint}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode))
            .with_context(|| format!("the permissions of {}", path.display()))?;
        return Ok(endpoint.to_owned());
    }
    socket.bind(endpoint).map_err(|error| {
        let cure = match error {
            zmq::Error::EADDRINUSE => {
                "another process has this port: choose another, or `*` for any free one"
            }
            zmq::Error::ENODEV | zmq::Error::EADDRNOTAVAIL => "this node has no such address or interface",
            zmq::Error::EACCES => "this port needs privileges: choose one above 1023",
            _ => "endpoints are ipc://PATH or tcp://ADDRESS:PORT",
        };
        anyhow::anyhow!("while binding {endpoint}: {error}; {cure}")
    })?;
    let resolved = match socket.get_last_endpoint()? {
        Ok(resolved) => resolved.trim_end_matches('\0').to_owned(),
        Err(_) => bail!("while binding {endpoint}: the resolved endpoint is not UTF-8; this is a bug"),
    };
    Ok(advertised(&resolved, &config.advertise_host))
}

/// `resolved` with a wildcard address replaced by `host`.
fn advertised(resolved: &str, host: &str) -> String {
    for wildcard in ["tcp://0.0.0.0:", "tcp://[::]:"] {
        if let Some(port) = resolved.strip_prefix(wildcard) {
            return format!("tcp://{host}:{port}");
        }
    }
    resolved.to_owned()
}

/// The path of an ipc endpoint in the file system; `None` for other transports and for abstract names (`ipc://@NAME`).
pub fn ipc_path(endpoint: &str) -> Option<&Path> {
    endpoint.strip_prefix("ipc://").filter(|path| !path.starts_with('@')).map(Path::new)
}

/// `sun_path` of a Unix socket address has 108 bytes, one of them for the terminating NUL.
const MAX_IPC_PATH_BYTES: usize = 107;

fn check_ipc_length(path: &Path) -> anyhow::Result<()> {
    let n_bytes = path.as_os_str().as_bytes().len();
    ensure!(
        n_bytes <= MAX_IPC_PATH_BYTES,
        "the ipc path {} has {n_bytes} bytes, at most {MAX_IPC_PATH_BYTES} are possible: set sockets.runtime_dir \
         (ANOMALYD_RUNTIME_DIR) to a short path of this node, such as /tmp/anomalyd-$USER; clients find it by the endpoint file",
        path.display()
    );
    Ok(())
}

/// Makes the runtime directory with mode 0700, or checks that no other user can exchange the sockets in it.
fn prepare_runtime_dir(config: &SocketsConfig) -> anyhow::Result<()> {
    let dir = &config.runtime_dir;
    let in_runtime_dir = |path: &Path| path.parent() == Some(dir.as_path());
    let endpoints = config.service.iter().chain(&config.control);
    if !(endpoints.filter_map(|endpoint| ipc_path(endpoint)).any(in_runtime_dir)
        || in_runtime_dir(&config.endpoint_file))
    {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(|| format!("while making {}", parent.display()))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error)
                .with_context(|| format!("while making the runtime directory {}", dir.display()));
        }
        _ => {}
    }
    // Not through a symbolic link, which another user could have put into /tmp.
    let metadata =
        fs::symlink_metadata(dir).with_context(|| format!("the runtime directory {}", dir.display()))?;
    let user = rustix::process::geteuid().as_raw();
    ensure!(
        metadata.is_dir(),
        "the runtime directory {} is not a directory: set sockets.runtime_dir",
        dir.display()
    );
    ensure!(
        metadata.uid() == user && metadata.mode() & 0o022 == 0,
        "the runtime directory {} belongs to user {} with mode {:04o}, it must belong to user {user} and be writable by no other: \
         set sockets.runtime_dir (ANOMALYD_RUNTIME_DIR)",
        dir.display(),
        metadata.uid(),
        metadata.mode() & 0o7777
    );
    Ok(())
}

/// A lock beside an ipc socket. ZeroMQ lets a second bind to the same path take the socket away from the first without a
/// word; with the lock the second daemon is refused.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Takes the lock of the socket at `path`, and gives it up when dropped.
    ///
    /// # Errors
    ///
    /// If another process holds it, or the directory is missing or cannot be written.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock_path = PathBuf::from(name);
        // Not truncated: the file names its holder, whose lock it may be.
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| {
                format!(
                    "while opening {}: the socket's directory must exist and be writable",
                    lock_path.display()
                )
            })?;
        if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            ensure!(errno == rustix::io::Errno::WOULDBLOCK, "while locking {}: {errno}", lock_path.display());
            let mut holder = String::new();
            // Without a readable process id the message is a little shorter.
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another anomalyd{} serves ipc://{}: stop it, or set sockets.runtime_dir (ANOMALYD_RUNTIME_DIR) to have two",
                if holder.trim().is_empty() {
                    String::new()
                } else {
                    format!(" (process {})", holder.trim())
                },
                path.display()
            );
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("while writing {}", lock_path.display()))?;
        // The file stays at the end: unlinking it would let a third daemon lock another file of the same name.
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> SocketsConfig {
        SocketsConfig {
            service: vec![format!("ipc://{}/service.sock", dir.display())],
            control: vec!["tcp://127.0.0.1:*".into()],
            runtime_dir: dir.to_owned(),
            endpoint_file: dir.join("endpoint"),
            advertise_host: "node7".into(),
            socket_mode: 0o600,
            max_message_bytes: 1 << 20,
            send_high_water_mark: 10,
            handshake_timeout: Duration::from_secs(1),
            linger: Duration::ZERO,
            security: None,
        }
    }

    #[test]
    fn sockets_are_private_and_their_ports_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = dir.path().join("made");
        let bound = Bound::bind(&config(&runtime_dir)).unwrap();
        assert_eq!(fs::metadata(&runtime_dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(runtime_dir.join("service.sock")).unwrap().mode() & 0o777, 0o600);
        let port: u16 = bound.control_endpoints[0].strip_prefix("tcp://127.0.0.1:").unwrap().parse().unwrap();
        assert_ne!(port, 0);
    }

    #[test]
    fn second_bind_on_the_same_ipc_path_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = dir.path().join("made");
        let first = Bound::bind(&config(&runtime_dir)).unwrap();
        let error = Bound::bind(&config(&runtime_dir)).err().unwrap().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        Bound::bind(&config(&runtime_dir)).unwrap();
    }

    #[test]
    fn ipc_path_that_is_too_long_is_explained() {
        let long = format!("/tmp/{}", "x".repeat(103));
        let error = check_ipc_length(Path::new(&long)).unwrap_err().to_string();
        assert!(
            error.contains("108 bytes, at most 107") && error.contains("ANOMALYD_RUNTIME_DIR"),
            "{error}"
        );
        check_ipc_length(Path::new(&long[..107])).unwrap();
    }

    #[test]
    fn runtime_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Bound::bind(&config(&shared)).err().unwrap().to_string();
        assert!(error.contains("writable by no other"), "{error}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(Bound::bind(&config(&link)).err().unwrap().to_string().contains("not a directory"));
    }

    #[test]
    fn port_in_use_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let service = vec![format!("tcp://{}", taken.local_addr().unwrap())];
        let error = Bound::bind(&SocketsConfig { service, ..config(&dir.path().join("made")) })
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("another process has this port"), "{error}");
    }

    #[test]
    fn wildcard_address_is_published_as_the_host() {
        assert_eq!(advertised("tcp://0.0.0.0:5555", "node7"), "tcp://node7:5555");
        assert_eq!(advertised("tcp://[::]:5555", "node7"), "tcp://node7:5555");
        assert_eq!(advertised("tcp://10.0.0.1:5555", "node7"), "tcp://10.0.0.1:5555");
    }
}
