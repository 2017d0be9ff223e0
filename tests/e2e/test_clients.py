"""The C and the Fortran client against the real daemon: whatever goes wrong, the documented status within the time-out, and the daemon
lives on."""

import json
import os
import signal
import threading
import unittest
import zlib

import zmq

from harness import DaemonTest, Probe, png_from_lines

TIMEOUT, UNAVAILABLE, INVALID = 1, 2, 3
# What a loaded machine may add to a time-out before the call is called late.
SLACK_MS = 400


class ClientTest:
    language = ""

    def test_normal_use_gives_verdicts_of_the_very_step(self):
        daemon = self.start()
        probe = self.probe(self.language, daemon.service, "run")
        for step in range(1, 4):
            answer = probe.classify(step, self.image(f"{step}.png"))
            self.assertEqual((answer.status, answer.label, answer.step), (200, "unknown", step))
            self.assertEqual(answer.instance, daemon.endpoints["instance"])
        self.assertEqual(probe.rewind(1).status, 200)
        self.assertEqual(probe.ping().status, 200)

    def test_label_overrides_the_judgement_of_the_same_image(self):
        daemon = self.start()
        probe = self.probe(self.language, daemon.service, "run")
        image = self.image()
        for step in range(1, 4):
            self.assertEqual(probe.classify(step, image).label, "unknown")
        self.assertEqual(probe.label(99, "normal").status, 404)
        self.assertEqual(probe.label(2, "anomalous").status, 200)
        again = probe.classify(2, image)
        self.assertEqual((again.status, again.label, again.acted), (200, "anomalous", True))
        self.assertEqual(probe.label(2, "normal").status, 200)
        self.assertEqual(probe.classify(2, image).label, "normal")

    def test_streams_of_a_run_go_on_beside_each_other(self):
        daemon = self.start()
        probe = self.probe(self.language, daemon.service, "run")
        image = self.image()
        for step in range(1, 4):
            for stream in ("", "density", "slice:2"):
                probe.stream(stream)
                self.assertEqual(probe.classify(step, image).status, 200)
        probe.stream("density")
        self.assertEqual(probe.label(2, "anomalous").status, 200)
        status = json.loads(daemon.request("ANOM1", "STATUS", "s", 0, socket="control")[9])
        streams = [(s["name"], s["pool_size"], s["labels"]) for s in status["runs"][0]["streams"]]
        self.assertEqual(streams, [("", 1, 0), ("density", 1, 1), ("slice:2", 1, 0)])

    def test_bad_images_get_their_statuses_and_the_daemon_goes_on(self):
        daemon = self.start()
        images = daemon.images
        good = self.image("good.png")
        (images / "text.png").write_text("this is no image\n" * 100)
        (images / "truncated.png").write_bytes(good.read_bytes()[:-500])
        (images / "empty.png").write_bytes(b"")
        (images / "huge.png").write_bytes(png_from_lines(60_000, 60_000, zlib.compress(b"\0" * 1000)))
        os.mkfifo(images / "fifo.png")
        outside = self.directory / "outside.png"
        outside.write_bytes(good.read_bytes())
        (images / "link.png").symlink_to(outside)
        newline = images / "new\nline.png"
        newline.write_bytes(good.read_bytes())
        expected = {
            images / "missing.png": 404,
            images / "text.png": 415,
            images / "truncated.png": 422,
            images / "empty.png": 422,
            images / "huge.png": 413,
            images / "fifo.png": 415,
            images: 415,
            outside: 403,
            images / ".." / "outside.png": 403,
            images / "link.png": 403,
            images / "missing\nnew line.png": 404,
            newline: 200,
        }
        probe = self.probe(self.language, daemon.service, "run", timeout_ms=5000)
        for step, (path, status) in enumerate(expected.items()):
            with self.subTest(path=path.name):
                answer = probe.classify(step, path)
                self.assertEqual((answer.status, answer.label, answer.step), (status, "unknown", step))
                self.assertLess(answer.ms, 5000)
                self.assertFalse(answer.acted)
        self.assertIsNone(daemon.process.poll())
        self.assertEqual(probe.classify(100, good).status, 200)
        self.assertNotIn("new\nline", daemon.log_text(), "a path must not write lines of its own into the log")

    def test_absent_daemon_costs_at_most_the_time_out(self):
        for policy, acted in (("open", False), ("closed", True)):
            probe = self.probe(self.language, f"ipc://{self.directory}/nobody", "run", timeout_ms=500, policy=policy)
            answer = probe.classify(7, "/images/7.png")
            self.assertEqual((answer.status, answer.label, answer.step, answer.acted), (UNAVAILABLE, "unknown", 7, acted))
            self.assertLess(answer.ms, 500 + SLACK_MS)

    def test_killed_daemon_is_unavailable_and_its_successor_is_a_new_instance(self):
        first = self.start()
        probe = self.probe(
            self.language, "", "run", timeout_ms=2000, environment={"ANOMALYD_ENDPOINT_FILE": str(first.endpoint_file)}
        )
        image = self.image()
        before = probe.classify(1, image)
        self.assertEqual((before.status, before.restarted), (200, False))
        first.kill()
        dead = probe.classify(2, image)
        # The endpoint file that the killed daemon left is recognised as stale (6), a vanished peer as unavailable (2).
        self.assertIn(dead.status, (UNAVAILABLE, 6))
        self.assertLess(dead.ms, 2000 + SLACK_MS)
        second = self.start()
        after = probe.classify(3, image)
        self.assertEqual((after.status, after.restarted), (200, True))
        self.assertNotEqual(before.instance, after.instance)
        self.assertEqual(after.instance, second.endpoints["instance"])
        self.assertFalse(probe.classify(4, image).restarted, "a restart is told once")

    def test_killed_daemon_that_stores_its_runs_goes_on_where_it_was(self):
        settings = f'[runs]\nstate_dir = "{self.directory}/state"'
        daemon = self.start(settings)
        file = {"ANOMALYD_ENDPOINT_FILE": str(daemon.endpoint_file)}
        probe = self.probe(self.language, "", "run", timeout_ms=5000, environment=file)
        image = self.image()
        for step in range(1, 7):
            answer = probe.classify(step, image)
            self.assertEqual((answer.status, answer.restarted), (200, step in (3, 5)))
            if step in (2, 4):
                daemon.kill()
                daemon = self.start(settings)
        status = json.loads(daemon.request("ANOM1", "STATUS", "s", 0, socket="control")[9])
        self.assertEqual([(run["pool_size"], run["last_step"]) for run in status["runs"]], [(6, 6)])

    def test_restarted_daemon_at_a_fixed_endpoint_is_seen_as_new(self):
        first = self.start()
        service = first.service
        probe = self.probe(self.language, service, "run", timeout_ms=5000)
        image = self.image()
        before = probe.classify(1, image)
        self.assertEqual(first.stop(), 0)
        second = self.start()
        self.assertEqual(second.service, service)
        after = probe.classify(2, image)
        self.assertEqual((after.status, after.restarted), (200, True))
        self.assertNotEqual(before.instance, after.instance)

    def test_stopped_daemon_times_out_and_its_late_answer_is_not_taken(self):
        daemon = self.start()
        probe = self.probe(self.language, daemon.service, "run", timeout_ms=700)
        image = self.image()
        self.assertEqual(probe.classify(1, image).status, 200)
        daemon.signal(signal.SIGSTOP)
        late = probe.classify(2, image)
        self.assertEqual((late.status, late.label, late.step), (TIMEOUT, "unknown", 2))
        self.assertLess(late.ms, 700 + SLACK_MS)
        daemon.signal(signal.SIGCONT)
        answer = probe.classify(3, image)
        self.assertEqual((answer.status, answer.step), (200, 3))

    def test_arguments_that_cannot_be_sent_are_refused_at_once(self):
        daemon = self.start()
        probe = self.probe(self.language, daemon.service, "run")
        answer = probe.classify(1, "")
        self.assertEqual(answer.status, INVALID)


class ForeignVersionTest(unittest.TestCase):
    """A daemon of another protocol version, as PROTOCOL.md 5.1 lets it answer."""

    def test_daemon_of_another_protocol_version_is_told_as_505(self):
        router = zmq.Context.instance().socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")

        def answer():
            frames = router.recv_multipart()
            at = frames.index(b"") + 1
            known = b"this daemon speaks ANOM2; update the client"
            router.send_multipart(
                frames[:at] + [b"ANOM1", frames[at + 2], b"505", b"unknown", b"nan", b"nan", frames[at + 5], b"other", known]
            )

        try:
            for language in ("c", "fortran"):
                thread = threading.Thread(target=answer)
                thread.start()
                probe = Probe(language, f"tcp://127.0.0.1:{port}", "run", timeout_ms=2000)
                reply = probe.classify(5, "/images/5.png")
                probe.close()
                thread.join()
                self.assertEqual((reply.status, reply.label, reply.step), (505, "unknown", 5))
                self.assertLess(reply.ms, 2000)
        finally:
            router.close()


class CClient(ClientTest, DaemonTest):
    language = "c"


class FortranClient(ClientTest, DaemonTest):
    language = "fortran"


if __name__ == "__main__":
    unittest.main()
