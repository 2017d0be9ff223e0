"""The daemon's binary against clients that know nothing but PROTOCOL.md: pyzmq and raw frames."""

import json
import pathlib
import re
import signal
import subprocess
import threading
import time
import unittest

import zmq

from harness import DAEMON, DaemonTest


class Wire(DaemonTest):
    def test_the_documents_whole_client_works_as_printed(self):
        daemon = self.start()
        document = (pathlib.Path(__file__).parents[2] / "proto/PROTOCOL.md").read_text()
        source = re.search(r"```python\n(.*?)```", document, re.S).group(1)
        image = self.image()
        source = source.replace("ipc:///run/anomalyd/service.sock", daemon.service)
        source = source.replace("/scratch/run_a/entropy_0733.png", str(image))
        printed = subprocess.run(["/usr/bin/python3", "-c", source], capture_output=True, text=True, timeout=30, check=True)
        self.assertRegex(printed.stdout, r"^200 unknown nan ")

    def test_wrong_version_is_answered_505_and_names_the_known_one(self):
        daemon = self.start()
        reply = daemon.request("ANOM9", "CLASSIFY", "id-1", 0, "run", 1, "path", str(self.image()))
        self.assertEqual(reply[:4], [b"ANOM1", b"id-1", b"505", b"unknown"])
        self.assertIn(b"ANOM1", reply[8])

    def test_malformed_requests_are_answered_400_and_the_daemon_goes_on(self):
        daemon = self.start()
        image = str(self.image())
        for frames in (
            ["ANOM1", "JUDGE", "id", 0],
            ["ANOM1", "CLASSIFY", "id", "-5", "run", 1, "path", image],
            ["ANOM1", "CLASSIFY", "id", 0, "run", "one", "path", image],
            ["ANOM1", "CLASSIFY", "id", 0, "run", 1, "path", "relative.png"],
            ["ANOM1", "CLASSIFY", "id", 0, "run", 1, "path", b"/nul\0byte.png"],
            ["ANOM1", "CLASSIFY", "id", 0, "a run with spaces", 1, "path", image],
        ):
            with self.subTest(frames=frames):
                reply = daemon.request(*frames)
                self.assertEqual(reply[1:4], [b"id", b"400", b"unknown"])
                self.assertGreater(len(reply[8]), 20, "an error says what to do")
        self.assertEqual(daemon.request("ANOM1", "PING", "p", 0)[2], b"200")

    def test_garbage_frames_do_no_harm(self):
        daemon = self.start()
        with zmq.Context.instance().socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(daemon.service)
            for frames in ([b""], [b"no delimiter"], [b"", b""], [b""] * 40, [b"", b"\xff" * 1000] * 3, [b"", b"ANOM1"]):
                dealer.send_multipart(frames)
            time.sleep(0.3)
        self.assertEqual(daemon.request("ANOM1", "PING", "p", 0)[2], b"200")

    def test_correlated_requests_get_their_envelope_back(self):
        daemon = self.start()
        with zmq.Context.instance().socket(zmq.REQ) as req:
            req.setsockopt(zmq.LINGER, 0)
            req.setsockopt(zmq.REQ_RELAXED, 1)
            req.setsockopt(zmq.REQ_CORRELATE, 1)
            req.setsockopt(zmq.RCVTIMEO, 5000)
            req.connect(daemon.service)
            for n in range(3):
                req.send_multipart([b"ANOM1", b"PING", b"id-%d" % n, b"0"])
                self.assertEqual(req.recv_multipart()[1], b"id-%d" % n)

    def test_a_retry_is_answered_alike_and_joins_the_pool_once(self):
        daemon = self.start()
        image = self.image()
        first = daemon.classify("run", 1, image, request_id="same")
        again = daemon.classify("run", 1, image, request_id="same")
        self.assertEqual(first, again)
        self.assertEqual(json.loads(first[9])["pool"]["size"], 1)
        status = json.loads(daemon.request("ANOM1", "STATUS", "s", 0, socket="control")[9])
        self.assertEqual([(run["name"], run["pool_size"]) for run in status["runs"]], [("run", 1)])

    def test_two_runs_have_pools_of_their_own(self):
        daemon = self.start()
        image = self.image()
        for step in (1, 2, 3):
            self.assertEqual(json.loads(daemon.classify("one", step, image)[9])["pool"]["size"], step)
        self.assertEqual(json.loads(daemon.classify("two", 1, image)[9])["pool"]["size"], 1)

    def test_rewind_forgets_later_steps_and_a_repeated_step_replaces(self):
        daemon = self.start()
        image = self.image()
        for step in range(1, 6):
            daemon.classify("run", step, image)
        self.assertEqual(daemon.request("ANOM1", "REWIND", "r", 0, "run", 3)[2], b"200")
        self.assertEqual(json.loads(daemon.classify("run", 4, image)[9])["pool"]["size"], 4)
        self.assertEqual(json.loads(daemon.classify("run", 4, image)[9])["pool"]["size"], 4)
        self.assertEqual(daemon.classify("run", 5, image)[2], b"200")

    def test_image_bytes_can_be_sent_instead_of_a_path(self):
        daemon = self.start()
        data = self.image().read_bytes()
        reply = daemon.request("ANOM1", "CLASSIFY", "b", 0, "run", 1, "image", data)
        self.assertEqual(reply[2], b"200")
        by_path = daemon.classify("other", 1, self.image())
        self.assertEqual(json.loads(reply[9])["image"], json.loads(by_path[9])["image"])

    def test_commands_on_the_wrong_socket_are_answered_405(self):
        daemon = self.start()
        self.assertEqual(daemon.request("ANOM1", "DRAIN", "d", 0)[2], b"405")
        self.assertEqual(
            daemon.request("ANOM1", "CLASSIFY", "c", 0, "run", 1, "path", "/x.png", socket="control")[2], b"405"
        )


class Life(DaemonTest):
    def test_sigterm_drains_and_ends_with_success(self):
        daemon = self.start()
        self.assertEqual(daemon.classify("run", 1, self.image())[2], b"200")
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(daemon.endpoint_file.exists(), "the endpoint file goes with the daemon")

    def test_health_probe_says_ok_then_critical(self):
        daemon = self.start()
        probe = [DAEMON, "health", "--control", daemon.control, "--timeout-ms", "1000"]
        healthy = subprocess.run(probe, capture_output=True, text=True, timeout=20)
        self.assertEqual(healthy.returncode, 0, healthy.stdout + healthy.stderr)
        self.assertRegex(healthy.stdout, r"^OK.*\|")
        daemon.signal(signal.SIGSTOP)
        stopped = subprocess.run(probe, capture_output=True, text=True, timeout=20)
        self.assertEqual(stopped.returncode, 2)
        daemon.signal(signal.SIGCONT)
        daemon.kill()
        gone = subprocess.run(probe, capture_output=True, text=True, timeout=20)
        self.assertEqual(gone.returncode, 2)

    def test_many_clients_at_once_each_get_their_own_answers(self):
        daemon = self.start()
        image = self.image()
        wrong = []

        def client(name):
            for step in range(20):
                reply = daemon.classify(name, step, image)
                if not reply or reply[2] not in (b"200", b"429") or reply[6] != str(step).encode():
                    wrong.append((name, step, reply))

        threads = [threading.Thread(target=client, args=(f"run-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
