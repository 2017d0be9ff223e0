#!/usr/bin/python3
"""The module's constants against anomalyd.h and PROTOCOL.md by name and number, and abi.c for completeness.

test_constants.py MODULE HEADER PROTOCOL.md ABI_C, with ../mpi/anomalyd_mpi.f90 and anomalyd_mpi.h as they lie to the first two.
"""

import pathlib
import re
import sys
import unittest

MODULE, HEADER, PROTOCOL, ABI = (pathlib.Path(path).read_text(encoding="utf-8") for path in sys.argv[1:5])

# What C has and Fortran has no use for.
ONLY_IN_C = {"version_major", "version_minor", "version_patch"}


def of_the_module():
    found = re.findall(r"^ *integer, parameter, public :: anomalyd_([a-z_]+) = (\d+)", MODULE, re.M)
    return {name: int(value) for name, value in found}


def of_the_header():
    found = re.findall(r"\bANOMALYD_([A-Z_]+) = (\d+)", HEADER) + re.findall(r"#define ANOMALYD_([A-Z_]+) (\d+)$", HEADER, re.M)
    return {name.lower(): int(value) for name, value in found if name.lower() not in ONLY_IN_C}


class Constants(unittest.TestCase):
    def test_constants_equal_those_of_the_header(self):
        self.assertEqual(of_the_module(), of_the_header())

    def test_statuses_equal_those_of_the_protocol(self):
        section = re.search(r"^## 8\. Statuses$(.*?)^## 9\.", PROTOCOL, re.S | re.M).group(1)
        rows = re.findall(r"^\| (\d{3}) \| ([a-z ]+?) \|", section, re.M)
        protocol = {name.replace(" ", "_"): int(value) for value, name in rows}
        self.assertGreaterEqual(len(protocol), 15)
        self.assertEqual({name: value for name, value in of_the_module().items() if 100 <= value < 1000 and
                          not name.startswith("max_")}, protocol)

    def test_colour_of_the_daemon_is_one_number(self):
        folder = pathlib.Path(sys.argv[1]).parents[1]
        module = (folder / "mpi/anomalyd_mpi.f90").read_text(encoding="utf-8")
        header = pathlib.Path(sys.argv[2]).with_name("anomalyd_mpi.h").read_text(encoding="utf-8")
        colours = [
            re.search(r":: anomalyd_mpi_colour = (\d+)", module).group(1),
            re.search(r"#define ANOMALYD_MPI_COLOUR (\d+)", header).group(1),
            re.search(r"The daemon's colour is (\d+)", PROTOCOL).group(1),
            str(int(re.search(r"\((0x[0-9A-F]+), \"anom\"", PROTOCOL).group(1), 16)),
        ]
        self.assertEqual(len(set(colours)), 1, colours)

    def test_abi_test_compares_every_constant(self):
        compared = {name.lower() for name in re.findall(r"\bANOMALYD_([A-Z_]+),", ABI)}
        self.assertEqual(compared, set(of_the_module()))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
