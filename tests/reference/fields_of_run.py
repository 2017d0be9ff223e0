#!/usr/bin/python3
"""Writes the fields of a recorded run, one .npy file a frame, with the labels of the run's manifest.

    fields_of_run.py RUN DIRECTORY [--variable NAME]

RUN has manifest.csv (columns frame, label) and raw_NAME.npz (the variable [frame, rows, columns], and frame). DIRECTORY is made; it
gets a manifest.csv of its own, for `anomalyd evaluate`.
"""

import argparse
import csv
import pathlib
import sys

import numpy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--variable", default="entropy")
    arguments = parser.parse_args()
    with open(arguments.run / "manifest.csv", newline="") as manifest:
        labels = {int(row["frame"]): row["label"] for row in csv.DictReader(manifest)}
    raw = numpy.load(arguments.run / f"raw_{arguments.variable}.npz")
    fields = raw[arguments.variable]
    arguments.directory.mkdir(parents=True)
    with open(arguments.directory / "manifest.csv", "w", newline="") as manifest:
        rows = csv.writer(manifest)
        rows.writerow(["frame", "file", "label"])
        for frame, field in zip(raw["frame"], fields):
            name = f"{arguments.variable}_{int(frame):04d}.npy"
            numpy.save(arguments.directory / name, field.astype("f4"))
            rows.writerow([int(frame), name, labels[int(frame)]])
    print(f"{len(fields)} fields of {' x '.join(map(str, fields.shape[1:]))} zones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
