//! What the service manager is told.

use crate::harness::{Daemon, directory, serve};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

#[test]
fn service_manager_is_told_of_readiness_progress_and_the_end() {
    let directory = directory();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let until = |wanted: &str| {
        let limit = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while Instant::now() < limit {
            let n = socket.recv(&mut buffer).unwrap();
            let message = String::from_utf8_lossy(&buffer[..n]);
            if message.lines().any(|line| line == wanted) {
                return;
            }
        }
        panic!("not told: {wanted}");
    };
    let mut command = serve(directory.path(), "");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    let mut daemon = Daemon::wait_for(directory.path(), command.spawn().unwrap());
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    daemon.signal(Signal::TERM);
    until("STOPPING=1");
    assert_eq!(daemon.ended().code(), Some(0));
}
