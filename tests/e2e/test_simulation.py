"""The demonstration in short: the real solver, watched by the real daemon, meets a flipped bit, goes back, and ends in the same bits."""

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


if __name__ == "__main__":
    unittest.main()
