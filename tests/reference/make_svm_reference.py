"""Makes `svm_reference.json`: scikit-learn's OneClassSVM on `samples.json`.

    python tests/reference/make_svm_reference.py      (needs numpy and scikit-learn; after make_forest_reference.py)
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

HERE = pathlib.Path(__file__).parent
# Where nu times the rows is whole, all multipliers may be at a bound, and theirs is then one of many right values of rho.
# Kernel, gamma, nu, and whether features are brought to mean 0 and deviation 1 first.
CASES = {
    "breast_cancer": [("rbf", "scale", 0.1, True), ("rbf", 0.001, 0.01, True), ("rbf", "auto", 0.5, True), ("linear", "scale", 0.2012, False)],
    "wine": [("rbf", "scale", 0.01, True), ("rbf", "scale", 0.5, False), ("linear", "scale", 0.104, False), ("rbf", 1e-6, 0.3, False)],
    "digits": [("rbf", "scale", 0.05, False), ("rbf", "auto", 0.9, True), ("linear", "scale", 0.03, False), ("rbf", 0.001, 0.01, False)],
}
# Fitted on the first rows, so that the others are new.
N_FITTED = {"breast_cancer": 400, "wine": 120, "digits": 350}


def case(x, n_fitted, kernel, gamma, nu, scaled):
    if scaled:
        x = StandardScaler().fit(x[:n_fitted]).transform(x)
    # What ours reads are f32.
    x = x.astype(np.float32).astype(np.float64)
    # Tolerances are absolute, and the kernel is kept in f32: below that they are not reached.
    greatest = 1.0 if kernel == "rbf" else float((x[:n_fitted] ** 2).sum(axis=1).max())
    fitted = OneClassSVM(kernel=kernel, gamma=gamma, nu=nu, tol=(1e-8 if kernel == "rbf" else 1e-6) * greatest).fit(x[:n_fitted])
    return {
        "kernel": kernel,
        "gamma": gamma,
        "nu": nu,
        "scaled": scaled,
        "n_fitted": n_fitted,
        "greatest_kernel": greatest,
        "n_support": len(fitted.support_),
        "rho": -float(fitted.intercept_[0]),
        "decision": [float(f"{d:.10g}") for d in fitted.decision_function(x)],
    }


def paper(x, n_fitted):
    """The offline model of the paper in small: z-scores, principal components, an RBF kernel."""
    scaler = StandardScaler().fit(x[:n_fitted])
    z = scaler.transform(x)
    pca = PCA(n_components=20, svd_solver="full").fit(z[:n_fitted])
    p = pca.transform(z)
    fitted = OneClassSVM(kernel="rbf", gamma=0.001, nu=0.01, tol=1e-9).fit(p[:n_fitted])
    return {"n_components": 20, "gamma": 0.001, "nu": 0.01, "n_fitted": n_fitted, "decision": fitted.decision_function(p).tolist()}


def main():
    samples = json.loads((HERE / "samples.json").read_text())

    def load(name):
        return np.array(samples[name]["values"], dtype=np.float32).reshape(-1, samples[name]["n_features"]).astype(float)

    result = {
        "scikit_learn": sklearn.__version__,
        "sets": {name: [case(load(name), N_FITTED[name], *c) for c in cases] for name, cases in CASES.items()},
        "paper": paper(load("digits"), 350),
    }
    (HERE / "svm_reference.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
