"""Proper requests in numbers or at moments that hurt: pipelines, callers that leave half-way, connections without end."""

import concurrent.futures
import random
import socket
import subprocess
import time
import urllib.request
import uuid

import live
from live import ROW
from . import http1, http2, wire

CLOSE = "Connection: close"


def with_id(name, *lines, **how):
    return http1.post(f"X-Amzn-SageMaker-Inference-Id: {name}", *lines, **how)


def trailing_bytes(server, report):
    """What stands behind a request must not keep its answer back (some old clients end a body with a line break)."""
    for name, data in {
        "CRLF after a body": http1.post() + b"\r\n",
        "CRLF after a last body": http1.post(CLOSE) + b"\r\n",
        "the beginning of a next request": http1.post() + b"POST /invo",
        "the head of a next request": http1.post() + http1.post("Content-Length: 5", body=b"", length=False),
        "nothing": http1.post(),
    }.items():
        reply = wire.exchange(server.port, data, patience=2.0)
        fault = "" if reply.statuses[:1] == [200] else "wanted the answer at once"
        report("B68", f"answer before {name}", fault, str(reply), data)


def pipeline(server, report, ids, count=1000):
    """`count` requests in one go, every tenth of them wrong; the answers come in order."""
    names = [f"pipe-{uuid.uuid4()}" for _ in range(count)]
    sent = [with_id(name, body=b"x\n" if at % 10 == 9 else ROW.encode()) for at, name in enumerate(names)]
    reply = wire.exchange(server.port, b"".join(sent) + http1.get("/ping", CLOSE), patience=3.0)
    got = [answer.headers.get("x-amzn-sagemaker-inference-id") for answer in reply.answers[:count]]
    wanted = [422 if at % 10 == 9 else 200 for at in range(count)] + [200]
    fault = "" if got == names and reply.statuses == wanted else "wanted every answer, in order"
    ids.extend(name for name, answer in zip(names, reply.answers) if answer.status == 200)
    report("B68", f"a pipeline of {count}", fault, str(reply))

    names = [f"left-{uuid.uuid4()}" for _ in range(count)]
    with wire.connect(server.port) as stream:
        stream.sendall(b"".join(map(with_id, names)))
        received = b""
        while received.count(b"HTTP/1.1 200") < count // 2 and (chunk := receive(stream)):
            received += chunk
        wire.reset(stream)
    answers, _ = wire.parse(received)
    ids.extend(name for name, _ in zip(names, answers))
    fault = "" if len(answers) >= count // 2 else "wanted at least half"
    report("B68", "a pipeline left half-way", fault, f"{len(answers)} answers before the reset")


def receive(stream):
    try:
        return stream.recv(1 << 16)
    except OSError:
        return b""


def unread_pipeline(server, report, megabytes=40):
    """A caller that sends and sends, and reads nothing: the server must stop taking more at some point."""
    request = http1.post(body=b"x,y\n" * 60)
    before = server.memory()
    # Each write ends inside a request, as it would on a network.
    piece, sent = request[1:] + request * 199 + request[:1], 1
    with wire.connect(server.port, 3.0, receive_bytes=4096) as stream:
        stream.sendall(request[:1])
        try:
            while sent < megabytes << 20:
                stream.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        time.sleep(0.5)
        grown = server.memory() - before
    fault = "memory follows what is sent" if grown > 16 else ""
    report(
        "B68",
        "a pipeline whose answers nobody reads",
        fault,
        f"{sent >> 20} MiB sent, memory {grown:+.0f} MiB",
    )


def leaving(server, report, count):
    """Callers that leave at any byte, with FIN or with RST, before or while they are answered."""
    numbers = random.Random(17)
    whole = http1.post(body=ROW.encode() * 50)
    large = http1.post("Accept: application/json", body=ROW.encode() * 2000)

    def leave(number):
        data = large if number % 10 == 0 else whole
        try:
            with wire.connect(server.port) as stream:
                stream.sendall(data[: numbers.randrange(len(data) + 1)])
                time.sleep(numbers.random() * 0.05)
                if number % 2:
                    wire.reset(stream)
                elif number % 3:
                    stream.shutdown(socket.SHUT_WR)
                    receive(stream)
        except OSError:
            pass

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        list(pool.map(leave, range(count)))
    status = server.answer("POST", "/invocations", ROW.encode(), {"Content-Type": "text/csv"})[0]
    report(
        "B69",
        f"{count} callers that leave",
        "" if status == 200 else f"then {status}",
        "still answering",
    )
    for name, data in {"a request": http1.post(), "a batch": http1.post(body=ROW.encode() * 3000)}.items():
        replies = [wire.exchange(server.port, data, patience=3.0, half_close=True) for _ in range(50)]
        answered = sum(reply.statuses == [200] for reply in replies)
        fault = "" if answered == 50 else "wanted every answer: the caller only said that it sends no more"
        report("B69", f"half-close after {name}, 50 times", fault, f"{answered} answered", data)


def tiny_chunks(server, report, count=1_000_000):
    body = (b"0,0,0,0\n" * (count // 8))[:count]
    data = http1.post(
        "Transfer-Encoding: chunked",
        CLOSE,
        length=False,
        body=b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
    )
    before, busy = server.memory(), server.cpu_seconds()
    reply = wire.exchange(server.port, data)
    grown, busy = server.memory() - before, server.cpu_seconds() - busy
    fault = (
        ""
        if reply.statuses == [413] and grown < 32 and busy < 3
        else "wanted 413 (too many rows), within 3 s and 32 MiB"
    )
    report(
        "B58",
        f"{count} chunks of 1 byte",
        fault,
        f"{reply}; {busy:.2f} s of processor, {grown:+.0f} MiB",
    )


def bodies_begun(server, report, connections=100):
    """Large bodies that never end, from many connections at once: only so many may be in memory together."""
    part = post_head(5 << 20) + ROW.encode() * ((5 << 16) - 1)
    before, streams = server.memory(), []
    for _ in range(connections):
        stream = wire.connect(server.port, 1.0)
        streams.append(stream)
        try:
            stream.sendall(part)
        except OSError:
            pass
    grown = server.memory() - before
    started = http2.start() + b"".join(
        http2.headers(number, http2.POST, "END_HEADERS") + http2.data(number, b"1," * 4000)
        for number in range(1, 200, 2)
    )
    for _ in range(connections):
        stream = wire.connect(server.port, 1.0)
        streams.append(stream)
        try:
            stream.sendall(started)
        except OSError:
            pass
    time.sleep(0.5)
    grown_streams = server.memory() - before
    for stream in streams:
        wire.reset(stream)
    seen = f"{connections} x 5 MiB: {grown:+.0f} MiB; and {connections} x 100 HTTP/2 streams x 8 kB: {grown_streams:+.0f} MiB"
    report(
        "R21", "bodies begun", "wanted at most 200 MiB" if max(grown, grown_streams) > 200 else "", seen, b""
    )


def post_head(length):
    return http1.post(f"Content-Length: {length}", length=False, body=b"")


def same_id(server, report, ids, count=200):
    name = f"same-{uuid.uuid4()}"
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda _: wire.exchange(server.port, with_id(name, CLOSE)), range(count)))
    fault = "" if all(reply.statuses == [200] for reply in replies) else "wanted 200 each time"
    ids.append(name)
    report("B73", f"one id {count} times", fault, str(replies[0]))


def one_address(server, report):
    """R23 allows 64 connections of one address; those beyond are closed, not kept waiting."""
    streams, served = [connecting(server.port, "127.9.9.9") for _ in range(200)], 0
    time.sleep(1)
    for stream in streams:
        stream.settimeout(1.0)
        try:
            stream.sendall(http1.get("/ping"))
            served += stream.recv(1000).startswith(b"HTTP/1.1 200")
        except OSError:
            pass
    for stream in streams:
        stream.close()
    fault = "" if served <= 64 else "wanted at most 64"
    report("R23", "200 connections from one address", fault, f"{served} served")


def held_health(server, report):
    """Who holds the health port must not keep others from it for long."""
    port = server.port + 1
    streams = [connecting(port) for _ in range(200)]
    time.sleep(0.2)
    start = time.monotonic()
    try:
        with urllib.request.urlopen(f"{server.admin_url}/health/live", timeout=10) as answer:
            status = answer.status
    except OSError as error:
        status = repr(error)
    took = time.monotonic() - start
    for stream in streams:
        stream.close()
    fault = "" if status == 200 and took < 6 else "wanted an answer within 6 s"
    report("R22", "health behind 200 silent connections", fault, f"{status} after {took:.1f} s")


def few_files(model, folder, report):
    """R24: 500 connections where 128 files may be open; a second server, because it is crippled."""
    folder.mkdir()
    with live.Server([model], folder, before=["prlimit", "--nofile=128"]) as server:
        # Beyond the kernel's queue a connection takes its time: nobody waits for that here.
        streams = [connecting(server.port) for _ in range(500)]
        time.sleep(1)
        alive = server.is_alive()
        busy = server.cpu_seconds()
        time.sleep(1)
        busy = server.cpu_seconds() - busy
        for stream in streams:
            stream.close()
        start = time.monotonic()
        while alive and server.answer("GET", "/ping", timeout=2)[0] != 200 and time.monotonic() - start < 15:
            time.sleep(0.1)
        recovered = time.monotonic() - start
        lines = server.log.read_text().count("\n")
    fault = (
        "died"
        if not alive
        else ""
        if recovered < 5 and busy < 0.3 and lines < 100
        else "wanted calm and recovery within 5 s"
    )
    seen = (
        f"{busy:.2f} s of processor in a second, {lines} lines of log, answers again after {recovered:.1f} s"
    )
    report("R24", "500 connections on 128 files", fault, seen)


def connecting(port, source="127.0.0.1"):
    """A socket whose connection is on its way."""
    stream = socket.socket()
    stream.bind((source, 0))
    stream.setblocking(False)
    stream.connect_ex(("127.0.0.1", port))
    return stream


def stopping(model, folder, report):
    """SIGTERM while callers hold connections in every state: the end comes within the drain limit of 30 s and 5 s more."""
    folder.mkdir()
    with live.Server([model], folder) as server:
        held = [
            b"",
            b"POST /invo",
            http1.post("Content-Length: 100", body=b"1,2", length=False),
            http1.get("/ping"),
        ]
        streams = [wire.connect(server.port) for _ in range(20) for _ in held]
        for number, stream in enumerate(streams):
            stream.sendall(held[number % len(held)])
        time.sleep(0.2)
        start = time.monotonic()
        server.process.terminate()
        try:
            code = server.process.wait(40)
        except subprocess.TimeoutExpired:
            code = None
        took = time.monotonic() - start
        for stream in streams:
            stream.close()
    fault = "" if code == 0 and took < 36 else "wanted exit code 0 within 35 s"
    report(
        "drain",
        "SIGTERM while 80 callers hold connections",
        fault,
        f"exit code {code} after {took:.1f} s",
    )
