"""Writes tails.csv beside this file: tail probabilities by SciPy, which the tests of serin_ml::sequential compare with.

    python -m venv venv && venv/bin/pip install scipy && venv/bin/python make.py
"""

import pathlib
import random

from scipy.stats import beta, binom, hypergeom

random.seed(17)
rows = ["function,a,b,c,d,value"]
for _ in range(120):
    n = random.choice([20, 57, 300, 1_000, 30_000])
    m = random.choice([0, 20, 300, 2_700, 100_000])
    k = min(n, int(n * random.choice([0, 0.001, 0.01, 0.05, 0.5, 1.0])) + random.randint(0, 4))
    j = min(m, int(m * random.choice([0, 0.001, 0.01, 0.05, 0.5, 1.0])))
    value = hypergeom.sf(k, n + m, k + j, n) + hypergeom.pmf(k, n + m, k + j, n) / 2
    if k + j == 0:
        value = 1.0
    if value > 1e-250:
        rows.append(f"worse_than,{k},{n},{j},{m},{value!r}")
for _ in range(80):
    n = random.choice([1, 20, 300, 6_000, 200_000])
    p = random.choice([0.001, 0.01, 0.02, 0.5, 0.9])
    k = min(n, max(0, int(n * p) + random.randint(-3, 12)))
    value = binom.sf(k - 1, n, p) if k else 1.0
    rows.append(f"at_least,{k},{n},{p!r},,{float(value)!r}")
    level = random.choice([0.05, 0.01, 1e-5])
    value = beta.isf(level, k + 1, n - k) if k < n else 1.0
    rows.append(f"upper_share,{k},{n},{level!r},,{float(value)!r}")
rows = [row.replace("np.float64(", "").replace(")", "") for row in rows]
(pathlib.Path(__file__).parent / "tails.csv").write_text("\n".join(rows) + "\n")
