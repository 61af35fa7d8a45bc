"""Checks of `scripts/check-protocols`: what real clients and tools must get from a running server."""

import collections
import json
import traceback

Context = collections.namedtuple("Context", "server folder")
CHECKS = []


def check(sentence):
    """Registers a function of a Context; `sentence` says what holds when it returns."""

    def register(function):
        CHECKS.append((function.__module__.rpartition(".")[2], sentence, function))
        return function

    return register


def run(context, only=None):
    """Runs all checks in order and prints what held; the number of those that did not."""
    failed, area = 0, None
    for module, sentence, function in CHECKS:
        if only and module not in only:
            continue
        if module != area:
            area = module
            print(f"\n{area.replace('_', ' ')}")
        try:
            function(context)
            print(f"  ok    {sentence}", flush=True)
        except Exception as error:
            failed += 1
            at = traceback.extract_tb(error.__traceback__)
            place = [frame for frame in at if frame.filename.startswith(__path__[0])][-1]
            print(
                f"  FAIL  {sentence}\n        {place.line}\n        {type(error).__name__}: {str(error)[:600]}",
                flush=True,
            )
    return failed


def predictions(answer):
    """`predictions` of a JSON answer: each has a class, and probabilities that sum to 1."""
    found = json.loads(answer)["predictions"]
    for prediction in found:
        total = sum(prediction["probabilities"].values())
        assert abs(total - 1) < 1e-9, total
        assert prediction["class"] in prediction["probabilities"], prediction
    return found
