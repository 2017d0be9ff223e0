"""Sparse samples as after a ReLU, by a formula in integers that `forest.rs` repeats bit for bit."""

import numpy as np

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
N_ROWS, N_FEATURES, N_ODD = 200, 4000, 20


def mix(z):
    """The finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def relu_samples(n_rows=N_ROWS, n_features=N_FEATURES, n_odd=N_ODD, first_row=0):
    """float32 [n_rows, n_features]: two thirds zeros, a quarter of the columns dead; the last n_odd rows have other dead
    columns than the rest."""
    rows = np.arange(first_row, first_row + n_rows, dtype=np.uint64)[:, None]
    columns = np.arange(n_features, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        bits = mix((rows * np.uint64(n_features) + columns + np.uint64(1)) * GOLDEN_GAMMA)
        per_column = mix((columns + np.uint64(1)) * GOLDEN_GAMMA ^ np.uint64(0x5EED))
    part = np.uint64(0x1FFFFF)
    total = (bits & part) + ((bits >> np.uint64(21)) & part) + ((bits >> np.uint64(42)) & part)
    value = np.maximum(total.astype(np.int64) - 3 * (1 << 20) - 419430, 0)
    value *= 1 + ((per_column >> np.uint64(8)) % np.uint64(4)).astype(np.int64)
    odd = np.arange(n_rows)[:, None] >= n_rows - n_odd
    dead = np.where(odd, (per_column >> np.uint64(16)) % np.uint64(4) == 0, per_column % np.uint64(4) == 0)
    value[dead] = 0
    return (value / (1 << 21)).astype(np.float32)


def wide_samples(n_rows, n_features=921_600):
    """float32 [n_rows, n_features] for benchmarks, as `samples/wide.rs` makes them: 67 % zeros, 23 % of the columns dead."""
    columns = np.arange(n_features, dtype=np.uint64)
    part = np.uint64(0x1FFFFF)
    out = np.zeros((n_rows, n_features), dtype=np.float32)
    with np.errstate(over="ignore"):
        dead = mix((columns + np.uint64(1)) * GOLDEN_GAMMA ^ np.uint64(0x5EED)) % np.uint64(100) < np.uint64(23)
        for row in range(n_rows):
            bits = mix((np.uint64(row * n_features + 1) + columns) * GOLDEN_GAMMA)
            total = (bits & part) + ((bits >> np.uint64(21)) & part) + ((bits >> np.uint64(42)) & part)
            value = np.maximum(total.astype(np.int64) - 3 * (1 << 20) - 200_000, 0)
            value[dead] = 0
            out[row] = value / (1 << 21)
    return out
