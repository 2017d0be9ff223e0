//! Whatever a client may name or send: a status each, and the daemon goes on.

use crate::harness::{Daemon, directory, image, ppm};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

#[test]
fn bad_paths_and_files_get_their_statuses_and_the_daemon_goes_on() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "paths.max_file_bytes = 1000000");
    let images = daemon.images();
    let good = image(&daemon, "good.ppm", 64, 64);
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = images.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let outside = directory.path().join("outside.ppm");
    fs::write(&outside, ppm(64, 64, 0)).unwrap();
    symlink(&outside, images.join("link.ppm")).unwrap();
    let fifo = images.join("fifo.ppm");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let cases: [(PathBuf, u16); 14] = [
        (images.join("missing.ppm"), 404),
        (images.join("good.ppm/below"), 404),
        (outside, 403),
        (images.join("../outside.ppm"), 403),
        (images.join("link.ppm"), 403),
        (PathBuf::from("/etc/passwd"), 403),
        (PathBuf::from("/no/such/place"), 403),
        (images.clone(), 415),
        (fifo, 415),
        (write("text.png", b"this is no image, whatever its name\n"), 415),
        (write("cut.ppm", &ppm(64, 64, 0)[..5000]), 422),
        (write("long.ppm", &vec![0; 1_000_001]), 413),
        (write("bomb.ppm", b"P6\n60000 60000\n255\n1234567890"), 413),
        (write("new\nline.ppm", &ppm(64, 64, 0)), 200),
    ];
    for (step, (path, status)) in (0..).zip(cases) {
        let reply = daemon.classify("run", step, &path);
        assert_eq!(
            (reply.status, reply.verdict.as_str(), reply.step),
            (status, "unknown", step.to_string()),
            "{path:?}: {}",
            reply.text
        );
        assert!(reply.text.len() > 10 && !reply.text.contains('\n'), "{path:?}: {}", reply.text);
    }
    assert_eq!(daemon.classify("run", 100, &good).status, 200);
    assert!(!daemon.log().contains("new\nline"), "a path must not write lines of its own into the log");
    let counts = &daemon.control("STATUS").detail["requests"];
    assert_eq!((&counts["403"], &counts["415"]), (&5.into(), &3.into()), "{counts}");
}

#[test]
fn image_of_other_dimensions_than_its_runs_is_unsupported() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let (small, large) = (image(&daemon, "small.ppm", 64, 64), image(&daemon, "large.ppm", 64, 80));
    assert_eq!(daemon.classify("run", 1, &small).status, 200);
    assert_eq!(daemon.classify("run", 2, &large).status, 415);
    assert_eq!(daemon.classify("run", 3, &small).pool_size(), 2);
}

#[test]
fn image_can_be_sent_instead_of_named() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let bytes = ppm(64, 64, 0);
    let sent = daemon.ask(&[b"ANOM1", b"CLASSIFY", b"1", b"0", b"run", b"1", b"image", &bytes]);
    let named = daemon.classify("other", 1, &image(&daemon, "same.ppm", 64, 64));
    assert_eq!((sent.status, &sent.detail["image"]), (200, &named.detail["image"]));
    assert_eq!(sent.detail["image"]["rows"], 64);
}

#[test]
fn malformed_and_foreign_requests_are_told_apart() {
    let directory = directory();
    let daemon = Daemon::start(directory.path(), "");
    let cases: [(&[&[u8]], u16); 9] = [
        (&[b"ANOM2", b"CLASSIFY", b"id", b"0"], 505),
        (&[b"ANOM1", b"JUDGE", b"id", b"0"], 400),
        (&[b"ANOM1", b"CLASSIFY", b"id", b"soon", b"run", b"1", b"path", b"/x"], 400),
        (&[b"ANOM1", b"CLASSIFY", b"id", b"0", b"run", b"one", b"path", b"/x"], 400),
        (&[b"ANOM1", b"CLASSIFY", b"id", b"0", b"a run", b"1", b"path", b"/x"], 400),
        (&[b"ANOM1", b"CLASSIFY", b"id", b"0", b"run", b"1", b"path", b"relative"], 400),
        (&[b"ANOM1", b"DRAIN", b"id", b"0"], 405),
        (&[b"ANOM1", b"LABEL", b"id", b"0", b"run", b"1", b"label", b"normal"], 404),
        (&[b"ANOM1", b"CLASSIFY", b"id", b"0", b"", b"1", b"path", b"/x", b"model=none"], 404),
    ];
    for (frames, status) in cases {
        let reply = daemon.ask(frames);
        assert_eq!(
            (reply.status, reply.id.as_str(), reply.verdict.as_str()),
            (status, "id", "unknown"),
            "{}",
            reply.text
        );
    }
    let many = vec![b"ANOM1".as_slice(); 200];
    assert_eq!(daemon.ask(&many).status, 400);
    let on_control = daemon.client("control").ask(&[
        &b"ANOM1"[..],
        b"CLASSIFY",
        b"id",
        b"0",
        b"run",
        b"1",
        b"path",
        b"/x",
    ]);
    assert_eq!(on_control.status, 405);
    let unknown_option: &[&[u8]] = &[b"ANOM1", b"PING", b"id", b"0", b"", b"", b"", b"", b"colour=blue"];
    assert_eq!(daemon.ask(unknown_option).status, 200);
    assert_eq!(daemon.control("STATUS").detail["unknown_options"], 1);
}
