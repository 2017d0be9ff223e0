//! The endpoint file: written, read, refused, and found stale.

#![allow(clippy::unwrap_used, reason = "the helpers of the tests unwrap as the tests do")]

use anomalyd_proto::{EndpointError, EndpointFile, Instance, StaleEndpoint};

fn endpoint() -> EndpointFile {
    EndpointFile {
        service: vec!["ipc:///run/anomalyd/service.sock".into(), "tcp://10.0.0.7:40001".into()],
        control: vec!["tcp://10.0.0.7:40002".into(), "tcp://10.0.1.7:40002".into()],
        instance: Instance::new("node042-4711-1760000000").unwrap(),
        host: "node042".into(),
        pid: 4711,
        boot_id: "0f1e2d3c-0000-4000-8000-123456789abc".into(),
        started_unix_s: 1_760_000_000,
        server_public_key: "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".into(),
    }
}

const CONTENT: &str = "protocol=ANOM1
service=ipc:///run/anomalyd/service.sock
service=tcp://10.0.0.7:40001
control=tcp://10.0.0.7:40002
control=tcp://10.0.1.7:40002
instance=node042-4711-1760000000
host=node042
pid=4711
boot_id=0f1e2d3c-0000-4000-8000-123456789abc
started_unix_s=1760000000
server_public_key=rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7
";

fn with(old: &str, new: &str) -> Result<EndpointFile, EndpointError> {
    assert!(CONTENT.contains(old), "{old}");
    EndpointFile::parse(CONTENT.replacen(old, new, 1).as_bytes())
}

#[test]
fn file_is_written_line_by_line_and_read_again() {
    assert_eq!(endpoint().format().unwrap(), CONTENT);
    assert_eq!(EndpointFile::parse(CONTENT.as_bytes()).unwrap(), endpoint());
}

#[test]
fn unknown_keys_and_empty_lines_are_skipped() {
    let content = format!("\ncolour=blue\n{CONTENT}\nlater=a=b");
    assert_eq!(EndpointFile::parse(content.as_bytes()).unwrap(), endpoint());
}

#[test]
fn keys_that_may_be_missing_are_as_empty() {
    let read = with("boot_id=0f1e2d3c-0000-4000-8000-123456789abc\nstarted_unix_s=1760000000\n", "").unwrap();
    assert_eq!((read.boot_id.as_str(), read.started_unix_s), ("", 0));
    let read =
        with("server_public_key=rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "server_public_key=").unwrap();
    assert_eq!(read.server_public_key, "");
}

#[test]
fn keys_that_must_be_there_are_missed_by_name() {
    for key in ["protocol", "instance", "host", "pid"] {
        let content: String =
            CONTENT.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        assert_eq!(EndpointFile::parse(content.as_bytes()), Err(EndpointError::Missing(key)));
    }
    for key in ["service", "control"] {
        let content = CONTENT.replace(key, "other");
        assert_eq!(EndpointFile::parse(content.as_bytes()), Err(EndpointError::Missing(key)));
    }
}

#[test]
fn wrong_values_are_refused_with_key_and_finding() {
    for (old, new, key) in [
        ("protocol=ANOM1", "protocol=ANOM2", "protocol"),
        ("pid=4711", "pid=0", "pid"),
        ("pid=4711", "pid=+4711", "pid"),
        ("pid=4711", "pid=4294967296", "pid"),
        ("pid=4711", "pid=", "pid"),
        ("host=node042", "host=", "host"),
        ("instance=node042", "instance=node 042", "instance"),
        ("service=ipc://", "service=", "service"),
        ("control=tcp://10.0.0.7:40002", "control=tcp://", "control"),
        ("started_unix_s=1760000000", "started_unix_s=today", "started_unix_s"),
        ("server_public_key=rq", "server_public_key=q", "server_public_key"),
    ] {
        match with(old, new) {
            Err(EndpointError::Value { key: found, .. }) => assert_eq!(found, key, "{new}"),
            other => panic!("{new}: {other:?}"),
        }
    }
    assert_eq!(with("pid=4711", "pid=4711\npid=4711"), Err(EndpointError::Twice("pid")));
    assert!(matches!(with("pid=4711", "pid 4711"), Err(EndpointError::Line { line: 8, .. })));
    let large = EndpointFile::parse(&vec![b'\n'; 65_537]);
    assert_eq!(large, Err(EndpointError::TooLarge(65_537)));
}

#[test]
fn value_that_would_begin_another_key_is_not_written() {
    let forged = EndpointFile { host: "node042\npid=1".into(), ..endpoint() };
    assert!(matches!(forged.format(), Err(EndpointError::Value { key: "host", .. })));
    let nowhere = EndpointFile { service: vec![], ..endpoint() };
    assert_eq!(nowhere.format(), Err(EndpointError::Missing("service")));
}

#[test]
fn file_of_a_living_daemon_is_not_stale() {
    let boot_id = endpoint().boot_id;
    assert_eq!(endpoint().check("node042", &boot_id, true), Ok(()));
    assert_eq!(endpoint().check("node042", "", true), Ok(()), "a client that cannot read its boot id");
}

#[test]
fn file_from_before_a_restart_of_the_node_is_stale() {
    let error = endpoint().check("node042", "another", true).unwrap_err();
    assert!(matches!(error, StaleEndpoint::OtherBoot { .. }));
    assert!(error.to_string().contains("stale endpoint file: node042"), "{error}");
}

#[test]
fn file_of_an_ended_process_is_stale() {
    let boot_id = endpoint().boot_id;
    let error = endpoint().check("node042", &boot_id, false).unwrap_err();
    assert_eq!(error, StaleEndpoint::NoProcess { host: "node042".into(), pid: 4711 });
}

#[test]
fn another_host_checks_nothing_and_takes_the_first_tcp_endpoint() {
    let file = endpoint();
    assert_eq!(file.check("login1", "another", false), Ok(()));
    assert_eq!(file.service_for("login1"), Some("tcp://10.0.0.7:40001"));
    assert_eq!(file.service_for("node042"), Some("ipc:///run/anomalyd/service.sock"));
    assert_eq!(file.control_for("node042"), Some("tcp://10.0.0.7:40002"));
    let local = EndpointFile { service: vec!["ipc:///a".into()], ..endpoint() };
    assert_eq!(local.service_for("login1"), None);
}
