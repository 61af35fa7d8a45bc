"""Writes train.csv and holdout.csv from scikit-learn's copy of the digits data (made with scikit-learn 1.9.1).

The stratified fifth held out is fixed, so that every demo is judged on the same rows.
"""

from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).parent
digits = load_digits()
header = ",".join(["digit"] + [f"pixel_{row}_{column}" for row in range(8) for column in range(8)])
parts = train_test_split(digits.data, digits.target, test_size=0.2, stratify=digits.target, random_state=17)
for name, x, y in [("train", parts[0], parts[2]), ("holdout", parts[1], parts[3])]:
    lines = [header] + [",".join([str(label)] + [f"{value:.0f}" for value in row]) for label, row in zip(y, x)]
    (FOLDER / f"{name}.csv").write_text("\n".join(lines) + "\n")
