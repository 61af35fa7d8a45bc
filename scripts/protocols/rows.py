"""Rows that all clients send, and what the server says of them in its plainest form."""

import random

from live import CLASSES, FEATURES


def make(count, seed=17):
    numbers = random.Random(seed)
    rows = []
    for _ in range(count):
        kind = numbers.randrange(3)
        rows.append([round(numbers.gauss(3 - kind, 0.4) * scale, 3) for scale in (2, 1, 1, 0.2)])
    return rows


ROWS = make(60)


def as_csv(rows):
    return "".join(",".join("" if value is None else repr(value) for value in row) + "\n" for row in rows)


def as_objects(rows):
    return [dict(zip(FEATURES, row)) for row in rows]


def expected(server, rows=None, path="/invocations"):
    """Class and probabilities (in the order of CLASSES) of each row, from CSV to CSV."""
    headers = {"Content-Type": "text/csv", "Accept": "text/csv; probabilities=true"}
    status, _, body = server.answer("POST", path, as_csv(rows or ROWS).encode(), headers)
    assert status == 200, body
    lines = [line.split(",") for line in body.decode().splitlines()]
    assert len(lines) == len(rows or ROWS), len(lines)
    # Rows of one class would hide a wrong order.
    assert rows or {label for label, *_ in lines} == set(CLASSES), lines[:3]
    return [label for label, *_ in lines], [[float(value) for value in values] for _, *values in lines]
