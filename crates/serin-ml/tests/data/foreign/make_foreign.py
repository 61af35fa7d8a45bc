"""Small models of LightGBM and XGBoost, odd rows, and what the two say to them: the test data of models from elsewhere.

Made with lightgbm 4.7.0, xgboost 3.2.0, scikit-learn 1.9.1, numpy:  python make_foreign.py
Numbers are written as texts, because JSON has no NaN and no infinity. `contributions` are rows x outputs x
(features + 1), for the first 6 rows: Shapley values of the trees with the expected value last."""
import json
import os

import lightgbm
import numpy as np
import sklearn
import xgboost
from sklearn.datasets import load_digits, load_wine

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = 24
ODD = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 5e-324, 1e30, -1e30]
rng = np.random.default_rng(11)


def digits(classes, columns=(2, 3, 10, 18, 20, 21, 26, 28, 33, 36, 42, 43, 50, 53, 58)):
    x, y = load_digits(return_X_y=True)
    keep = y < classes
    return x[keep][:, list(columns)], y[keep]


def wine():
    x, y = load_wine(return_X_y=True)
    return x - x.mean(axis=0), y


def with_missing(x, share=0.15):
    x = x.copy()
    x[rng.random(x.shape) < share] = np.nan
    return x


def with_categories(x, y):
    """Two columns of categories without order that tell the classes, some rows apart."""
    x = x.copy()
    for column, per_class in enumerate((10, 2)):
        names = rng.permutation(per_class * (y.max() + 1))
        x[:, column] = names[np.where(rng.random(len(y)) < 0.6, y, rng.permutation(y)) * per_class + rng.integers(0, per_class, len(y))]
    return x


def odd_rows(x, more=()):
    rows = x[rng.integers(0, len(x), ROWS)].copy()
    strange = np.array(ODD + list(more))
    for i in range(8, ROWS):
        places = rng.integers(0, x.shape[1], 3)
        rows[i, places] = rng.choice(strange, 3)
    return rows


def texts(values):
    return [[repr(float(v)) for v in row] for row in values]


cases = []


def case(name, file, rows, probabilities, contributions):
    probabilities = np.asarray(probabilities, dtype=float).reshape(len(rows), -1)
    if probabilities.shape[1] == 1:
        probabilities = np.hstack([1 - probabilities, probabilities])
    cases.append(dict(name=name, file=file, rows=texts(rows), probabilities=texts(probabilities),
                      contributions=[texts(row) for row in contributions[:6]]))


def lgb(name, x, y, rounds=4, categorical="auto", more=(), **parameters):
    parameters = dict(num_leaves=7, min_data_in_leaf=5, verbose=-1, seed=1, num_threads=1, deterministic=True) | parameters
    if parameters.get("objective") != "binary":
        parameters["num_class"] = int(y.max()) + 1
    data = lightgbm.Dataset(x, y, categorical_feature=categorical)
    booster = lightgbm.train(parameters, data, num_boost_round=rounds)
    file = f"{name}.txt"
    booster.save_model(os.path.join(HERE, file))
    rows = odd_rows(x, more=(np.inf, -np.inf, 1e300, -1e300, *more))
    outputs = booster.num_model_per_iteration()
    contributions = booster.predict(rows, pred_contrib=True).reshape(ROWS, outputs, -1)
    case(name, file, rows, booster.predict(rows), contributions)


def xgb(name, x, y, rounds=4, types=None, more=(), ending="json", **parameters):
    parameters = dict(max_depth=3, seed=1, nthread=1) | parameters
    if not parameters["objective"].startswith("binary"):
        parameters["num_class"] = int(y.max()) + 1
    matrix = lambda values: xgboost.DMatrix(values, feature_types=types, enable_categorical=types is not None)
    data = matrix(x)
    data.set_label(y)
    booster = xgboost.train(parameters, data, num_boost_round=rounds)
    rows = matrix(odd := odd_rows(x, more))
    contributions = booster.predict(rows, pred_contribs=True)
    contributions = contributions.reshape(ROWS, -1, x.shape[1] + 1)
    probabilities = booster.predict(rows)
    for ending in ("json", "ubj") if ending == "both" else (ending,):
        file = f"{name}.{ending}"
        booster.save_model(os.path.join(HERE, file))
        case(f"{name}-{ending}", file, odd, probabilities, contributions)


x, y = digits(4)
lgb("lightgbm-multiclass", x, y, objective="multiclass")
lgb("lightgbm-missing", with_missing(x), y, objective="multiclass")
lgb("lightgbm-zero-missing", x, y, objective="multiclass", zero_as_missing=True)
lgb("lightgbm-no-missing", with_missing(wine()[0]), wine()[1], objective="multiclass", use_missing=False)
lgb("lightgbm-zero-missing-signs", with_missing(np.round(wine()[0])), wine()[1], objective="multiclass", zero_as_missing=True)
lgb("lightgbm-ova", *wine(), objective="multiclassova", sigmoid=0.7)
lgb("lightgbm-binary", with_missing(digits(2)[0]), digits(2)[1], objective="binary", sigmoid=1.5)
lgb("lightgbm-rf", x, y, objective="multiclass", boosting="rf", bagging_freq=1, bagging_fraction=0.6)
lgb("lightgbm-dart", x, y, rounds=8, objective="multiclass", boosting="dart", drop_rate=0.5)
lgb("lightgbm-categories", with_categories(with_missing(x), y), y, objective="multiclass", categorical=[0, 1],
    more=(-1.0, -0.5, 3.7, 39.0, 1000.0, 2147483648.0), cat_smooth=1, min_data_per_group=5, max_cat_to_onehot=2)
xgb("xgboost-softprob", with_missing(x), y, objective="multi:softprob", ending="both")
xgb("xgboost-softmax-forest", *wine(), objective="multi:softprob", num_parallel_tree=2, subsample=0.7, rounds=2)
xgb("xgboost-binary", with_missing(digits(2)[0]), digits(2)[1], objective="binary:logistic")
xgb("xgboost-dart", *wine(), objective="multi:softprob", booster="dart", rate_drop=0.5, rounds=8)
types = ["c", "c"] + ["float"] * (x.shape[1] - 2)
xgb("xgboost-categories", with_categories(with_missing(x), y), y, objective="multi:softprob", types=types, ending="both",
    more=(3.0, 39.0), max_cat_to_onehot=3)

with open(os.path.join(HERE, "foreign.json"), "w") as file:
    versions = {m.__name__: m.__version__ for m in (lightgbm, xgboost, sklearn, np)}
    file.write('{"versions": %s, "cases": [\n' % json.dumps(versions))
    file.write(",\n".join(json.dumps(c) for c in cases))
    file.write("\n]}\n")
print({c["name"]: os.path.getsize(os.path.join(HERE, c["file"])) for c in cases}, os.path.getsize(os.path.join(HERE, "foreign.json")))
