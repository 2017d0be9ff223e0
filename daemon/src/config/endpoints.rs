//! From the settings of the sockets to where the daemon listens.

use super::raw::{Security, Sockets};
use super::{Surroundings, in_range, milliseconds};
use crate::security::SecurityConfig;
use crate::sockets::{SocketsConfig, ipc_path};
use anyhow::{Context, ensure};
use std::path::Path;

/// Names of the sockets and the file in the runtime directory.
const SERVICE_SOCKET: &str = "service.sock";
const CONTROL_SOCKET: &str = "control.sock";
/// Name of the endpoint file in the runtime directory.
pub const ENDPOINT_FILE: &str = "endpoint";

pub(super) fn resolve_sockets(
    raw: &Sockets,
    security: &Security,
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

#[cfg(test)]
mod tests {
    use super::super::tests::{resolved, surroundings};
    use super::*;
    use crate::config::{Config, join, raw::RawConfig};

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
}
