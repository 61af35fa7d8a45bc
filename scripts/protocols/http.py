"""Plain HTTP: the bodies that MLflow's clients send, packing, problem details, HTTP/2, TLS, health and metrics."""

import contextlib
import gzip
import json
import re
import signal
import socket
import ssl
import subprocess
import time

import requests

import live
from live import FEATURES
from . import check, predictions
from .rows import ROWS, as_csv, as_objects, expected


def post(context, body, content_type, path="/invocations", **headers):
    headers = {"Content-Type": content_type} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return requests.post(context.server.url + path, data=body, headers=headers, timeout=10)


def curl(*arguments):
    """Status and HTTP version that curl reports, and the body."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "10",
        "--write-out",
        r"\n%{http_code} %{http_version}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.rpartition("\n")
    return told, body


@check("MLflow's bodies: dataframe_split, dataframe_records, instances, inputs")
def mlflow(context):
    classes, _ = expected(context.server)
    for body in [
        {"dataframe_split": {"columns": FEATURES, "data": ROWS}},
        {"dataframe_split": {"columns": FEATURES[::-1], "data": [row[::-1] for row in ROWS]}},
        {"dataframe_records": as_objects(ROWS)},
        {"instances": ROWS},
        {"instances": as_objects(ROWS)},
        {"inputs": ROWS},
    ]:
        answer = requests.post(context.server.url + "/invocations", json=body, timeout=10)
        assert answer.status_code == 200, (list(body), answer.text)
        assert [row["class"] for row in predictions(answer.content)] == classes, list(body)


@check("JSON lines, of arrays and of objects, answered in several forms")
def json_lines(context):
    classes, _ = expected(context.server)
    for rows in (ROWS, as_objects(ROWS)):
        body = "\n".join(map(json.dumps, rows))
        for content_type in ("application/jsonlines", "application/x-ndjson"):
            answer = post(context, body, content_type, Accept="text/csv")
            assert answer.status_code == 200, (content_type, answer.text)
            assert answer.text.splitlines() == classes


@check("a packed body, and a packed answer to who wants one")
def packed(context):
    classes, _ = expected(context.server)
    answer = post(context, gzip.compress(as_csv(ROWS).encode()), "text/csv", Content_Encoding="gzip")
    assert answer.text.splitlines() == classes
    answer = post(context, as_csv(ROWS), "text/csv", Accept="application/json", Accept_Encoding="gzip")
    assert (
        answer.headers["Content-Encoding"] == "gzip" and "accept-encoding" in answer.headers["Vary"].lower()
    )
    assert [row["class"] for row in predictions(answer.content)] == classes
    answer = post(
        context, as_csv(ROWS), "text/csv", Accept="application/json", Accept_Encoding="identity, gzip;q=0"
    )
    assert "Content-Encoding" not in answer.headers


@check("refusals are problem details with a code, rows and columns")
def problems(context):
    answer = post(context, "1,2,3,4\n1,x,3,4\n", "text/csv")
    assert answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == answer.headers["x-serin-error-code"] == "not_a_number"
    assert problem["errors"][0]["row"] == 2 and problem["errors"][0]["column"] == "width", problem
    assert post(context, "1,2,3,4\n", "text/csv", Accept="image/png").status_code == 406


@check("explanations on request: the strongest contributions of each row")
def explanations(context):
    answer = post(context, json.dumps({"instances": ROWS[:3]}), "application/json", "/invocations?explain=2")
    assert answer.status_code == 200, answer.text
    for row in predictions(answer.content):
        listed = [
            value
            for value in row.values()
            if isinstance(value, (list, dict)) and value is not row["probabilities"]
        ]
        text = json.dumps(listed)
        assert sum(f'"{name}"' in text for name in FEATURES) == 2, row


@check("a trace given as traceparent is given back; a wrong one is not")
def trace(context):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert post(context, as_csv(ROWS[:1]), "text/csv", traceparent=parent).headers["traceparent"] == parent
    assert (
        "traceparent"
        not in post(context, as_csv(ROWS[:1]), "text/csv", traceparent=parent[:-1] + "g").headers
    )


@check("HEAD and GET of /ping")
def ping(context):
    for method in ("GET", "HEAD"):
        answer = requests.request(method, context.server.url + "/ping", timeout=10)
        assert answer.status_code == 200 and answer.content == b""


@check("HTTP/2 with prior knowledge, by curl")
def http2(context):
    url = context.server.url + "/invocations"
    told, body = curl(
        "--http2-prior-knowledge", "-H", "content-type: text/csv", "--data-binary", as_csv(ROWS), url
    )
    assert told == "200 2", told
    assert body.split() == expected(context.server)[0]
    told, _ = curl("--http1.0", "-H", "content-type: text/csv", "--data-binary", as_csv(ROWS), url)
    assert told.startswith("200 1"), told


@check("health and metrics on the port beside")
def admin(context):
    url = context.server.admin_url
    for path in ("/health/live", "/health/ready"):
        assert requests.get(url + path, timeout=2).status_code == 200, path
    answer = requests.get(url + "/metrics", timeout=2)
    assert answer.status_code == 200 and "text" in answer.headers["Content-Type"], answer.headers
    name, labels = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'(\{([a-zA-Z_]\w*="([^"\\\n]|\\.)*",?)*\})?'
    sample = re.compile(rf"{name}{labels} (-?[0-9.]+(e[+-]?\d+)?|[+-]Inf|NaN)( \d+)?$")
    lines = answer.text.splitlines()
    samples = [line for line in lines if line and not line.startswith("#")]
    wrong = [line for line in samples if not sample.fullmatch(line)]
    assert len(samples) > 20 and not wrong, wrong[:3]
    assert any('endpoint="flowers"' in line for line in samples)


@check("metrics count what was answered, exactly")
def counted(context):
    def answered():
        text = requests.get(context.server.admin_url + "/metrics", timeout=2).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if re.match(r"serin_\w*rows\w*_total\{.*flowers", line)
        )

    before = answered()
    for _ in range(5):
        post(context, as_csv(ROWS), "text/csv", "/endpoints/flowers/invocations")
    assert answered() - before == 5 * len(ROWS), answered() - before


def certificate(folder, number):
    """A key and a certificate for 127.0.0.1 that signed itself."""
    key, chain = folder / "key.pem", folder / "chain.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-set_serial",
            str(number),
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            chain,
        ],
        check=True,
        capture_output=True,
    )
    return key, chain


@contextlib.contextmanager
def tls_server(context):
    folder = context.folder / "tls"
    folder.mkdir(exist_ok=True)
    key, chain = certificate(folder, 1)
    with live.Server([context.folder / "flowers.serin"], folder, tls=(chain, key)) as server:
        yield server, chain


@check("TLS: curl agrees on HTTP/2, or on HTTP/1.1 when it wants that; Python verifies the certificate")
def tls(context):
    with tls_server(context) as (server, chain):
        url = server.url + "/invocations"
        row = ["--cacert", chain, "-H", "content-type: text/csv", "--data-binary", as_csv(ROWS[:1]), url]
        assert curl(*row)[0] == "200 2"
        assert curl("--http1.1", *row)[0] == "200 1.1"
        answer = requests.post(
            url, as_csv(ROWS[:1]), headers={"Content-Type": "text/csv"}, verify=str(chain), timeout=10
        )
        assert answer.status_code == 200
        old = subprocess.run(["curl", "--silent", "--tls-max", "1.1", *row], capture_output=True)
        assert old.returncode == 35, "TLS 1.1 was agreed on"


@check("TLS: neither plain HTTP nor silence holds the port")
def tls_misused(context):
    with tls_server(context) as (server, _):
        for sent in (b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"\x16\x03\x01\x02\x00"):
            start = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.port), 10) as stream:
                stream.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    assert b"HTTP/1.1 200" not in stream.recv(1000), sent
            assert time.monotonic() - start < 8, sent
        assert server.answer("GET", "/ping")[0] == 200


@check("TLS: another certificate is used after SIGHUP, a broken one is not")
def tls_reload(context):
    def serial(server):
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", server.port), 5) as stream:
            with unchecked.wrap_socket(stream) as secure:
                der = secure.getpeercert(binary_form=True)
        text = subprocess.run(
            ["openssl", "x509", "-inform", "der", "-noout", "-serial"], input=der, capture_output=True
        ).stdout
        return text.decode().strip()

    with tls_server(context) as (server, chain):
        assert serial(server) == "serial=01", serial(server)
        certificate(chain.parent, 2)
        server.process.send_signal(signal.SIGHUP)
        wait(lambda: serial(server) == "serial=02")
        chain.write_text("nonsense")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert serial(server) == "serial=02" and server.is_alive()


def wait(condition, seconds=5):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not come to pass"
        time.sleep(0.05)
