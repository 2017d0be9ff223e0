"""The demonstration and the report in short: the real solver, watched by the real daemon, meets a flipped bit, goes back, and ends in the
same bits."""

import os
import pathlib
import re
import subprocess
import unittest

from harness import DAEMON, ROOT

SIMULATION = pathlib.Path(os.environ.get("ANOMALYD_SIMULATION", ROOT / "build/simulation"))


class Demonstration(unittest.TestCase):
    def test_flipped_bits_are_caught_and_the_final_states_are_equal(self):
        demo = [ROOT / "tests/simulation/demo.py", "--daemon", DAEMON, "--simulation", SIMULATION, "--seeds", "2"]
        run = subprocess.run(["/usr/bin/python3", *demo], capture_output=True, text=True, timeout=600)
        self.assertEqual(run.returncode, 0, run.stdout[-3000:] + run.stderr)
        self.assertEqual(len(re.findall(r"^ +[12] .*equal$", run.stdout, re.M)), 2, run.stdout[-3000:])
        self.assertRegex(run.stdout, r"equal: all \d+ bytes")

    def test_report_says_what_became_of_a_bit_flipped_at_random(self):
        report = [ROOT / "tests/simulation/report.py", "--daemon", DAEMON, "--simulation", SIMULATION]
        # A high bit of the exponent of a density: a zone all but empty.
        run = subprocess.run(
            ["/usr/bin/python3", *report, "--runs", "1", "--first-seed", "2388"], capture_output=True, text=True, timeout=600
        )
        self.assertEqual(run.returncode, 0, run.stdout[-3000:] + run.stderr)
        self.assertRegex(run.stdout, r"2388 .*density +58 .* visible +0 +0 +0  equal")
        self.assertIn("visible ones caught in the loop: 1 of 1", run.stdout)
        self.assertRegex(run.stdout, r"of \d+: one_step_ahead 0, mean level \d+, maximum \d+, saturated pixels \d+")
        self.assertRegex(run.stdout, r"false alarms in the loop: 0 in \d\d\d images judged")


if __name__ == "__main__":
    unittest.main()
