"""Raw fields by every way in: the C client, the Fortran client, pyzmq, and a file. All get the same verdict, bit for bit."""

import array
import json
import math
import unittest

from harness import DaemonTest

VARIABLES, ROWS, COLUMNS = 2, 40, 56
N_STEPS, ODD = 24, 22


def values(step):
    """[variables, rows, columns], row-major: a density over decades and a velocity, with a block that is odd in one step."""
    time = step + 0.03 * math.sin(1.7 * step)
    out = []
    for variable in range(VARIABLES):
        for row in range(ROWS):
            for column in range(COLUMNS):
                wave = math.sin(row / 6 + 0.15 * time) * math.cos(column / 7 - 0.1 * time)
                value = 10 ** (0.15 * row + 0.3 * wave - 3) if variable == 0 else 2e7 * wave
                if step == ODD and variable == 1 and 10 <= row < 20 and 30 <= column < 40:
                    value = 5e8 if (row + column) % 2 else -5e8
                out.append(value)
    return out


def npy(code, numbers):
    header = f"{{'descr': '<f{array.array(code).itemsize}', 'fortran_order': False, 'shape': ({VARIABLES}, {ROWS}, {COLUMNS}), }}\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + array.array(code, numbers).tobytes()


class Fields(DaemonTest):
    def test_every_way_in_gives_the_same_verdict_and_the_odd_block_is_found(self):
        daemon = self.start()
        for code, dtype in (("f", "f4"), ("d", "f8")):
            probes = {name: self.probe(name, daemon.service, f"{name}-{dtype}") for name in ("c", "fortran")}
            for step in range(1, N_STEPS + 1):
                numbers = values(step)
                raw, file = self.directory / "values", daemon.images / "field.npy"
                raw.write_bytes(array.array(code, numbers).tobytes())
                file.write_bytes(npy(code, numbers))
                sent = daemon.request(
                    "ANOM1", "CLASSIFY", f"{dtype}-{step}", 0, f"sent-{dtype}", step, "field", raw.read_bytes(),
                    f"shape={VARIABLES}x{ROWS}x{COLUMNS}", f"dtype=f{8 * array.array(code).itemsize}",
                )
                named = daemon.classify(f"named-{dtype}", step, file)
                self.assertEqual((sent[2], named[2]), (b"200", b"200"), sent[8])
                self.assertEqual(sent[3:6], named[3:6])
                for name, probe in probes.items():
                    answer = probe.field(step, dtype, (VARIABLES, ROWS, COLUMNS), raw)
                    self.assertEqual((answer.status, answer.label, answer.step), (200, sent[3].decode(), step), name)
                    score = float(sent[4])
                    self.assertTrue(answer.score == score or math.isnan(answer.score) and math.isnan(score), name)
                wanted = "unknown" if step < 16 else "anomalous" if step == ODD else "normal"
                self.assertEqual(sent[3].decode(), wanted, f"{dtype} {step}: {sent[8]}")
                if step == ODD:
                    detail = json.loads(sent[9])
                    self.assertEqual(detail["field"]["variable"], 1)
                    row0, column0, row1, column1 = detail["box"]
                    self.assertTrue(row0 <= 19 and row1 >= 10 and column0 <= 39 and column1 >= 30, detail["box"])

    def test_nan_from_a_client_is_anomalous_at_once_and_in_its_zone(self):
        daemon = self.start()
        numbers = values(1)
        numbers[ROWS * COLUMNS + 3 * COLUMNS + 5] = math.nan
        raw = self.directory / "values"
        raw.write_bytes(array.array("d", numbers).tobytes())
        for name in ("c", "fortran"):
            answer = self.probe(name, daemon.service, name).field(1, "f8", (VARIABLES, ROWS, COLUMNS), raw)
            self.assertEqual((answer.status, answer.label, answer.acted, answer.score), (200, "anomalous", True, math.inf))
        self.assertIn("rows 3 to 3, columns 5 to 5 of variable 1", daemon.log_text())


if __name__ == "__main__":
    unittest.main()
