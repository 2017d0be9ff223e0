#!/usr/bin/env python3
"""Makes npy_reference.json: files as numpy writes them, and the values that numpy reads from them.

    make_npy_reference.py > npy_reference.json
"""
import io
import itertools
import json
import sys

import numpy as np
from numpy.lib import format as npy

SHAPES = [(8, 9), (2, 8, 9), (8, 9, 1)]
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 1e-42, 3.4e38]

cases = []
for shape, dtype, order in itertools.product(SHAPES, ("<f4", ">f4", "<f8", ">f8"), "CF"):
    values = np.random.default_rng(len(cases)).normal(size=shape)
    values.flat[: len(SPECIAL)] = SPECIAL
    array = np.array(values.astype(dtype), order=order)
    file = io.BytesIO()
    npy.write_array(file, array, version=[(1, 0), (2, 0), (3, 0)][len(cases) % 3])
    file.seek(0)
    back = npy.read_array(file)
    cases.append({
        "dtype": dtype,
        "order": order,
        "shape": shape,
        "file": file.getvalue().hex(),
        # Row-major, as 64-bit numbers, big-endian.
        "values": np.ascontiguousarray(back).astype(">f8").tobytes().hex(),
    })
json.dump({"made_by": f"make_npy_reference.py, numpy {np.__version__}", "cases": cases}, sys.stdout, separators=(",", ":"))
print()
