"""The daemon's binary and the probes, started and driven by the end-to-end tests."""

import binascii
import contextlib
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
import unittest
import zlib

import zmq

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAEMON = pathlib.Path(os.environ.get("ANOMALYD_BINARY", ROOT / "target/release/anomalyd"))
PROBES = pathlib.Path(os.environ.get("ANOMALYD_PROBES", ROOT / "build/e2e"))
START_LIMIT_S = 30


def png(rows, columns, pixel):
    """An RGB PNG file; `pixel(row, column)` gives three numbers in 0..255."""
    lines = b"".join(b"\0" + bytes(v for c in range(columns) for v in pixel(r, c)) for r in range(rows))
    return png_from_lines(rows, columns, zlib.compress(lines, 1))


def png_from_lines(rows, columns, compressed):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


class Daemon:
    """One life of the daemon in a directory that outlives it."""

    def __init__(self, directory, settings="", arguments=()):
        self.directory = pathlib.Path(directory)
        self.images = self.directory / "images"
        self.images.mkdir(exist_ok=True)
        self.runtime = self.directory / "runtime"
        self.endpoint_file = self.directory / "anomalyd.endpoint"
        config = self.directory / "anomalyd.toml"
        config.write_text(
            f'[sockets]\nruntime_dir = "{self.runtime}"\nendpoint_file = "{self.endpoint_file}"\n'
            f'[paths]\nroots = ["{self.images}"]\n{settings}\n'
        )
        self.log = open(self.directory / "daemon.log", "ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALYD_")}
        self.process = subprocess.Popen(
            [DAEMON, "serve", "--config", config, *arguments], stderr=self.log, stdout=self.log, env=environment
        )
        limit = time.monotonic() + START_LIMIT_S
        while True:
            self.endpoints = self.read_endpoints()
            if self.endpoints.get("pid") == str(self.process.pid):
                break
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the daemon did not start:\n{self.log_text()}")
            time.sleep(0.02)
        self.service = self.endpoints["service"]
        self.control = self.endpoints["control"]

    def read_endpoints(self):
        with contextlib.suppress(FileNotFoundError):
            return dict(line.split("=", 1) for line in self.endpoint_file.read_text().splitlines() if "=" in line)
        return {}

    def log_text(self):
        return (self.directory / "daemon.log").read_text(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        """Ends the daemon as an operator would, and returns its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.log.close()

    def request(self, *frames, socket="service", timeout_ms=10_000):
        """One request over a socket of its own; returns the reply's frames, or None after the time-out."""
        with zmq.Context.instance().socket(zmq.REQ) as req:
            req.setsockopt(zmq.LINGER, 0)
            req.setsockopt(zmq.RCVTIMEO, timeout_ms)
            req.connect(getattr(self, socket))
            req.send_multipart([f if isinstance(f, bytes) else str(f).encode() for f in frames])
            try:
                return req.recv_multipart()
            except zmq.Again:
                return None

    def classify(self, run, step, path, request_id=None, **options):
        more = [f"{key}={value}" for key, value in options.items()]
        return self.request(
            "ANOM1", "CLASSIFY", request_id or f"{step}-{time.monotonic_ns()}", 0, run, step, "path", str(path), *more
        )


class Answer:
    def __init__(self, line):
        status, self.label, acted, restarted, step, score, threshold, ms, self.instance = line.split()
        self.status, self.step = int(status), int(step)
        self.acted, self.restarted = acted == "1", restarted == "1"
        self.score, self.threshold, self.ms = float(score), float(threshold), float(ms)


class Probe:
    """A client program, written in C or in Fortran, that does what it is told."""

    def __init__(self, language, endpoint, run="", timeout_ms=5000, policy="open", environment=None):
        self.process = subprocess.Popen(
            [PROBES / f"probe_{language}", endpoint, run, str(timeout_ms), policy],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
        )

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the client ended with {self.process.wait()} on: {line}")
        return Answer(answer)

    def classify(self, step, path):
        return self.say(f"classify {step} x{os.fsencode(path).hex()}")

    def field(self, step, dtype, shape, path):
        """Hands over the values in the file: `dtype` f4 or f8, `shape` variables, rows, columns."""
        extents = " ".join(map(str, shape))
        return self.say(f"field {step} {dtype[1]} {extents} x{os.fsencode(path).hex()}")

    def rewind(self, step):
        return self.say(f"rewind {step}")

    def label(self, step, truth):
        return self.say(f"label {step} {truth}")

    def stream(self, name):
        return self.say(f"stream x{name.encode().hex()}")

    def ping(self):
        return self.say("ping")

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


class DaemonTest(unittest.TestCase):
    """A test with a directory of its own, in which daemons can be started."""

    settings = ""

    def setUp(self):
        # Not below TMPDIR: a batch job's can be longer than an ipc path may be.
        holder = tempfile.TemporaryDirectory(prefix="anomalyd-", dir="/tmp")
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)
        self.daemon = None

    def start(self, settings=None, arguments=()):
        self.daemon = Daemon(self.directory, self.settings if settings is None else settings, arguments)
        self.addCleanup(self.daemon.stop)
        return self.daemon

    def probe(self, *arguments, **options):
        probe = Probe(*arguments, **options)
        self.addCleanup(probe.close)
        return probe

    def image(self, name="image.png", rows=48, columns=64, shift=0.0):
        path = self.daemon.images / name
        path.write_bytes(png(rows, columns, lambda r, c: ((r * 5 + int(shift)) % 256, (c * 3) % 256, (r * c) % 256)))
        return path
