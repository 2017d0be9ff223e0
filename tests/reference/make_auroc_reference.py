"""Makes `auroc_reference.json`: how well scikit-learn's and isotree's forests find the few odd rows of bundled data sets.

    python tests/reference/make_auroc_reference.py      (needs numpy, scipy, scikit-learn and isotree; after make_forest_reference.py)

As in PyOD's and ODDS's benchmarks one class is odd and thinned out (here to its first ten rows), all others are normal.
"""

import importlib.metadata
import json
import math
import pathlib

import isotree
import numpy as np
import sklearn
import sklearn.datasets
import sklearn.ensemble
import sklearn.metrics

HERE = pathlib.Path(__file__).parent
N_TREES = 1000
SAMPLE_SIZE = 256
N_ODD = 10
SEEDS = range(5)


def scikit_learn(x, seed):
    forest = sklearn.ensemble.IsolationForest(
        n_estimators=N_TREES, max_samples=min(SAMPLE_SIZE, len(x)), random_state=seed
    )
    return -forest.fit(x).score_samples(x)


def isotree_with(n_columns):
    def scores(x, seed):
        size = min(SAMPLE_SIZE, len(x))
        forest = isotree.IsolationForest(
            ndim=n_columns,
            ntrees=N_TREES,
            sample_size=size,
            max_depth=math.ceil(math.log2(size)),
            prob_pick_avg_gain=0,
            prob_pick_pooled_gain=0,
            penalize_range=False,
            coefs="normal",
            standardize_data=True,
            missing_action="fail",
            random_seed=1 + 10 * N_TREES * seed,  # it counts on from tree to tree
            nthreads=1,
        )
        return forest.fit(x).predict(x)

    return scores


PEERS = {"scikit_learn": scikit_learn, "isotree": isotree_with(1), "isotree_extended": isotree_with(3)}


def main():
    samples = json.loads((HERE / "samples.json").read_text())
    iris = sklearn.datasets.load_iris()

    def load(name):
        if name == "iris":
            return iris.data.astype(np.float32)
        return np.array(samples[name]["values"], dtype=np.float32).reshape(-1, samples[name]["n_features"])

    classes = {
        "iris": iris.target,
        "wine": sklearn.datasets.load_wine().target,
        "breast_cancer": sklearn.datasets.load_breast_cancer().target,
        "digits": sklearn.datasets.load_digits().target[:500],
    }
    cases = []
    for name, target in classes.items():
        # Of the two classes of breast_cancer, 0 is malignant.
        for odd in [0] if name == "breast_cancer" else np.unique(target):
            rows = np.flatnonzero((target != odd) | (np.cumsum(target == odd) <= N_ODD))
            x, labels = load(name)[rows].astype(np.float64), target[rows] == odd
            scores = {peer: [fit(x, seed) for seed in SEEDS] for peer, fit in PEERS.items()}
            cases.append(
                {
                    "set": name,
                    "odd": int(odd),
                    "auroc": {
                        peer: [round(float(sklearn.metrics.roc_auc_score(labels, s)), 6) for s in of_seeds]
                        for peer, of_seeds in scores.items()
                    },
                    # Of all rows; the first class is enough to compare ranks.
                    "scores": {peer: np.round(of_seeds, 5).tolist() for peer, of_seeds in scores.items()} if odd == 0 else {},
                }
            )
            print(name, odd, {peer: (np.mean(a), np.std(a)) for peer, a in cases[-1]["auroc"].items()})
    result = {
        "scikit_learn": sklearn.__version__,
        "isotree": importlib.metadata.version("isotree"),
        "n_trees": N_TREES,
        "sample_size": SAMPLE_SIZE,
        "n_odd": N_ODD,
        "classes": {name: target.tolist() for name, target in classes.items()},
        "iris": {"n_features": 4, "labels": iris.target.tolist(), "values": [float(str(v)) for v in load("iris").ravel()]},
        "cases": cases,
    }
    (HERE / "auroc_reference.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
