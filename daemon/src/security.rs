//! CURVE: key files, and the ZAP handler (ZeroMQ RFC 27) that admits clients by their public keys.

use crate::mailbox::{Receiver, Sender, mailbox};
use anyhow::{Context, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

/// How peers are encrypted and admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// File with the daemon's key pair; `None`: a pair that is made at the start and kept nowhere.
    pub server_key_file: Option<PathBuf>,
    /// Directory with a public key file for each client admitted; `None`: who has the daemon's public key is admitted.
    pub client_keys_dir: Option<PathBuf>,
}

/// A CURVE key pair in Z85, 40 characters each.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// To be told to others.
    pub public: String,
    /// To be told to nobody.
    pub secret: String,
}

// So that a secret cannot get into a log.
impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// A new pair.
    ///
    /// # Errors
    ///
    /// If libzmq was built without CURVE.
    pub fn generate() -> anyhow::Result<Self> {
        let pair = zmq::CurveKeyPair::new().context("this libzmq was built without CURVE (libsodium)")?;
        Ok(Self { public: z85(&pair.public_key)?, secret: z85(&pair.secret_key)? })
    }

    /// Reads a pair from a file of `public_key=` and `secret_key=` lines.
    ///
    /// # Errors
    ///
    /// If a line is missing or no key, or if others than the file's owner can read it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || format!("key file {}", path.display());
        let mode = fs::metadata(path).with_context(place)?.mode();
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others (mode {:04o}): chmod 600",
            place(),
            mode & 0o7777
        );
        let text = fs::read_to_string(path).with_context(place)?;
        let key = |name: &str| {
            key_in(&text, name)
                .with_context(|| format!("{}: no line {name}= with a key of 40 characters in Z85", place()))
        };
        Ok(Self { public: key("public_key")?, secret: key("secret_key")? })
    }

    /// Writes both keys to `stem.secret`, mode 0600, and the public one to `stem.public`.
    ///
    /// # Errors
    ///
    /// If one of the files exists or cannot be written.
    pub fn write(&self, stem: &Path) -> anyhow::Result<[PathBuf; 2]> {
        let with = |extension: &str| {
            let mut name = stem.as_os_str().to_owned();
            name.push(extension);
            PathBuf::from(name)
        };
        let [secret_path, public_path] = [with(".secret"), with(".public")];
        let public = format!("public_key=\"{}\"\n", self.public);
        let write = |path: &Path, mode, text: &str| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
            file.write_all(text.as_bytes())
        };
        write(&secret_path, 0o600, &format!("{public}secret_key=\"{}\"\n", self.secret))
            .with_context(|| format!("while writing {}", secret_path.display()))?;
        write(&public_path, 0o644, &public)
            .with_context(|| format!("while writing {}", public_path.display()))?;
        Ok([secret_path, public_path])
    }

    /// Makes `socket` a server that only peers who know the public key can talk to.
    ///
    /// # Errors
    ///
    /// If libzmq was built without CURVE.
    pub fn serve(&self, socket: &zmq::Socket) -> anyhow::Result<()> {
        socket.set_curve_server(true).context("this libzmq was built without CURVE (libsodium)")?;
        socket.set_curve_secretkey(&decode(&self.secret)?)?;
        Ok(())
    }

    /// Makes `socket` a client of the server with the public key `server`.
    ///
    /// # Errors
    ///
    /// If `server` is no key, or libzmq was built without CURVE.
    pub fn join(&self, socket: &zmq::Socket, server: &str) -> anyhow::Result<()> {
        socket
            .set_curve_serverkey(&decode(server)?)
            .context("this libzmq was built without CURVE (libsodium)")?;
        socket.set_curve_publickey(&decode(&self.public)?)?;
        socket.set_curve_secretkey(&decode(&self.secret)?)?;
        Ok(())
    }
}

/// Reads a public key from a file with a line `server_public_key=` or `public_key=`.
///
/// # Errors
///
/// If there is no such line with a key.
pub fn read_public_key(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("key file {}", path.display()))?;
    key_in(&text, "server_public_key").or_else(|| key_in(&text, "public_key")).with_context(|| {
        format!("key file {}: no line public_key= with a key of 40 characters in Z85", path.display())
    })
}

/// The key in the line `name=`; CZMQ's certificates have blanks around the sign, quotes, and hyphens in the name.
fn key_in(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim().replace('-', "_") == name).then(|| value.trim().trim_matches('"'))
    })?;
    decode(value).is_ok().then(|| value.to_owned())
}

fn z85(key: &[u8]) -> anyhow::Result<String> {
    zmq::z85_encode(key)
        .map_err(|error| anyhow::anyhow!("a key that Z85 cannot write: {error}; this is a bug"))
}

fn decode(key: &str) -> anyhow::Result<Vec<u8>> {
    match zmq::z85_decode(key) {
        Ok(bytes) if bytes.len() == 32 => Ok(bytes),
        _ => bail!(
            "{:?} is no CURVE key: expected 40 characters of Z85",
            key.chars().take(40).collect::<String>()
        ),
    }
}

/// The thread that libzmq asks about each client; ended when dropped.
#[derive(Debug)]
pub struct Gate {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// Starts to admit, to all sockets of `context`, the clients whose public keys lie in `dir` (`*.public`). The directory is
    /// read for each handshake: a key is admitted or refused from when its file is there or gone. Must come before any bind.
    ///
    /// # Errors
    ///
    /// If `dir` cannot be read.
    pub fn start(context: &zmq::Context, dir: PathBuf) -> anyhow::Result<Self> {
        let n_keys =
            admitted(&dir).with_context(|| format!("security.client_keys_dir {}", dir.display()))?.len();
        tracing::info!(n_keys, dir = %dir.display(), "clients are admitted by their public keys");
        let socket = context.socket(zmq::REP)?;
        socket.set_linger(0)?;
        // Where libzmq asks, by RFC 27.
        socket.bind("inproc://zeromq.zap.01")?;
        let (stop, stopped) = mailbox()?;
        let thread = Builder::new().name("zap".into()).spawn(move || answer(&socket, &stopped, &dir))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.send(());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say at its end.
            let _ = thread.join();
        }
    }
}

/// The public keys in `dir`.
fn admitted(dir: &Path) -> std::io::Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "public") {
            match read_public_key(&path) {
                Ok(key) => drop(keys.insert(key)),
                Err(error) => tracing::warn!(%error, "a client's key file is passed over"),
            }
        }
    }
    Ok(keys)
}

fn answer(socket: &zmq::Socket, stopped: &Receiver<()>, dir: &Path) {
    loop {
        let mut items = [socket.as_poll_item(zmq::POLLIN), zmq::PollItem::from_fd(stopped.fd(), zmq::POLLIN)];
        if zmq::poll(&mut items, -1).is_err() || items[1].is_readable() {
            if stopped.drain().is_empty() {
                continue;
            }
            return;
        }
        let Ok(request) = socket.recv_multipart(zmq::DONTWAIT) else { continue };
        let (code, text) = judge(&request, dir);
        let id = request.get(1).cloned().unwrap_or_default();
        // Version, id, status, text, user id, metadata.
        let reply: [&[u8]; 6] = [b"1.0", &id, code.as_bytes(), text.as_bytes(), b"", b""];
        if let Err(error) = socket.send_multipart(reply, 0) {
            tracing::warn!(%error, "a client's admission cannot be answered");
        }
    }
}

/// Status and text for a ZAP request: version, id, domain, address, identity, mechanism, credentials.
fn judge(request: &[Vec<u8>], dir: &Path) -> (&'static str, &'static str) {
    let [version, _, _, address, _, mechanism, credentials] = request else {
        return ("500", "not a ZAP request");
    };
    if version != b"1.0" || mechanism != b"CURVE" {
        return ("400", "CURVE is required");
    }
    let known = admitted(dir).unwrap_or_default();
    match zmq::z85_encode(credentials) {
        Ok(key) if known.contains(&key) => ("200", "OK"),
        key => {
            let address = crate::fault::escaped(address);
            tracing::warn!(
                public_key = key.unwrap_or_default(),
                address,
                "a client was refused: its key is not known"
            );
            ("400", "unknown key")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn pair_is_read_as_it_was_written_and_only_if_nobody_else_can() {
        let dir = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate().unwrap();
        let [secret, public] = pair.write(&dir.path().join("server")).unwrap();
        assert!(KeyPair::read(&secret).unwrap() == pair);
        assert_eq!(read_public_key(&public).unwrap(), pair.public);
        assert!(!fs::read_to_string(&public).unwrap().contains(&pair.secret));
        assert!(pair.write(&dir.path().join("server")).is_err(), "keys are not overwritten");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(KeyPair::read(&secret).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn certificates_of_czmq_are_read() {
        let pair = KeyPair::generate().unwrap();
        let text =
            format!("curve\n    public-key = \"{}\"\n    secret-key = \"{}\"\n", pair.public, pair.secret);
        assert_eq!(key_in(&text, "secret_key"), Some(pair.secret));
        assert_eq!(key_in("public_key = short\n", "public_key"), None);
    }

    #[test]
    fn secret_does_not_show_in_debug_output() {
        let pair = KeyPair::generate().unwrap();
        assert!(!format!("{pair:?}").contains(&pair.secret));
    }

    #[test]
    fn gate_admits_the_keys_in_its_directory_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let [server, known, stranger] = [(); 3].map(|()| KeyPair::generate().unwrap());
        known.write(&dir.path().join("known")).unwrap();
        let context = zmq::Context::new();
        let gate = Gate::start(&context, dir.path().to_owned()).unwrap();
        let service = context.socket(zmq::ROUTER).unwrap();
        service.set_linger(0).unwrap();
        server.serve(&service).unwrap();
        service.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = service.get_last_endpoint().unwrap().unwrap();
        let arrives = |pair: Option<&KeyPair>| {
            let socket = zmq::Context::new().socket(zmq::DEALER).unwrap();
            socket.set_linger(0).unwrap();
            if let Some(pair) = pair {
                pair.join(&socket, &server.public).unwrap();
            }
            socket.connect(&endpoint).unwrap();
            socket.send("hello", 0).unwrap();
            let limit = if pair == Some(&known) { 10_000 } else { 400 };
            let arrived = service.poll(zmq::POLLIN, limit).unwrap() > 0;
            while service.recv_multipart(zmq::DONTWAIT).is_ok() {}
            arrived
        };
        assert!(arrives(Some(&known)));
        assert!(!arrives(Some(&stranger)));
        assert!(!arrives(None));
        drop(service);
        drop(gate);
    }
}
