"""Writes prepare.json: what scikit-learn, imbalanced-learn and SciPy make of small tables.

Run in this folder with Python and the packages whose versions the file records:
    python make_prepare.py
A missing value is null. Tables are lists of rows.
"""

import json
import platform

import imblearn
import numpy as np
import scipy
import sklearn
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import EditedNearestNeighbours, TomekLinks
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler


def rounded(value, digits=17):
    """Lists for JSON; NaN becomes null."""
    if isinstance(value, np.ndarray):
        return [rounded(item) for item in value]
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, (np.bool_, bool)):
        return bool(value)
    if isinstance(value, (np.integer, int)):
        return int(value)
    value = float(value)
    return None if np.isnan(value) else float(f"{value:.{digits}g}")


generator = np.random.default_rng(17)

# Fifty rows: normal, skewed, all negative, mixed in sign, small whole numbers, far from zero, constant.
n = 50
table = np.column_stack(
    [
        generator.normal(3.0, 2.0, n),
        generator.lognormal(1.0, 0.8, n),
        -generator.gamma(2.0, 3.0, n),
        generator.standard_t(3, n),
        generator.integers(0, 5, n).astype(float),
        1e6 + generator.normal(0.0, 1.0, n),
        np.full(n, 4.25),
    ]
)
table = np.round(table, 6)
with_missing = table.copy()
for j in (0, 1, 4):
    with_missing[generator.choice(n, 7, replace=False), j] = np.nan

out = {
    "versions": {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "imbalanced-learn": imblearn.__version__,
    },
    "table": rounded(table),
    "with_missing": rounded(with_missing),
    "impute": {},
    "scale": {},
}

for strategy in ("mean", "median", "most_frequent", "constant"):
    imputer = SimpleImputer(strategy=strategy, add_indicator=True, fill_value=-7.5 if strategy == "constant" else None)
    out["impute"][strategy.replace("_", "-")] = rounded(imputer.fit_transform(with_missing))

out["scale"]["z-score"] = rounded(StandardScaler().fit_transform(with_missing))
out["scale"]["robust"] = rounded(RobustScaler().fit_transform(with_missing))
out["scale"]["min-max"] = rounded(MinMaxScaler().fit_transform(with_missing))
power = PowerTransformer(method="yeo-johnson", standardize=True).fit(with_missing)
out["scale"]["yeo-johnson"] = rounded(power.transform(with_missing))
out["yeo_johnson_exponents"] = rounded(power.lambdas_)
plain = PowerTransformer(method="yeo-johnson", standardize=False).fit(with_missing)
assert np.array_equal(plain.lambdas_, power.lambdas_)

wine = load_wine()
x, y = wine.data, wine.target
out["wine"] = {"x": rounded(x), "y": rounded(y)}

# Principal components: more rows than columns, and more columns than rows.
standard = StandardScaler().fit_transform(x)
for name, data in (("tall", standard), ("wide", standard[::20])):
    pca = PCA(svd_solver="full").fit(data)
    rank = int((pca.explained_variance_ratio_ > 1e-12).sum())
    out[f"pca_{name}"] = {
        "x": rounded(data),
        "explained": rounded(pca.explained_variance_ratio_[:rank]),
        "absolute_scores": rounded(np.abs(pca.transform(data)[:, :rank])),
        "count_at_90_percent": int(PCA(n_components=0.9, svd_solver="full").fit(data).n_components_),
    }

# Dropping correlated columns, written independently: pairs by numpy, nearness by the F statistic.
noisy = np.column_stack([x, x[:, 0] * 2 + generator.normal(0, 0.1, len(x)), x[:, 6] + generator.normal(0, 0.3, len(x))])
noisy = np.round(noisy, 6)
f_statistic, _ = f_classif(noisy, y)
r = np.corrcoef(noisy, rowvar=False)
for threshold in (0.95, 0.8, 0.6):
    kept = []
    for j in np.argsort(-f_statistic, kind="stable"):
        if all(abs(r[j, k]) < threshold for k in kept):
            kept.append(int(j))
    out.setdefault("drop_correlated", {"x": rounded(noisy), "kept": {}})["kept"][str(threshold)] = sorted(kept)

# Cleaning: three overlapping classes without ties. What is kept, by index.
sizes = (60, 35, 15)
centres = np.array([[0, 0, 0, 0], [2.5, 1.0, 0, 0], [1.0, 2.5, 1.0, 0]])
x = np.round(np.vstack([generator.normal(centre, 1.0, (size, 4)) for centre, size in zip(centres, sizes)]), 9)
y = np.repeat([0, 1, 2], sizes)
order = generator.permutation(len(y))
x, y = x[order], y[order]
tomek = TomekLinks()
tomek.fit_resample(x, y)
tomek_all = TomekLinks(sampling_strategy="all")
tomek_all.fit_resample(x, y)
edited = EditedNearestNeighbours(sampling_strategy="all")
edited.fit_resample(x, y)
out["clean"] = {
    "x": rounded(x),
    "y": rounded(y),
    "tomek_kept": rounded(np.sort(tomek.sample_indices_)),
    "tomek_both_kept": rounded(np.sort(tomek_all.sample_indices_)),
    "edited_kept": rounded(np.sort(edited.sample_indices_)),
}
assert SMOTETomek().fit_resample(x, y) and SMOTEENN().fit_resample(x, y)

# The class counts that SMOTE ends with; and a table already balanced, on which the two combinations only clean.
_, smote_y = SMOTE(random_state=1).fit_resample(x, y)
out["smote_counts"] = rounded(np.bincount(smote_y))
equal = np.concatenate([np.flatnonzero(y == c)[:15] for c in range(3)])
equal.sort()
x, y = x[equal], y[equal]
combined = SMOTETomek(random_state=1).fit_resample(x, y)
edited = SMOTEENN(random_state=1).fit_resample(x, y)
position = {tuple(row): i for i, row in enumerate(x)}
out["balanced"] = {
    "x": rounded(x),
    "y": rounded(y),
    "smote_tomek_kept": sorted(position[tuple(row)] for row in combined[0]),
    "smote_enn_kept": sorted(position[tuple(row)] for row in edited[0]),
}

with open("prepare.json", "w", encoding="utf-8") as file:
    json.dump(out, file, separators=(",", ":"))
    file.write("\n")
