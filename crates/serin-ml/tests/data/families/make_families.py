"""Reference values for the model families, from scikit-learn.

Made with Python 3, scikit-learn 1.9.1 and numpy 2.4.6:

    python make_families.py        # writes families.json beside itself

Data: scikit-learn's iris, wine and digits. Columns of wine are scaled to mean 0 and variance 1 before they are written,
so that both sides read the same numbers. Numbers are rounded to 10 digits before they are used, so that the file holds
exactly what was fitted.
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors


def table(x, y):
    return {"x": np.asarray(x).tolist(), "y": np.asarray(y).tolist()}


iris_x, iris_y = load_iris(return_X_y=True)
wine_x, wine_y = load_wine(return_X_y=True)
wine_x = ((wine_x - wine_x.mean(axis=0)) / wine_x.std(axis=0)).round(10)
digits_x, digits_y = load_digits(return_X_y=True)
digits_x, digits_y = digits_x[:700], digits_y[:700]

random = np.random.RandomState(7)
sets = {
    "iris": table(iris_x, iris_y),
    "wine": table(wine_x, wine_y),
    "iris_two": table(iris_x[50:], iris_y[50:] - 1),
    "digits": table(digits_x.astype(int), digits_y),
}
weights = {name: random.uniform(0.2, 3.0, len(part["y"])).round(3).tolist() for name, part in sets.items()}
arrays = {name: (np.array(part["x"], dtype=float), np.array(part["y"])) for name, part in sets.items()}

logistic = []
for name in ["iris", "wine", "iris_two"]:
    for penalty in [1.0, 0.05]:
        for balanced in [False, True]:
            for weighted in [False, True]:
                x, y = arrays[name]
                if balanced and not weighted:
                    # Unequal class counts, or balancing would change nothing.
                    x, y = x[20:], y[20:]
                w = np.array(weights[name]) if weighted else None
                if balanced and weighted:
                    continue  # how class and row weights combine differs between versions
                model = LogisticRegression(
                    C=1 / penalty,
                    class_weight="balanced" if balanced else None,
                    solver="newton-cholesky",
                    tol=1e-13,
                    max_iter=10_000,
                ).fit(x, y, sample_weight=w)
                coefficients, intercepts = model.coef_, model.intercept_
                if len(coefficients) == 1:  # the single row of two classes as a pair of opposite ones
                    coefficients = np.vstack([-coefficients, coefficients]) / 2
                    intercepts = np.concatenate([-intercepts, intercepts]) / 2
                # Only differences between classes matter; ours have mean 0 over the classes.
                coefficients = coefficients - coefficients.mean(axis=0)
                intercepts = intercepts - intercepts.mean()
                logistic.append(
                    {
                        "set": name,
                        "skip": 20 if balanced else 0,
                        "penalty": penalty,
                        "balanced": balanced,
                        "weighted": weighted,
                        "coefficients": coefficients.tolist(),
                        "intercepts": intercepts.tolist(),
                        "probabilities": model.predict_proba(x)[::9].tolist(),
                    }
                )

neighbours = []
for name, fitted in [("iris", 100), ("digits", 500)]:
    x, y = arrays[name]
    order = np.random.RandomState(3).permutation(len(x))
    train, ask = order[:fitted], order[fitted:]
    for distance in ["euclidean", "manhattan", "cosine"]:
        for votes in ["uniform", "distance"]:
            for k in [1, 4, 15]:
                model = KNeighborsClassifier(k, weights=votes, metric=distance, algorithm="brute")
                model.fit(x[train], y[train])
                # Where the k-th and the next row are equally far, scikit-learn's choice is an accident: not asked.
                far = NearestNeighbors(n_neighbors=k + 1, metric=distance, algorithm="brute").fit(x[train])
                distances = far.kneighbors(x[ask])[0]
                clear = ask[distances[:, k] - distances[:, k - 1] > 1e-9][:40]
                neighbours.append(
                    {
                        "set": name,
                        "train": train.tolist(),
                        "ask": clear.tolist(),
                        "distance": distance,
                        "by_distance": votes == "distance",
                        "neighbours": k,
                        "probabilities": model.predict_proba(x[clear]).tolist(),
                    }
                )

naive_bayes = []
for name, smoothing, priors, weighted in [
    ("iris", 1e-9, None, False),
    ("iris", 0.01, [0.2, 0.3, 0.5], False),
    ("wine", 1e-9, None, False),
    ("wine", 1e-9, None, True),
    ("digits", 1e-9, None, False),
    ("digits", 0.1, None, False),
]:
    x, y = arrays[name]
    w = np.array(weights[name]) if weighted else None
    model = GaussianNB(var_smoothing=smoothing, priors=priors).fit(x, y, sample_weight=w)
    naive_bayes.append(
        {
            "set": name,
            "variance_smoothing": smoothing,
            "priors": priors,
            "weighted": weighted,
            "probabilities": model.predict_proba(x)[::9].tolist(),
        }
    )

out = {
    "made_with": {"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    "sets": sets,
    "weights": weights,
    "logistic": logistic,
    "neighbours": neighbours,
    "naive_bayes": naive_bayes,
}
Path(__file__).with_name("families.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
