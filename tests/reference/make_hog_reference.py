#!/usr/bin/env python3
"""Makes hog_reference.json: histograms of oriented gradients in plain numpy, straight from Dalal and Triggs (CVPR 2005).

    make_hog_reference.py > hog_reference.json

Everything in f64 and pixel by pixel, in the paper's order and words; it shares nothing with the Rust code but the formula of
its images.
"""
import json
import math
import sys

import numpy as np

CASES = [  # channels, rows, columns, cells, orientations, block
    (1, 37, 53, 4, 8, 2),
    (3, 40, 61, 5, 9, 3),
    (3, 96, 150, 12, 8, 2),
]


def image(channels, rows, columns):
    """[channels, rows, columns]: waves of several lengths, a flat band, and a rectangle with sharp edges."""
    y, x = np.mgrid[0:rows, 0:columns]
    planes = np.stack([(x * x // 5 + 3 * y + x * y // 7 + 60 * c) % 241 for c in range(channels)])
    planes[:, 5:12, :] = 80
    planes[:, rows // 2 : rows // 2 + 9, columns // 3 : columns // 2] = 250
    return planes.astype(np.float64)


def hog(pixels, cells, orientations, block):
    channels, rows, columns = pixels.shape
    histograms = np.zeros((cells, cells, orientations))
    for y in range(rows):
        for x in range(columns):
            best = (0.0, 0.0)
            for c in range(channels):
                dx = pixels[c, y, min(x + 1, columns - 1)] - pixels[c, y, max(x - 1, 0)]
                dy = pixels[c, min(y + 1, rows - 1), x] - pixels[c, max(y - 1, 0), x]
                if dx * dx + dy * dy > best[0] ** 2 + best[1] ** 2:
                    best = (dx, dy)
            magnitude = math.hypot(*best)
            degrees = math.degrees(math.atan2(best[1], best[0])) % 180.0
            # Distances, in cells and bins, to every centre: a vote goes to those nearer than one.
            cell_y, cell_x = (y + 0.5) * cells / rows, (x + 0.5) * cells / columns
            for i in range(cells):
                part_y = 1 - abs(cell_y - (i + 0.5))
                if part_y <= 0:
                    continue
                for j in range(cells):
                    part_x = 1 - abs(cell_x - (j + 0.5))
                    if part_x <= 0:
                        continue
                    for b in range(orientations):
                        distance = abs(degrees * orientations / 180.0 - (b + 0.5))
                        part = 1 - min(distance, orientations - distance)
                        if part > 0:
                            histograms[i, j, b] += magnitude * part_y * part_x * part
    histograms /= rows * columns / cells**2
    n = cells - block + 1
    features = np.zeros((block, block, orientations, n, n))
    for i in range(n):
        for j in range(n):
            v = histograms[i : i + block, j : j + block]
            v = v / math.sqrt((v**2).sum() + 0.1**2)
            v = np.minimum(v, 0.2)
            features[..., i, j] = v / math.sqrt((v**2).sum() + 1e-12)
    return features.reshape(block * block * orientations, n, n)


def main():
    cases = []
    for channels, rows, columns, cells, orientations, block in CASES:
        features = hog(image(channels, rows, columns), cells, orientations, block)
        values = features.reshape(-1)
        positions = [int(i * 104_729 % values.size) for i in range(min(160, values.size))]
        cases.append({
            "channels": channels, "rows": rows, "columns": columns,
            "cells": cells, "orientations": orientations, "block": block,
            "shape": list(features.shape), "sum": float(values.sum()), "sum_of_squares": float((values**2).sum()),
            "positions": positions, "values": [float(f"{values[i]:.9g}") for i in positions],
        })
    json.dump({"made_by": f"make_hog_reference.py, numpy {np.__version__}", "cases": cases}, sys.stdout,
              separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
