"""Reads proto/vectors.txt, the test vectors of the wire, for the tests in Python.

Run as a program it checks the file itself: its format, that every vector that says so is what an encoder makes of its
meaning, and that nothing of the protocol is left without a vector.
"""

import math
import pathlib
import re
import unittest
from dataclasses import dataclass, field

FILE = pathlib.Path(__file__).resolve().parents[2] / "proto" / "vectors.txt"

DEFAULT_MAX_MESSAGE_BYTES = 1048576
COMMANDS = ("CLASSIFY", "REWIND", "LABEL", "PING", "STATUS", "MODELS", "RELOAD", "DRAIN")
COMMANDS_WITH_STEP = ("CLASSIFY", "REWIND", "LABEL")
VERDICTS = ("normal", "anomalous", "unknown")
STATUSES = (200, 400, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 501, 503, 505)

HEX_KEYS = ("frame", "request_id", "run", "subject", "option", "instance", "text", "detail", "heat_map")
INTEGER_KEYS = ("max_message_bytes", "deadline_ms", "step", "ignored_options", "status", "extra_frames")
NUMBER_KEYS = ("score", "threshold")
WORD_KEYS = ("message", "expect", "command", "kind", "shape", "dtype", "roundtrip")
REQUEST_KEYS = ("command", "request_id", "deadline_ms", "run", "step", "kind", "subject", "shape", "dtype", "ignored_options")
REPLY_KEYS = (
    "request_id", "status", "verdict", "score", "threshold", "step", "instance", "text", "detail", "heat_map", "extra_frames",
)


class VectorError(Exception):
    """A line of the file that does not follow the format described at its head."""


@dataclass
class Vector:
    """One message: its frames without the envelope, what is expected of a decoder, and the meaning."""

    name: str
    line: int
    message: str = ""
    """`request` or `reply`."""
    expect: str = ""
    """`ok`, a status (of a request that is refused), or `bad` (a reply from which no verdict may be taken)."""
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    roundtrip: bool = False
    frames: list = field(default_factory=list)
    options: list = field(default_factory=list)
    """Of a request: `key=value` as bytes, in order, without the shape and dtype of a field."""
    meaning: dict = field(default_factory=dict)
    """Bytes, int, float or str by key; a step or a kind that is not there is None."""

    @property
    def ok(self):
        return self.expect == "ok"


def read(path=FILE):
    """The vectors of the file at `path`, in order.

    Raises VectorError with the line's number for a line that does not follow the format.
    """
    vectors, vector, grow = [], None, None
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):

        def need(truth, what):
            if not truth:
                raise VectorError(f"{path.name}:{number}: {what}: {line!r}")

        need(len(line) <= 200, "longer than 200 characters")
        words = line.split()
        if not words or line.startswith("#"):
            continue
        key, value = words[0], words[1] if len(words) > 1 else None
        if key == "vector":
            need(vector is None, "a vector within a vector")
            need(value and re.fullmatch("[a-z0-9-]+", value), "not a vector's name")
            vector, grow = Vector(value, number), None
            continue
        need(vector is not None, "outside of a vector")
        if key == "end":
            vectors.append(vector)
            vector = None
            continue
        need(value is not None, "a key without a value")
        if key in ("more", "fill"):
            need(grow is not None, "nothing to append to")
            need(value != "-", "nothing to append")
            piece = _bytes(value, need)
            if key == "fill":
                need(len(piece) == 1 and len(words) > 2 and words[2].isdigit(), "expected one byte and a count")
                piece *= int(words[2])
            grow(piece)
        elif key in HEX_KEYS:
            piece = _bytes(value, need)
            if key in ("frame", "option"):
                values = vector.frames if key == "frame" else vector.options
                values.append(piece)
                grow = _grow_last(values)
            else:
                need(key not in vector.meaning, "a second value for the key")
                vector.meaning[key] = piece
                grow = _grow_key(vector.meaning, key)
        elif key == "max_message_bytes":
            vector.max_message_bytes = int(value)
        elif key == "roundtrip":
            need(value in ("yes", "no"), "expected yes or no")
            vector.roundtrip = value == "yes"
        elif key in ("message", "expect"):
            setattr(vector, key, value)
        else:
            need(key in INTEGER_KEYS + NUMBER_KEYS + WORD_KEYS + ("verdict",), "an unknown key")
            need(key not in vector.meaning, "a second value for the key")
            if value == "-":
                vector.meaning[key] = None
            elif key in INTEGER_KEYS:
                vector.meaning[key] = int(value)
            elif key in NUMBER_KEYS:
                vector.meaning[key] = float(value)
            else:
                vector.meaning[key] = value
    if vector is not None:
        raise VectorError(f"{path.name}:{vector.line}: vector {vector.name} has no end")
    return vectors


def encode(vector):
    """The frames that an encoder makes of the meaning of `vector`, without looking at its frames."""
    meaning = vector.meaning
    step = b"" if meaning["step"] is None else b"%d" % meaning["step"]
    if vector.message == "reply":
        frames = [
            b"ANOM1", meaning["request_id"], b"%03d" % meaning["status"], meaning["verdict"].encode(),
            number(meaning["score"]), number(meaning["threshold"]), step, meaning["instance"], meaning["text"],
            meaning["detail"], meaning["heat_map"],
        ]
        n_required = 9
    else:
        frames = [b"ANOM1", meaning["command"].encode(), meaning["request_id"], b"%d" % meaning["deadline_ms"]]
        n_required = 4
        if meaning["command"] in COMMANDS_WITH_STEP:
            frames += [meaning["run"], step]
            n_required = 6
        if meaning["kind"] is not None:
            frames += [meaning["kind"].encode(), meaning["subject"]]
        options = list(vector.options)
        if meaning["kind"] == "field":
            options = [f"shape={meaning['shape']}".encode(), f"dtype={meaning['dtype']}".encode()] + options
        if options:
            frames += [b""] * (8 - len(frames)) + options
            n_required = len(frames)
    while len(frames) > n_required and frames[-1] == b"":
        frames.pop()
    return frames


def number(value):
    """The 64-bit float `value` as on the wire: the fewest digits that restore it."""
    if math.isnan(value):
        return b"nan"
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    text = repr(value).replace("e+", "e").replace("e0", "e").replace("e-0", "e-")
    return text.removesuffix(".0").encode()


def _bytes(word, need):
    if word == "-":
        return b""
    need(re.fullmatch("([0-9a-f]{2})+", word), "expected lower-case hex, two digits a byte")
    return bytes.fromhex(word)


def _grow_last(values):
    def grow(piece):
        values[-1] += piece

    return grow


def _grow_key(values, key):
    def grow(piece):
        values[key] += piece

    return grow


class TheFileOfVectors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vectors = read()

    def test_names_are_unique(self):
        names = [vector.name for vector in self.vectors]
        self.assertEqual(len(names), len(set(names)))

    def test_keys_are_those_that_the_head_lists(self):
        for vector in self.vectors:
            with self.subTest(vector.name):
                self.assertIn(vector.message, ("request", "reply"))
                if vector.ok and vector.message == "request":
                    keys = set(REQUEST_KEYS)
                    if vector.meaning["kind"] is None:
                        keys.remove("subject")
                    if vector.meaning["kind"] != "field":
                        keys -= {"shape", "dtype"}
                    self.assertEqual(set(vector.meaning), keys)
                elif vector.ok:
                    self.assertEqual(tuple(vector.meaning), REPLY_KEYS)
                elif vector.message == "request":
                    self.assertIn(int(vector.expect), STATUSES)
                    self.assertEqual(tuple(vector.meaning), ("request_id", "step"))
                else:
                    self.assertEqual(vector.expect, "bad")
                    self.assertEqual(vector.meaning, {})

    def test_the_encoding_of_the_meaning_is_the_frames(self):
        for vector in self.vectors:
            if vector.ok:
                with self.subTest(vector.name):
                    self.assertEqual(encode(vector) == vector.frames, vector.roundtrip)

    def test_no_word_troubles_a_list_directed_read(self):
        for line in FILE.read_text(encoding="ascii").splitlines():
            if line and not line.startswith("#"):
                words = line.split()
                for word in words[: 3 if words[0] == "fill" else 2]:
                    self.assertIsNone(re.search(r"""[,;/*'"!&]""", word), line)

    def test_each_command_status_verdict_and_kind_of_fault_has_a_vector(self):
        good = [vector for vector in self.vectors if vector.ok]
        requests = [vector for vector in good if vector.message == "request"]
        replies = [vector for vector in good if vector.message == "reply"]
        self.assertEqual({vector.meaning["command"] for vector in requests}, set(COMMANDS))
        self.assertEqual({vector.meaning["kind"] for vector in requests}, {"path", "image", "field", "label", None})
        self.assertEqual({vector.meaning["status"] for vector in replies}, set(STATUSES))
        self.assertEqual({vector.meaning["verdict"] for vector in replies}, set(VERDICTS))
        self.assertTrue(any(math.isnan(vector.meaning["score"]) for vector in replies))
        self.assertTrue(any(vector.meaning["score"] == math.inf for vector in replies))
        refused = {vector.expect for vector in self.vectors if not vector.ok and vector.message == "request"}
        self.assertEqual(refused, {"400", "413", "505"})
        self.assertTrue(any(vector.expect == "bad" for vector in self.vectors))

    def test_a_damaged_line_is_told_with_its_number(self):
        import tempfile

        for damage in ("frame 4g", "frame ABCD", "frame", "colour red", "more 00", "frame 0", "fill 0001 2"):
            with self.subTest(damage), tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
                file.write(f"# damaged\nvector a\nmessage reply\n{damage}\nend\n")
                file.flush()
                with self.assertRaisesRegex(VectorError, ":4: "):
                    read(pathlib.Path(file.name))


if __name__ == "__main__":
    unittest.main()
