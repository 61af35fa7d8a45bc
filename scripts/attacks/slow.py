"""Callers that hold connections: silent, slow to write, slow to read, gone. They come from many addresses, so that a limit
per address does not answer for the limits in time; a good caller beside them must notice nothing."""

import asyncio
import contextlib
import functools
import itertools
import random
import statistics
import time
import urllib.request
import uuid

from live import ROW
from . import http1, http2, wire

GRACE_SECONDS = 2.0
PAUSE_SECONDS = 15
# They do not all begin at once: 300 large batches in one second would be a test of something else.
SPREAD_SECONDS = 8


async def open_stream(port, receive_bytes=None):
    """A connection from some loopback address; with `receive_bytes`, one that the kernel buffers little for."""
    stream = await asyncio.to_thread(wire.connect, port, 20.0, receive_bytes)
    stream.setblocking(False)
    return stream


async def until_closed(stream, send=None, every=1.0, read=True):
    """Seconds until the server closed: sends one byte of `send` each second, and reads what comes (or not)."""
    loop, start = asyncio.get_running_loop(), time.monotonic()

    async def reading():
        while await loop.sock_recv(stream, 1 << 16):
            pass

    async def sending():
        for byte in send:
            await loop.sock_sendall(stream, byte)
            await asyncio.sleep(every)

    jobs = [
        asyncio.ensure_future(job)
        for job in [reading() if read else None, sending() if send else None]
        if job
    ]
    try:
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        # A caller who writes learns of the end by the error, one who reads by the end of the bytes.
        return time.monotonic() - start
    finally:
        for job in jobs:
            job.cancel()
        for job in jobs:
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await job
        stream.close()


def dripping(data):
    """`data` and then spaces without end, a byte at a time."""
    return itertools.chain((bytes([byte]) for byte in data), itertools.repeat(b"1"))


async def silent(port):
    return await until_closed(await open_stream(port))


async def slow_head(port):
    return await until_closed(
        await open_stream(port), dripping(b"POST /invocations HTTP/1.1\r\nHost: a\r\nx: ")
    )


async def slow_second_head(port):
    stream = await open_stream(port)
    await asyncio.get_running_loop().sock_sendall(stream, http1.get("/ping"))
    return await until_closed(stream, dripping(b"GET /ping HTTP/1.1\r\nHost: a\r\nx: "))


async def slow_body(port):
    stream = await open_stream(port)
    await asyncio.get_running_loop().sock_sendall(
        stream, http1.post("Content-Length: 100000", body=b"", length=False)
    )
    return await until_closed(stream, dripping(b""))


async def slow_chunks(port):
    stream = await open_stream(port)
    head = http1.post("Transfer-Encoding: chunked", body=b"", length=False)
    await asyncio.get_running_loop().sock_sendall(stream, head)
    return await until_closed(stream, itertools.repeat(b"1\r\n1\r\n"))


async def slow_frames(port):
    """An HTTP/2 body that never goes on; the connection itself is kept busy with pings."""
    stream = await open_stream(port)
    head = http2.start() + http2.headers(1, http2.POST, "END_HEADERS")
    await asyncio.get_running_loop().sock_sendall(stream, head)
    return await until_closed(stream, itertools.repeat(http2.raw(6, 0, 0, b"12345678")))


async def no_window(port):
    """HTTP/2 answers that never may be sent; pings say that the caller is well."""
    stream = await open_stream(port)
    wanted = http2.start({4: 0}) + b"".join(
        http2.headers(number, http2.GET[:3] + [(":path", "/nowhere")]) for number in range(1, 200, 2)
    )
    await asyncio.get_running_loop().sock_sendall(stream, wanted)
    return await until_closed(stream, itertools.repeat(http2.raw(6, 0, 0, b"12345678")))


async def no_reading(port):
    """A large answer that nobody takes: seen by the server's end of the connection, as the caller does not read."""
    stream = await open_stream(port, receive_bytes=4096)
    local = stream.getsockname()
    request = http1.post("Accept: application/json", body=ROW.encode() * 3000)
    await asyncio.get_running_loop().sock_sendall(stream, request)
    start = time.monotonic()
    # The table of this second may be older than the connection.
    await asyncio.sleep(2.0)
    while is_established(port, local):
        await asyncio.sleep(1.0)
    stream.close()
    return time.monotonic() - start


def is_established(port, peer):
    """Whether the server still holds the connection from `peer`, as the kernel tells."""
    return "{3:02X}{2:02X}{1:02X}{0:02X}:{4:04X}".format(*map(int, peer[0].split(".")), peer[1]) in peers_of(
        port, int(time.monotonic())
    )


@functools.lru_cache(maxsize=1)
def peers_of(port, _second):
    """The far ends of all connections of `port`; looked up once a second, because many ask."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table]
    return {far for _, near, far, state, *_ in rows if near.endswith(f":{port:04X}") and state == "01"}


# Name, caller, seconds within which R23 wants it gone.
CALLERS = [
    ("silent", silent, 5),
    ("slow head", slow_head, 10),
    ("slow second head", slow_second_head, 10),
    ("slow body", slow_body, 15),
    ("slow chunks", slow_chunks, 15),
    ("slow HTTP/2 body", slow_frames, 15),
    ("HTTP/2 without window", no_window, 15),
    ("not reading", no_reading, 15),
]


async def patient_http1(port):
    """A request, a pause within the idle limit, another request."""
    stream, loop = await open_stream(port), asyncio.get_running_loop()
    answers = []
    for pause in (PAUSE_SECONDS, 0):
        await loop.sock_sendall(stream, http1.get("/ping"))
        answers.append((await loop.sock_recv(stream, 1000))[9:12])
        await asyncio.sleep(pause)
    stream.close()
    return answers == [b"200", b"200"]


async def patient_http2(port, pings=True):
    """The same in HTTP/2, with an acknowledgement of the settings that comes late, and perhaps pings in the pause."""
    stream, loop = await open_stream(port), asyncio.get_running_loop()
    await loop.sock_sendall(stream, http2.start() + http2.headers(1, http2.GET))
    await asyncio.sleep(0.5)
    await loop.sock_sendall(stream, http2.raw(4, 1, 0, b""))
    for _ in range(PAUSE_SECONDS):
        await asyncio.sleep(1)
        if pings:
            await loop.sock_sendall(stream, http2.raw(6, 0, 0, b"12345678"))
    await loop.sock_sendall(stream, http2.headers(3, http2.GET))
    await asyncio.sleep(0.5)
    answers = http2.outcome(await loop.sock_recv(stream, 1 << 16), False, 0)
    stream.close()
    return answers.statuses.get(3) == 200


async def patient_http2_without_pings(port):
    return await patient_http2(port, pings=False)


async def steady_http2(port):
    """A large answer taken at 16 KiB a second: slow, but faster than the slowest allowed."""
    stream, loop = await open_stream(port), asyncio.get_running_loop()
    body = ROW.encode() * 3000
    parts = [body[at : at + 16384] for at in range(0, len(body), 16384)]
    sent = b"".join(http2.data(1, part, *(["END_STREAM"] if part is parts[-1] else [])) for part in parts)
    wanted = [*http2.POST, ("accept", "application/json")]
    await loop.sock_sendall(stream, http2.start() + http2.headers(1, wanted, "END_HEADERS") + sent)
    more, received = b"".join(http2.raw(8, 0, id, (16384).to_bytes(4)) for id in (0, 1)), b""
    for _ in range(2 * PAUSE_SECONDS):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while chunk := await loop.sock_recv(stream, 1 << 16):
                    received += chunk
        if 1 in http2.outcome(received, False, 0).whole:
            break
        await loop.sock_sendall(stream, more)
    stream.close()
    return 1 in http2.outcome(received, False, 0).whole


# Who must not be let go.
PATIENT = [
    ("idle for 15 s between two requests", patient_http1),
    ("idle for 15 s between two HTTP/2 requests", patient_http2_without_pings),
    ("idle for 15 s with HTTP/2 pings", patient_http2),
    ("an HTTP/2 answer taken slowly but steadily", steady_http2),
]


async def good_caller(port, seconds, per_second, ids):
    """Requests on schedule from one keep-alive connection at a time: failures, and latencies in ms."""
    failures, latencies = [], []
    reader = writer = None
    start = time.monotonic()
    for number in range(int(seconds * per_second)):
        await asyncio.sleep(max(0.0, start + number / per_second - time.monotonic()))
        began = time.monotonic()
        name = f"good-{uuid.uuid4()}"
        try:
            async with asyncio.timeout(2.0):
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(http1.post(f"X-Amzn-SageMaker-Inference-Id: {name}"))
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise OSError(head.split(b"\r\n")[0])
                ids.append(name)
                latencies.append(1000 * (time.monotonic() - began))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            failures.append(repr(error))
            writer = None
    return failures, latencies


async def probe(url, seconds):
    """The slowest answer of the health port, ms, asked once a second; infinity when there was none."""

    def ask():
        start = time.monotonic()
        try:
            with urllib.request.urlopen(url + "/health/live", timeout=2) as answer:
                return 1000 * (time.monotonic() - start) if answer.status == 200 else float("inf")
        except OSError:
            return float("inf")

    slowest = 0.0
    for _ in range(int(seconds)):
        slowest = max(slowest, await asyncio.to_thread(ask))
        await asyncio.sleep(1)
    return slowest


async def hold(server, count, seconds, ids):
    """All kinds of callers at once, `count` of each: seconds that each was kept, by name; what the
    patient callers saw, the good caller's result, and how slow the health port was."""
    port = server.port
    good = asyncio.ensure_future(good_caller(port, seconds, 50, ids))
    health = asyncio.ensure_future(probe(server.admin_url, seconds))
    numbers = random.Random(17)

    async def one(caller):
        await asyncio.sleep(SPREAD_SECONDS * numbers.random())
        try:
            async with asyncio.timeout(seconds):
                return await caller(port)
        except TimeoutError:
            return None
        except OSError:
            return 0.0

    patient = [asyncio.ensure_future(one(caller)) for _, caller in PATIENT]
    kept = await asyncio.gather(*(one(caller) for _, caller, _ in CALLERS for _ in range(count)))
    by_name = {name: kept[at * count : (at + 1) * count] for at, (name, _, _) in enumerate(CALLERS)}
    return by_name, [await job for job in patient], await good, await health


def run(server, report, count, seconds, ids):
    before, files = server.memory(), server.open_files()
    kept, patient, (failures, latencies), slowest = asyncio.run(hold(server, count, seconds, ids))
    for name, _, limit in CALLERS:
        times = kept[name]
        left = times.count(None)
        longest = max((time for time in times if time is not None), default=0.0)
        late = left or longest > limit + GRACE_SECONDS
        seen = (
            f"{left} of {count} still held after {seconds} s"
            if left
            else f"gone after at most {longest:.1f} s"
        )
        report("R23", f"{count} x {name}", f"wanted gone in {limit} s" if late else "", seen)
    for (name, _), is_served in zip(PATIENT, patient):
        report(
            "R23",
            name,
            "" if is_served is True else "wanted it served to the end",
            "served" if is_served is True else "the connection had gone",
        )
    latencies.sort()
    p99 = latencies[int(len(latencies) * 0.99)] if latencies else float("inf")
    median = statistics.median(latencies) if latencies else float("inf")
    seen = f"{len(latencies)} answered, p50 {median:.1f} ms, p99 {p99:.1f} ms; {failures[:2]}"
    report("R23", "a good caller meanwhile", f"{len(failures)} failed" if failures else "", seen)
    report(
        "R22",
        "health meanwhile",
        "wanted each answer within 200 ms" if slowest > 200 else "",
        f"slowest {slowest:.0f} ms",
    )
    grown = server.memory() - before
    report("R23", "memory meanwhile", "grew by more than 64 MiB" if grown > 64 else "", f"{grown:+.0f} MiB")
    time.sleep(1)
    report(
        "R23",
        "files given back",
        "more than before" if server.open_files() > files + 2 else "",
        f"{files} before, {server.open_files()} after",
    )
