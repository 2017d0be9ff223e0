//! CURVE: who may speak to the daemon.

use crate::harness::{Daemon, command, directory};

#[test]
fn client_is_admitted_by_its_key_and_refused_without_one_or_when_its_key_is_withdrawn() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("clients")).unwrap();
    for stem in ["server", "clients/known", "stranger"] {
        assert_eq!(command(&["keygen", &at(stem)]).output().unwrap().status.code(), Some(0));
    }
    let settings = format!(
        "sockets.service = [\"tcp://127.0.0.1:0\"]\nsecurity.server_key_file = {:?}\nsecurity.client_keys_dir = {:?}",
        at("server.secret"),
        at("clients")
    );
    let daemon = Daemon::start(directory.path(), &settings);
    assert_eq!(daemon.endpoints["server_public_key"].len(), 40);
    let health = |key: &[&str]| daemon.run(&[&["health", "--timeout-ms", "700"], key].concat()).status.code();
    assert_eq!(health(&["--client-key", &at("clients/known.secret")]), Some(0), "{}", daemon.log());
    assert_eq!(health(&["--client-key", &at("stranger.secret")]), Some(2));
    assert_eq!(health(&[]), Some(2), "a pair of its own making is not enough");
    std::fs::remove_file(at("clients/known.public")).unwrap();
    assert_eq!(health(&["--client-key", &at("clients/known.secret")]), Some(2));
    assert!(daemon.log().contains("its key is not known"));
}

#[test]
fn daemon_without_a_list_admits_who_knows_its_public_key() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(command(&["keygen", &at("server")]).output().unwrap().status.code(), Some(0));
    let daemon =
        Daemon::start(directory.path(), &format!("security.server_key_file = {:?}", at("server.secret")));
    assert_eq!(daemon.run(&["health"]).status.code(), Some(0), "the endpoint file names the key");
    let control = daemon.endpoints["control"].clone();
    let without = command(&["health", "--timeout-ms", "700", "--control", &control]).output().unwrap();
    assert_eq!(without.status.code(), Some(2));
    let key = at("server.public");
    let with = command(&["health", "--timeout-ms", "5000", "--control", &control, "--server-key", &key])
        .output()
        .unwrap();
    assert_eq!(with.status.code(), Some(0));
}
