"""Times our isolation forest, scikit-learn's and isotree's on the same samples, one after the other in every round.

    cargo build --release -p anomalyd-models --example forest_timer
    python tests/reference/bench_forest_peers.py [--rows 732] [--rounds 7] [--threads 1]

Needs numpy, scikit-learn and isotree, and four times the memory of the samples (732 rows: 11 GB). Shared machines are noisy:
compare the ratios, and the least times rather than the medians.
"""

import argparse
import math
import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=732)
    parser.add_argument("--trees", type=int, default=125)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import isotree
    import numpy as np
    from sklearn.ensemble import IsolationForest

    from relu_samples import wide_samples

    ours = subprocess.Popen(
        [ROOT / "target/release/examples/forest_timer", str(args.rows), str(args.trees)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)},
    )
    assert ours.stdout.readline() == "ready\n"

    def ask(question):
        ours.stdin.write(question + "\n")
        ours.stdin.flush()
        return float(ours.stdout.readline())

    # First of all, as long as memory is there in large pages.
    ask("pool"), ask("pool_bf16")
    x = wide_samples(args.rows)
    by_columns = np.asfortranarray(x)  # isotree wants it so; not counted

    def timed(work):
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * 1e3

    def sklearn(seed):
        return IsolationForest(n_estimators=args.trees, max_samples=args.rows, random_state=seed, n_jobs=args.threads)

    def iso(seed):
        return isotree.IsolationForest(
            ndim=1,
            ntrees=args.trees,
            sample_size=args.rows,
            max_depth=math.ceil(math.log2(args.rows)),
            missing_action="fail",
            random_seed=seed,
            nthreads=args.threads,
        )

    fitted_sklearn, fitted_iso = sklearn(0).fit(x), iso(0).fit(by_columns)
    one = np.ascontiguousarray(x[7:8])
    contenders = {
        "fit: ours, by rows": lambda seed: ask("rows"),
        "fit: ours, by columns": lambda seed: ask("columns"),
        "fit: ours, from a pool": lambda seed: ask("pool"),
        "fit: ours, pool of bf16": lambda seed: ask("pool_bf16"),
        "fit: isotree": lambda seed: timed(lambda: iso(seed + 1).fit(by_columns)),
        "fit: scikit-learn": lambda seed: timed(lambda: sklearn(seed).fit(x)),
        "fit: one row's paths, ours": lambda seed: ask("against"),
        "score a row: ours": lambda seed: ask("score"),
        "score a row: ours, known finite": lambda seed: ask("finite"),
        "score a row: isotree": lambda seed: timed(lambda: fitted_iso.predict(one)),
        "score a row: scikit-learn": lambda seed: timed(lambda: fitted_sklearn.score_samples(one)),
    }
    for work in contenders.values():
        work(args.rounds)
    times = {name: [] for name in contenders}
    for seed in range(args.rounds):
        for name, work in contenders.items():
            times[name].append(work(seed))
    # What comes before a fit: our pool takes a row an image; the others want all rows in one matrix, isotree a transposed one.
    times["append a row: ours"] = [ask("append") for _ in range(32)]
    times["append an equal row: ours"] = [ask("append_equal") for _ in range(32)]
    del by_columns
    times["transpose all rows: isotree"] = [timed(lambda: np.asfortranarray(x))]
    rows = list(x)
    times["join all rows: scikit-learn"] = [timed(lambda: np.stack(rows))]
    ours.stdin.close()
    ours.wait()
    print(f"{args.trees} trees, {args.rows} x {x.shape[1]}, {args.threads} threads, {args.rounds} rounds; milliseconds")
    for name, values in times.items():
        if not name.startswith(("fit", "score")):
            print(f"{name:32} least {min(values):9.2f}  median {statistics.median(values):9.2f}")
            continue
        base = times["fit: ours, from a pool" if name.startswith("fit") else "score a row: ours, known finite"]
        print(
            f"{name:32} least {min(values):9.2f}  median {statistics.median(values):9.2f}"
            f"  ratio of the least {min(values) / min(base):7.2f}, of the medians"
            f" {statistics.median(values) / statistics.median(base):7.2f}"
        )


if __name__ == "__main__":
    main()
