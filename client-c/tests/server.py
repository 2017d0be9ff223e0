#!/usr/bin/python3
"""Plays a daemon for the tests of the clients: a ROUTER that answers as the path of the image tells it to.

Prints "ready ENDPOINT" once it is bound. The behaviours are the functions named on_... below; a path /NAME/ARGUMENT calls
on_NAME with the argument.
"""

import argparse
import os
import pathlib
import sys
import time

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

NORMAL = (b"200", b"normal", b"0.25", b"0.5")


def read_vectors(path):
    """Reply vectors by name: (expect, frames)."""
    vectors, name, message, expect, frames = {}, None, None, None, []
    grows = False
    for line in path.read_text(encoding="ascii").splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        key, value = words[0], words[1] if len(words) > 1 else ""
        if key == "vector":
            name, frames = value, []
        elif key == "message":
            message = value
        elif key == "expect":
            expect = value
        elif key == "frame":
            frames.append(b"" if value == "-" else bytes.fromhex(value))
        elif key == "more" and grows:
            frames[-1] += bytes.fromhex(value)
        elif key == "fill" and grows:
            frames[-1] += bytes.fromhex(value) * int(words[2])
        elif key == "end" and message == "reply":
            vectors[name] = (expect, frames)
        if key not in ("more", "fill"):
            grows = key == "frame"
    return vectors


class Server:
    def __init__(self, options):
        self.options = options
        self.instance = options.instance.encode()
        self.vectors = read_vectors(options.vectors) if options.vectors else {}
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.armed = None
        self.n_seen = {}
        self.later = []
        if options.curve:
            self.use_curve(options.curve, options.any_client)
        self.socket.bind(options.bind)

    def use_curve(self, directory, any_client):
        authenticator = self.authenticator = ThreadAuthenticator(self.context)
        authenticator.start()
        authenticator.configure_curve(
            domain="*", location=zmq.auth.CURVE_ALLOW_ANY if any_client else str(directory / "clients")
        )
        public, secret = zmq.auth.load_certificate(directory / "server.key_secret")
        self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        self.socket.curve_server = True

    def serve(self):
        while True:
            now = time.monotonic()
            while self.later and self.later[0][0] <= now:
                self.socket.send_multipart(self.later.pop(0)[1])
            wait_ms = max(0, int((self.later[0][0] - now) * 1000)) if self.later else 1000
            if not self.socket.poll(wait_ms):
                continue
            frames = self.socket.recv_multipart()
            cut = frames.index(b"", 1) + 1  # frame 0 is the peer's routing id
            self.answer(frames[:cut], frames[cut:])

    def answer(self, envelope, request):
        self.envelope, self.request = envelope, request
        command, self.id = request[1], request[2]
        self.step = request[5] if len(request) > 5 else b""
        self.n_seen[self.id] = self.n_seen.get(self.id, 0) + 1
        if self.options.log:
            with open(self.options.log, "ab") as log:
                log.write(b" ".join(frame.hex().encode() or b"-" for frame in request) + b"\n")
        if command == b"CLASSIFY" and request[6] == b"path":
            _, name, *argument = request[7].decode(errors="replace").split("/")
            getattr(self, "on_" + name, self.on_echo)(*argument)
        elif command == b"PING" and self.armed:
            armed, self.armed = self.armed, None
            self.on_vector(armed)
        else:
            self.on_echo()

    def reply(self, *outcome, id=None, step=None, text=b"as you say", rest=()):
        self.send([b"ANOM1", self.id if id is None else id, *outcome, self.step if step is None else step, self.instance,
                   text, *rest])

    def send(self, frames):
        self.socket.send_multipart(self.envelope + frames)

    # -------- behaviours

    def on_echo(self, *_):
        """Normal; the detail tells the request's frames in hex, and how often its id came."""
        frames = b",".join(b'"' + frame.hex().encode() + b'"' for frame in self.request)
        detail = b'{"request":[' + frames + b'],"n_seen":' + str(self.n_seen[self.id]).encode() + b"}"
        self.reply(*NORMAL, rest=(detail,))

    def on_ok(self, *_):
        self.reply(*NORMAL)

    def on_anomalous(self, *_):
        self.reply(b"200", b"anomalous", b"0.75", b"0.5")

    def on_unknown(self, *_):
        self.reply(b"200", b"unknown", b"nan", b"nan")

    def on_status(self, status, *_):
        self.reply(status.encode(), b"unknown", b"nan", b"nan", text=b"line one\nline two")

    def on_vector(self, name, *_):
        """A reply of the vectors, with this request's id and step where the vector has its own request's."""
        expect, frames = self.vectors[name]
        frames = list(frames)
        if len(frames) > 1 and frames[1] and len(frames[1]) <= 64:
            frames[1] = self.id
        if len(frames) > 6 and frames[6] and (expect == "ok" or frames[6] == b"733"):
            frames[6] = self.step
        self.send(frames)

    def on_arm(self, name, *_):
        self.armed = name
        self.on_ok()

    def on_silent(self, *_):
        pass

    def on_late(self, milliseconds, outcome="normal", *_):
        frames = [b"ANOM1", self.id, b"200", outcome.encode(), b"0.25", b"0.5", self.step, self.instance, b"late"]
        self.later.append((time.monotonic() + int(milliseconds) / 1000, self.envelope + frames))
        self.later.sort(key=lambda entry: entry[0])

    def on_foreign(self, how="once", *_):
        """A reply for another request first, and always if told so; it says anomalous, so that one sees who takes it."""
        if how == "always" or self.n_seen[self.id] == 1:
            self.reply(b"200", b"anomalous", b"0.75", b"0.5", id=b"another")
        if how != "always":
            self.on_echo()

    def on_step(self, step, *_):
        """A reply of this request's id for another step."""
        self.reply(b"200", b"anomalous", b"0.75", b"0.5", step=step.encode())

    def on_twice(self, *_):
        self.reply(*NORMAL)
        self.reply(b"200", b"anomalous", b"0.75", b"0.5")

    def on_version(self, *_):
        self.send([b"ANOM2", self.id, b"505"])

    def on_text(self, length, *_):
        self.reply(*NORMAL, text=b"x" * int(length))

    def on_big(self, length, *_):
        self.reply(*NORMAL, rest=(b" " * int(length), b"\x89PNG" + b"\0" * int(length)))

    def on_die(self, *_):
        os._exit(9)


def write_endpoint_file(path, endpoint, instance):
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id")
    lines = {
        "protocol": "ANOM1", "service": endpoint, "control": endpoint, "instance": instance, "host": os.uname().nodename,
        "pid": os.getpid(), "boot_id": boot_id.read_text().strip() if boot_id.exists() else "", "later_key": "is ignored",
    }
    beside = path.with_name(path.name + ".new")
    beside.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    beside.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bind", default="tcp://127.0.0.1:*")
    parser.add_argument("--instance", default="first")
    parser.add_argument("--vectors", type=pathlib.Path)
    parser.add_argument("--log", help="file to which each request is added, a line of hex frames")
    parser.add_argument("--endpoint-file", type=pathlib.Path)
    parser.add_argument("--curve", type=pathlib.Path, help="directory of certificates")
    parser.add_argument("--any-client", action="store_true")
    parser.add_argument("--ready-file", type=pathlib.Path, help="receives PID ENDPOINT")
    options = parser.parse_args()
    server = Server(options)
    endpoint = server.socket.last_endpoint.decode()
    if options.endpoint_file:
        write_endpoint_file(options.endpoint_file, endpoint, options.instance)
    if options.ready_file:
        beside = options.ready_file.with_name(options.ready_file.name + ".new")
        beside.write_text(f"{os.getpid()} {endpoint}\n")
        beside.rename(options.ready_file)
    print("ready", endpoint, flush=True)
    server.serve()


if __name__ == "__main__":
    sys.exit(main())
