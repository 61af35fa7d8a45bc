"""Distances and probabilities of two samples, by SciPy: python make.py > distances.csv

One line a case: name, ks, ks_p, wasserstein / sd of the first (ddof 0), then both samples, joined by spaces."""
import numpy
from scipy import stats

rng = numpy.random.default_rng(11)
n, m = 500, 400
cases = {
    "same": (rng.normal(size=n), rng.normal(size=m)),
    "mean": (rng.normal(size=n), rng.normal(size=m) + 0.5),
    "scale": (rng.normal(size=n), rng.normal(size=m) * 2),
    "skewed": (rng.lognormal(size=n), rng.lognormal(size=m) * 1.3),
    "counts": (rng.poisson(4, size=n).astype(float), rng.poisson(5, size=m).astype(float)),
    "codes": (rng.integers(0, 4, size=n).astype(float), rng.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=m).astype(float)),
    "outside": (rng.uniform(size=n), rng.uniform(size=m) * 1.5),
    "spike": (numpy.where(rng.uniform(size=n) < 0.3, 0.0, rng.normal(size=n)),
              numpy.where(rng.uniform(size=m) < 0.5, 0.0, rng.normal(size=m))),
}
print("name,ks,ks_p,wasserstein,before,now")
for name, (a, b) in cases.items():
    ks = stats.ks_2samp(a, b, method="asymp")
    w = stats.wasserstein_distance(a, b) / a.std()
    join = lambda x: " ".join(repr(float(v)) for v in x)
    print(f"{name},{ks.statistic!r},{ks.pvalue!r},{w!r},{join(a)},{join(b)}".replace("np.float64(", "").replace(")", ""))
