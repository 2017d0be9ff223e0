#!/usr/bin/python3
"""The header against PROTOCOL.md and the built library: statuses by name and number, exported symbols, the SONAME.

test_header.py HEADER PROTOCOL.md LIBRARY NM READELF
"""

import pathlib
import re
import subprocess
import sys
import unittest

HEADER, PROTOCOL, LIBRARY, NM, READELF = sys.argv[1:6]


def statuses_of_the_header():
    text = pathlib.Path(HEADER).read_text(encoding="utf-8")
    body = re.search(r"typedef enum anomalyd_status \{(.*?)\} anomalyd_status;", text, re.S).group(1)
    return {name: int(value) for name, value in re.findall(r"\b(ANOMALYD_[A-Z_]+) = (\d+)", body)}


def statuses_of_the_protocol():
    text = pathlib.Path(PROTOCOL).read_text(encoding="utf-8")
    section = re.search(r"^## 8\. Statuses$(.*?)^## 9\.", text, re.S | re.M).group(1)
    rows = re.findall(r"^\| (\d{3}) \| ([a-z ]+?) \|", section, re.M)
    return {"ANOMALYD_" + name.upper().replace(" ", "_"): int(value) for value, name in rows}


class Header(unittest.TestCase):
    def test_statuses_equal_those_of_the_protocol(self):
        protocol = statuses_of_the_protocol()
        self.assertGreaterEqual(len(protocol), 15)
        header = statuses_of_the_header()
        self.assertEqual({name: value for name, value in header.items() if value >= 100}, protocol)
        self.assertEqual(sorted(value for value in header.values() if value < 100), list(range(1, 9)))

    def test_exported_symbols_are_the_functions_of_the_header(self):
        text = pathlib.Path(HEADER).read_text(encoding="utf-8")
        declared = set(re.findall(r"^ANOMALYD_API .*?(anomalyd_[a-z_]+)\(", text, re.M))
        listing = subprocess.run([NM, "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
        self.assertEqual(exported, declared)

    def test_library_has_a_soname_and_needs_no_library_but_libzmq(self):
        dynamic = subprocess.run([READELF, "-d", LIBRARY], check=True, capture_output=True, text=True).stdout
        self.assertIn("soname: [libanomalyd.so.0]", dynamic)
        needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", dynamic)
        self.assertEqual([n for n in needed if not n.startswith(("libzmq", "libc.", "ld-linux", "libasan", "libubsan"))], [])

    def test_library_calls_nothing_that_prints_or_ends_the_process(self):
        listing = subprocess.run([NM, "-D", "--undefined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
        used = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
        if any(name.startswith("__asan") for name in used):
            self.skipTest("the sanitizers bring their own")
        forbidden = {"exit", "_exit", "abort", "raise", "printf", "puts", "putchar", "perror", "stdout", "stderr", "fprintf",
                     "__printf_chk", "__fprintf_chk", "system", "signal", "sigaction", "setlocale", "__assert_fail"}
        self.assertEqual(used & forbidden, set())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
