"""The loop behind scripts/bench-quality: SERIN DATASET BUDGET SEED...; a BUDGET without a unit is a number of trials."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import pandas as pd
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold


def load(name):
    if name == "reference":
        folder = pathlib.Path(os.environ.get("SERIN_REFERENCE_DATA", "../shared/data"))
        return pd.read_csv(folder / "reference-train.csv")
    data = getattr(datasets, f"load_{name}")(as_frame=True)
    return data.frame


serin, name, budget, *seeds = sys.argv[1:]
frame = load(name)
means = []
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for seed in map(int, seeds):
        scores = []
        folds = StratifiedKFold(5, shuffle=True, random_state=seed).split(frame, frame["target"])
        for number, (train, test) in enumerate(folds):
            frame.iloc[train].to_csv(folder / "train.csv", index=False)
            frame.iloc[test].to_csv(folder / "test.csv", index=False)
            command = [serin, "train", "--data", "train.csv", "--test", "test.csv", "--target", "target"]
            command += ["--trials" if budget.isdigit() else "--budget", budget, "--seed", str(seed), "--out", "out", "--json"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode not in (0, 3):
                sys.exit(done.stderr)
            result = json.loads(done.stdout)
            evaluation = json.loads((folder / "out/evaluation.json").read_text())
            board = json.loads((folder / "out/leaderboard.json").read_text())
            summary = board["summary"]
            reference = [row["score"] for row in board["leaderboard"]["rows"] if row["candidate"]["label"] == "reference"]
            line = dict(seed=seed, fold=number, macro_f1=result["score"], trials=result["trials"])
            line |= dict(single=summary["single_score"], ensemble=summary["ensemble_score"], taken=summary["is_ensemble"])
            line |= dict(calibration=summary["calibration"], reference=reference[0] if reference else None)
            line |= dict(members=[f'{m["candidate"]["label"]} {m["weight"]:.2f}' for m in board["leaderboard"]["rows"] if m["weight"] > 0])
            print(json.dumps(line), file=sys.stderr, flush=True)
            scores.append(result["score"])
        means.append(statistics.mean(scores))
        print(f"{name} budget {budget} seed {seed}: macro-F1 {means[-1]:.4f}", flush=True)
deviation = statistics.stdev(means) if len(means) > 1 else float("nan")
print(f"{name} budget {budget}: macro-F1 {statistics.mean(means):.4f} (sd over seeds {deviation:.4f})")
