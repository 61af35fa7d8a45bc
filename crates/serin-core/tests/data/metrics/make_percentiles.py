"""Writes percentiles.csv beside this file, which the tests of serin_core::metrics compare with.

The cumulative share of observations is a line through the bounds of the buckets; a percentile is where that line
crosses it. That is what Prometheus' histogram_quantile says in words. Computed in exact fractions, so that no rounding
decides between two buckets. Needs nothing but Python.

    python make_percentiles.py
"""

import pathlib
import random
from fractions import Fraction

LATENCY = [50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.5, 2.0, 10.0]
BOUNDS = [LATENCY, [1.0], [0.5, 1.5, 4.0], [-2.0, -1.0, 0.0, 3.0], [float(2**n) for n in range(12)]]
PERCENTILES = ["0.1", "1", "5", "25", "50", "66.6", "75", "90", "95", "99", "99.9", "99.99", "100"]


def crossing(bounds, counts, percentile):
    """Where the line from corner to corner reaches the share."""
    share = Fraction(percentile) / 100 * sum(counts)
    corners = [(Fraction(0), Fraction(0) if bounds[0] > 0 else Fraction(bounds[0]))]
    for bound, count in zip(bounds, counts):
        corners.append((corners[-1][0] + count, Fraction(bound)))
    for (below, left), (above, right) in zip(corners, corners[1:]):
        if below < share <= above:
            return left + (right - left) * (share - below) / (above - below)
    return Fraction(bounds[-1])


random.seed(23)
rows = ["bounds,counts,percentile,value"]
for _ in range(150):
    bounds = random.choice(BOUNDS)
    largest = random.choice([1, 3, 100, 100_000])
    counts = [random.choice([0, random.randint(0, largest)]) for _ in range(len(bounds) + 1)]
    if sum(counts) == 0:
        counts[random.randrange(len(counts))] = 1
    for percentile in random.sample(PERCENTILES, 4):
        value = float(crossing(bounds, counts, percentile))
        cells = [";".join(map(repr, bounds)), ";".join(map(str, counts)), percentile, repr(value)]
        rows.append(",".join(cells))
pathlib.Path(__file__).with_name("percentiles.csv").write_text("\n".join(rows) + "\n")
