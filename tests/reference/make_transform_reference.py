"""Makes `transform_reference.json`: scikit-learn's StandardScaler and PCA on `samples.json`.

    python tests/reference/make_transform_reference.py      (needs numpy and scikit-learn; after make_forest_reference.py)
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent


def pca(x, n_components):
    """In float64, signs as ours: the largest loading of each component is positive."""
    fitted = PCA(n_components=n_components, svd_solver="full").fit(x)
    largest = np.argmax(np.abs(fitted.components_), axis=1)
    signs = np.sign(fitted.components_[np.arange(n_components), largest])
    projected = fitted.transform(x) * signs
    return {
        "n_components": n_components,
        "explained_variance": fitted.explained_variance_.tolist(),
        "explained_variance_ratio": fitted.explained_variance_ratio_.tolist(),
        "components": np.round(fitted.components_ * signs[:, None], 9).ravel().tolist(),
        "projected_first_row": projected[0].tolist(),
        "projected_last_row": projected[-1].tolist(),
    }


def main():
    samples = json.loads((HERE / "samples.json").read_text())

    def load(name):
        return np.array(samples[name]["values"], dtype=np.float32).reshape(-1, samples[name]["n_features"]).astype(float)

    scalers = {}
    for name in ["wine", "digits"]:  # digits has constant columns
        scaler = StandardScaler().fit(load(name))
        scalers[name] = {"mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()}
    result = {
        "scikit_learn": sklearn.__version__,
        "scalers": scalers,
        # Unscaled, so that variances are tested absolutely.
        "pca": {"wine": pca(load("wine"), 5), "breast_cancer": pca(load("breast_cancer"), 6)},
        # More columns than rows.
        "pca_of_first_30_digits": pca(load("digits")[:30], 8),
    }
    (HERE / "transform_reference.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
