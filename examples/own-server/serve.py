"""Answers under SageMaker's contract: /ping, and /invocations with CSV rows without a header.

A line of the answer is the class and the probability of each class, in the classes' order."""
import http.server
import math
import os
import pathlib
import pickle

CENTRES = pickle.loads(pathlib.Path(os.environ["SM_MODEL_DIR"], "centres.pickle").read_bytes())
# Serin's order of classes: numbers by their value, other names by theirs.
LABELS = sorted(CENTRES, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label))


def judge(line):
    values = [float(value or 0) for value in line.split(",")]
    distances = [sum((a - b) ** 2 for a, b in zip(values, CENTRES[label])) for label in LABELS]
    weights = [math.exp((min(distances) - distance) / 100) for distance in distances]
    probabilities = [weight / sum(weights) for weight in weights]
    label = LABELS[probabilities.index(max(probabilities))]
    return ",".join([label, *map(repr, probabilities)])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The answer is two writes; without this the second one may wait for the first one's acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def say(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "text/csv")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.say(200 if self.path == "/ping" else 404, b"\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        try:
            self.say(200, "".join(judge(line) + "\n" for line in body.splitlines()).encode())
        except ValueError as error:
            self.say(400, str(error).encode())


address = (os.environ.get("SERIN_BIND", "127.0.0.1"), int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
