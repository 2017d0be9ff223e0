"""Makes `samples.json` and `forest_reference.json`: scikit-learn's isolation forests on data sets that it brings along.

    python tests/reference/make_forest_reference.py      (needs numpy, scipy and scikit-learn)
"""

import json
import pathlib

import numpy as np
import scipy.stats
import sklearn
import sklearn.datasets
import sklearn.ensemble
import sklearn.metrics

from relu_samples import N_ODD, N_ROWS, relu_samples

HERE = pathlib.Path(__file__).parent
N_TREES = 1000
SEEDS = range(5)


def samples():
    """Name -> (float32 samples, labels with 1 for what is to count as odd)."""
    load = sklearn.datasets
    cancer, wine, digits = load.load_breast_cancer(), load.load_wine(), load.load_digits()
    return {
        "breast_cancer": (cancer.data.astype(np.float32), (cancer.target == 0).astype(int)),
        "wine": (wine.data.astype(np.float32), (wine.target == 2).astype(int)),
        "digits": (digits.data[:500].astype(np.float32), (digits.target[:500] == 1).astype(int)),
        "relu": (relu_samples(), (np.arange(N_ROWS) >= N_ROWS - N_ODD).astype(int)),
    }


def mean_leaf_depth(forest):
    depths = []
    for tree in forest.estimators_:
        t = tree.tree_
        depth = np.zeros(t.node_count, dtype=int)
        for node in range(t.node_count):  # children come after their parent
            if t.children_left[node] >= 0:
                depth[t.children_left[node]] = depth[t.children_right[node]] = depth[node] + 1
        depths.append(depth[t.children_left < 0].mean())
    return float(np.mean(depths))


def reference(x, labels):
    runs, scores = [], []
    for seed in SEEDS:
        forest = sklearn.ensemble.IsolationForest(n_estimators=N_TREES, max_samples=len(x), random_state=seed)
        forest.fit(x)
        score = -forest.score_samples(x)
        scores.append(score)
        runs.append(
            {
                "nodes_per_tree": float(np.mean([t.tree_.node_count for t in forest.estimators_])),
                "mean_leaf_depth": round(mean_leaf_depth(forest), 6),
                "auroc": round(float(sklearn.metrics.roc_auc_score(labels, score)), 6),
                "scores": [round(float(s), 6) for s in score],
            }
        )
    pairs = [(a, b) for a in SEEDS for b in SEEDS if a < b]
    spearman = [float(scipy.stats.spearmanr(scores[a], scores[b]).statistic) for a, b in pairs]
    return {"n_trees": N_TREES, "spearman_between_seeds": [round(s, 6) for s in spearman], "runs": runs}


def main():
    all_samples = samples()
    bundled = {
        name: {
            "n_features": x.shape[1],
            "labels": labels.tolist(),
            # The shortest decimal that gives the same float32 again; whole numbers without a point.
            "values": [int(v) if v == int(v) else float(str(v)) for v in x.ravel()],
        }
        for name, (x, labels) in all_samples.items()
        if name != "relu"
    }
    (HERE / "samples.json").write_text(json.dumps(bundled, separators=(",", ":")) + "\n")
    result = {
        "scikit_learn": sklearn.__version__,
        "relu_checksum": float(all_samples["relu"][0].astype(np.float64).sum()),
        "sets": {name: reference(x, labels) for name, (x, labels) in all_samples.items()},
    }
    (HERE / "forest_reference.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
