//! How many threads compute: what `workers.threads` and the affinity mask say, and that results do not depend on it.

use crate::harness::{Daemon, command, directory, scene, serve};
use std::fs;
use std::process::Command;

/// Names of the daemon's threads.
fn threads(daemon: &Daemon) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.endpoints["pid"])).unwrap();
    // A thread that ends meanwhile has no name left.
    tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok()).collect()
}

fn n_computing(daemon: &Daemon) -> usize {
    threads(daemon).iter().filter(|name| name.starts_with("compute-")).count()
}

fn allowed() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn as_many_threads_compute_as_were_asked_for_and_scores_are_the_same_to_the_bit() {
    let directories = [1, 2].map(|_| directory());
    let daemons = [1, 2].map(|n_threads| {
        let directory = directories[n_threads - 1].path();
        let daemon = Daemon::start(directory, &format!("workers.threads = {n_threads}"));
        assert_eq!(n_computing(&daemon), n_threads.min(allowed()), "{:?}", threads(&daemon));
        daemon
    });
    for step in 1..=24 {
        let [one, two] = daemons.each_ref().map(|daemon| {
            let reply = daemon.classify("r", step, &scene(daemon, step, step == 24));
            assert_eq!(reply.status, 200, "{reply:?}");
            (reply.verdict, reply.score.to_bits(), reply.detail["evidence"].clone())
        });
        assert_eq!(one, two, "step {step}");
    }
}

#[test]
fn no_more_threads_compute_than_the_affinity_mask_has_processors() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = list.trim().chars().take_while(char::is_ascii_digit).collect();
    for settings in ["", "workers.threads = 64"] {
        let directory = directory();
        let serve = serve(directory.path(), settings);
        let mut bound = Command::new("taskset");
        bound.args(["--cpu-list", &first]).arg(serve.get_program()).args(serve.get_args());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let daemon = Daemon::wait_for(directory.path(), bound.stderr(log).spawn().unwrap());
        assert_eq!(n_computing(&daemon), 1, "{settings}: {:?}", threads(&daemon));
        assert_eq!(daemon.log().contains("fewer threads than asked for"), !settings.is_empty());
        assert_eq!(daemon.classify("r", 1, &scene(&daemon, 1, false)).status, 200);
    }
}

#[test]
fn no_threads_at_all_are_refused_on_the_command_line() {
    let refused = command(&["serve", "--threads", "0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("at least 1"));
}
