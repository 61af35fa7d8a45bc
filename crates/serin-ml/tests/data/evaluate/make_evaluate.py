"""Reference values for the metrics and calibrators of serin-ml, written to evaluate.json beside this script.

Made with scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1. Run: python make_evaluate.py
"""

import json
import pathlib
import warnings

import numpy as np
import scipy
import sklearn
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn import metrics as m
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import label_binarize

warnings.filterwarnings("ignore")
EPSILON = np.finfo(float).eps


def make(name, seed, rows, shares, sharpness, noise, decimals=None, decide=None, truth_classes=None):
    """A case: labels with the given shares, probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    k = len(shares)
    truth = rng.choice(k, size=rows, p=shares) if truth_classes is None else rng.choice(truth_classes, size=rows)
    logits = noise * rng.normal(size=(rows, k))
    logits[np.arange(rows), truth] += sharpness
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    if decimals is not None:  # coarse probabilities: many equal scores
        p = np.floor(p * 10**decimals) / 10**decimals
        p[:, 0] += 1 - p.sum(axis=1)
    decisions = p.argmax(axis=1) if decide is None else np.full(rows, decide)
    return case(name, truth, decisions, p)


def case(name, truth, decisions, p):
    k = p.shape[1]
    present = np.unique(truth)
    label = dict(y_true=truth, y_pred=decisions)
    onehot = np.eye(k)[truth]
    roc, precision = {}, {}
    for c in range(k):
        positive = (truth == c).astype(int)
        if 0 < positive.sum() < len(truth):
            roc[c] = m.roc_auc_score(positive, p[:, c])
        if positive.sum() > 0:
            precision[c] = m.average_precision_score(positive, p[:, c])
    values = {
        "macro-f1": m.f1_score(**label, average="macro", zero_division=0),
        "weighted-f1": m.f1_score(**label, average="weighted", zero_division=0),
        "micro-f1": m.f1_score(**label, average="micro", zero_division=0),
        "accuracy": m.accuracy_score(**label),
        "balanced-accuracy": m.balanced_accuracy_score(**label),
        "macro-precision": m.precision_score(**label, average="macro", zero_division=0),
        "macro-recall": m.recall_score(**label, average="macro", zero_division=0),
        "weighted-precision": m.precision_score(**label, average="weighted", zero_division=0),
        "weighted-recall": m.recall_score(**label, average="weighted", zero_division=0),
        "mcc": m.matthews_corrcoef(**label),
        "cohen-kappa": m.cohen_kappa_score(truth, decisions),
        "log-loss": m.log_loss(truth, p, labels=np.arange(k)),
        "brier": m.brier_score_loss(truth, p, labels=np.arange(k), scale_by_half=False),
        # Classes absent from the truth are left out of the means.
        "roc-auc": float(np.mean(list(roc.values()))) if roc else float("nan"),
        "pr-auc": float(np.mean(list(precision.values()))),
    }
    assert np.isclose(values["brier"], ((p - onehot) ** 2).sum(axis=1).mean())
    if len(present) == k and k > 2:
        assert np.isclose(values["roc-auc"], m.roc_auc_score(truth, p, multi_class="ovr", average="macro"))
        binary = label_binarize(truth, classes=np.arange(k))
        assert np.isclose(values["pr-auc"], m.average_precision_score(binary, p, average="macro"))
    log_p = np.log(np.maximum(p, EPSILON))

    def loss(log_power):
        z = np.exp(log_power) * log_p
        return -(z[np.arange(len(truth)), truth] - scipy.special.logsumexp(z, axis=1)).mean()

    power = minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded", options={"xatol": 1e-12}).x
    return {
        "name": name,
        "n_classes": k,
        "truth": truth.tolist(),
        "decisions": decisions.tolist(),
        "probabilities": p.ravel().tolist(),
        "confusion": m.confusion_matrix(truth, decisions, labels=np.arange(k)).tolist(),
        "metrics": {name: (None if np.isnan(v) else float(v)) for name, v in values.items()},
        "roc_auc": [roc.get(c) for c in range(k)],
        "pr_auc": [precision.get(c) for c in range(k)],
        "temperature": float(np.exp(-power)),
        "log_loss_at_temperature": float(loss(power)),
    }


def isotonic(name, scores, targets, weights, at):
    model = IsotonicRegression(out_of_bounds="clip").fit(scores, targets, sample_weight=weights)
    values = [None if weights is None else weights.tolist()]
    return {
        "name": name,
        "scores": scores.tolist(),
        "targets": targets.tolist(),
        "weights": values[0],
        "at": at.tolist(),
        "values": model.predict(at).tolist(),
    }


rng = np.random.default_rng(8)
scores = np.round(rng.uniform(size=60), 2)
smooth = rng.uniform(size=40)
document = {
    "made_with": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, scipy {scipy.__version__}",
    "cases": [
        make("ordinary", 1, 120, [0.4, 0.3, 0.2, 0.1], 1.5, 1.0),
        make("imbalanced", 2, 150, [0.80, 0.12, 0.05, 0.03], 1.0, 1.2),
        make("two classes", 3, 80, [0.7, 0.3], 1.0, 1.0),
        make("ties", 4, 90, [0.5, 0.3, 0.2], 1.0, 1.0, decimals=1),
        make("class absent from truth", 5, 60, None or [0.25] * 4, 1.0, 1.5, truth_classes=[0, 1, 3]),
        make("one class decided", 6, 50, [0.5, 0.3, 0.2], 1.0, 1.0, decide=1),
        make("one class of truth", 7, 30, [0.4, 0.3, 0.3], 0.5, 1.0, truth_classes=[2]),
        make("one class of truth, always decided", 9, 20, [0.5, 0.5], 0.5, 1.0, truth_classes=[0], decide=0),
        case(
            "certain and wrong",
            np.array([0, 1, 2, 2]),
            np.array([0, 1, 2, 0]),
            np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        ),
    ],
    "isotonic": [
        isotonic("outcomes with ties", scores, (rng.uniform(size=60) < scores).astype(float), None, np.linspace(-0.2, 1.2, 71)),
        isotonic("weights", smooth, smooth**2 + 0.2 * rng.normal(size=40), rng.uniform(0.2, 3, size=40), np.linspace(-0.1, 1.1, 61)),
        isotonic("descending", np.arange(6.0), np.arange(6.0)[::-1], None, np.linspace(-1, 6, 15)),
        isotonic("one score", np.ones(4), np.array([0.0, 1, 1, 1]), None, np.array([0.0, 1.0, 2.0])),
    ],
    "mcnemar": [
        {"gained": g, "lost": l, "p": binomtest(g, g + l, 0.5).pvalue} for g, l in [(1, 0), (3, 3), (10, 2), (5, 19), (140, 100)]
    ],
}
path = pathlib.Path(__file__).with_name("evaluate.json")
path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
