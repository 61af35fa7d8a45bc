"""HTTP/2 frames that are wrong, or proper but far too many. Each connection is the attacker's own; the server may end
it or refuse single streams, and stays small and quick either way."""

import collections
import concurrent.futures
import time

from hpack import Decoder, Encoder, HPACKError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from live import ROW
from . import wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY = ROW.encode()
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/ping")]
POST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/invocations"),
    ("content-type", "text/csv"),
]
# How often each frame came back, statuses and error codes by stream, the streams answered to their end, the code of a
# GOAWAY, and the connection's end.
Outcome = collections.namedtuple("Outcome", "frames statuses resets whole goaway is_closed seconds")


def start(settings=None):
    return PREFACE + SettingsFrame(0, settings=settings or {}).serialize()


def headers(stream, fields, *flags, encoder=None):
    """A HEADERS frame; `flags` END_STREAM and END_HEADERS unless given."""
    frame = HeadersFrame(stream, (encoder or Encoder()).encode(fields))
    frame.flags |= set(flags or ("END_STREAM", "END_HEADERS"))
    return frame.serialize()


def data(stream, body, *flags):
    frame = DataFrame(stream, body)
    frame.flags |= set(flags)
    return frame.serialize()


def raw(kind, flags, stream, payload):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def exchange(port, sent, *, patience=2.0):
    """Sends bytes (or an iterator of them), reading meanwhile, until the server closes or `patience` seconds of silence."""
    began = time.monotonic()
    pieces = iter([sent] if isinstance(sent, bytes) else sent)
    received, is_closed, pending = bytearray(), False, b""
    with wire.connect(port) as stream:
        stream.setblocking(False)
        heard = time.monotonic()
        while time.monotonic() - heard < patience:
            if not pending:
                pending = next(pieces, b"")
            try:
                moved = stream.send(pending) if pending else 0
                pending = pending[moved:]
                heard = time.monotonic() if moved else heard
            except BlockingIOError:
                moved = 0
            except OSError:
                pending, pieces = b"", iter(())
            try:
                chunk = stream.recv(1 << 16)
                received += chunk
                heard = time.monotonic()
                if not chunk:
                    is_closed = True
                    break
            except BlockingIOError:
                if not moved:
                    time.sleep(0.001)
            except OSError:
                is_closed = True
                break
    return outcome(bytes(received), is_closed, time.monotonic() - began)


def outcome(received, is_closed, seconds):
    frames, statuses, resets, whole, goaway = collections.Counter(), {}, {}, set(), None
    while len(received) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(received[:9]))
        if len(received) < 9 + length:
            break
        frame.parse_body(memoryview(received[9 : 9 + length]))
        frames[type(frame).__name__] += 1
        match frame:
            case HeadersFrame():
                statuses.setdefault(frame.stream_id, status_of(bytes(frame.data)))
            case RstStreamFrame():
                resets[frame.stream_id] = frame.error_code
            case GoAwayFrame():
                goaway = frame.error_code
        if isinstance(frame, (DataFrame, HeadersFrame)) and "END_STREAM" in frame.flags:
            whole.add(frame.stream_id)
        received = received[9 + length :]
    return Outcome(frames, statuses, resets, whole, goaway, is_closed, seconds)


def status_of(block):
    """The status stands first in an answer's fields; what follows may refer to a table that this script does not keep."""
    for end in range(1, len(block) + 1):
        try:
            fields = Decoder().decode(block[:end])
        except HPACKError:
            continue
        if fields:
            return int(fields[0][1])
    return None


def refused(result, stream=1):
    """The stream or the connection was ended, or answered with a refusal."""
    status = result.statuses.get(stream)
    if result.goaway is not None or stream in result.resets or result.is_closed:
        return "" if status is None or status >= 400 else f"answered {status} first"
    return "" if status and 400 <= status < 500 else f"wanted a refusal, got {status or 'nothing'}"


def ended(result):
    return "" if result.goaway is not None or result.is_closed else "wanted the connection ended"


def answered(result):
    return "" if result.statuses.get(1) == 200 else f"wanted 200, got {result.statuses.get(1)}"


def cases():
    """Group, name, bytes, what must come of it."""

    def head(change):
        return headers(1, change(list(GET)))

    yield "B70", "a proper request", start() + headers(1, GET), answered
    yield (
        "B70",
        "content-length larger than the body",
        start() + headers(1, POST + [("content-length", "99")], "END_HEADERS") + data(1, BODY, "END_STREAM"),
        refused,
    )
    yield (
        "B70",
        "content-length smaller than the body",
        start() + headers(1, POST + [("content-length", "3")], "END_HEADERS") + data(1, BODY, "END_STREAM"),
        refused,
    )
    yield (
        "B70",
        "content-length without a body",
        start() + headers(1, POST + [("content-length", "16")]),
        refused,
    )
    yield (
        "B70",
        "two content-lengths",
        start()
        + headers(1, POST + [("content-length", "16"), ("content-length", "17")], "END_HEADERS")
        + data(1, BODY, "END_STREAM"),
        refused,
    )
    for name, field in {
        "a name in capitals": ("Accept", "x"),
        "connection": ("connection", "close"),
        "te": ("te", "gzip"),
        "keep-alive": ("keep-alive", "1"),
        "transfer-encoding": ("transfer-encoding", "chunked"),
        "upgrade": ("upgrade", "h2c"),
        "proxy-connection": ("proxy-connection", "x"),
        "a NUL in a value": ("a", "b\0c"),
        "CRLF in a value": ("a", "b\r\nset-cookie: c"),
        "CRLF in a name": ("a\r\nb", "c"),
        "an empty name": ("", "x"),
        "a space in a name": ("a b", "c"),
        "an unknown pseudo-field": (":stream", "x"),
        "a pseudo-field after others": (":path", "/ping"),
        "a response's pseudo-field": (":status", "200"),
    }.items():
        yield (
            "B70",
            f"field: {name}",
            start() + head(lambda get, field=field: get + [("x", "y"), field]),
            refused,
        )
    for field, _ in GET:
        if field != ":authority":
            change = lambda get, field=field: [pair for pair in get if pair[0] != field]
            yield "B70", f"no {field}", start() + head(change), refused
    yield "B65", "neither :authority nor Host", start() + head(lambda get: get[:2] + get[3:]), refused
    yield "B65", ":authority and another Host", start() + head(lambda get: get + [("host", "b")]), refused
    for path in ["", "ping", "//", "/\xff", "*", "http://a/ping"]:
        yield (
            "B67",
            f"path {path!r}",
            start() + head(lambda get, path=path: get[:3] + [(":path", path)]),
            refused,
        )
    connect = [(":method", "CONNECT"), (":authority", "a:443")]
    yield "B66", "CONNECT", start() + headers(1, connect, "END_HEADERS"), refused
    yield "B60", "200 fields", start() + head(lambda get: get + [(f"h{i}", "x") for i in range(200)]), refused
    encoder = Encoder()
    big = headers(1, GET + [("a", "b" * 3000)], encoder=encoder)
    bomb = headers(3, GET + [("a", "b" * 3000)] * 5000, encoder=encoder)
    yield "B70", "15 MB of fields in 5 KB of HPACK", start() + big + bomb, lambda result: refused(result, 3)
    yield "B70", "HPACK index out of range", start() + raw(1, 5, 1, b"\xff\xff\xff\xff\x0f"), ended
    yield "B70", "HPACK integer without end", start() + raw(1, 5, 1, b"\xff" * 1000), ended
    yield "B70", "HPACK table of 4 GiB", start() + raw(1, 5, 1, b"\x3f\xff\xff\xff\xff\x0f"), ended
    yield (
        "B70",
        "a frame of 16,385 bytes",
        start() + headers(1, POST, "END_HEADERS") + raw(0, 1, 1, b"1" * 16385),
        ended,
    )
    yield (
        "B70",
        "a frame that says 16 MiB",
        start() + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + b"1" * 1000,
        ended,
    )
    yield "B70", "DATA on stream 0", start() + raw(0, 1, 0, BODY), ended
    yield "B70", "DATA on a stream not begun", start() + data(5, BODY, "END_STREAM"), ended
    yield (
        "B70",
        "DATA after the end",
        start() + headers(1, GET) + data(1, BODY, "END_STREAM"),
        lambda result: "" if ended(result) == "" or 1 in result.resets else "wanted the stream reset",
    )
    yield "B70", "HEADERS on stream 0", start() + raw(1, 5, 0, Encoder().encode(GET)), ended
    yield "B70", "HEADERS on an even stream", start() + headers(2, GET), ended
    yield "B70", "streams going down", start() + headers(5, GET) + headers(3, GET), ended
    yield "B70", "padding longer than the frame", start() + raw(1, 0xD, 1, b"\xff\x82"), ended
    yield "B70", "CONTINUATION by itself", start() + raw(9, 4, 1, b"\x82"), ended
    yield (
        "B70",
        "PING between HEADERS and CONTINUATION",
        start() + headers(1, GET, "END_STREAM") + PingFrame(0, b"12345678").serialize(),
        ended,
    )
    yield "B70", "PING of 7 bytes", start() + raw(6, 0, 0, b"1234567"), ended
    yield "B70", "WINDOW_UPDATE of 0", start() + WindowUpdateFrame(0, 1).serialize()[:-4] + b"\0\0\0\0", ended
    yield "B70", "a window past 2^31", start() + WindowUpdateFrame(0, 2**31 - 1).serialize() * 2, ended
    yield "B70", "SETTINGS of 5 bytes", start() + raw(4, 0, 0, b"12345"), ended
    yield "B70", "SETTINGS ack with a body", start() + raw(4, 1, 0, b"123456"), ended
    yield (
        "B70",
        "a window of 2^32 - 1 in SETTINGS",
        start() + raw(4, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
        ended,
    )
    yield "B70", "RST_STREAM on a stream not begun", start() + RstStreamFrame(7, 8).serialize(), ended
    yield "B70", "PUSH_PROMISE from a client", start() + PushPromiseFrame(1, 2).serialize(), ended
    yield (
        "B70",
        "a stream that depends on itself",
        start() + PriorityFrame(1, 1).serialize() + headers(1, GET),
        lambda result: (
            "" if ended(result) == "" or 1 in result.resets or result.statuses.get(1) == 200 else "no outcome"
        ),
    )
    yield "B70", "an unknown frame", start() + raw(200, 255, 0, b"x" * 100) + headers(1, GET), answered
    yield "B70", "nonsense after the preface", PREFACE + bytes(range(256)) * 4, ended
    many = b"".join(headers(stream, POST, "END_HEADERS") for stream in range(1, 2001, 2))
    yield (
        "B70",
        "1,000 streams open at once",
        start() + many,
        lambda result: (
            "" if ended(result) == "" or len(result.resets) >= 900 else f"{len(result.resets)} of 900 refused"
        ),
    )


def floods(count):
    """Group, name, pieces: proper frames without measure. `count` frames of each."""
    streams = range(1, 2 * count, 2)
    encoder = Encoder()
    cancel = lambda stream: RstStreamFrame(stream, 8).serialize()

    def many(make, batch=100):
        yield start()
        for first in range(0, count, batch):
            yield b"".join(make(stream) for stream in streams[first : first + batch])

    yield "rapid reset", many(lambda stream: headers(stream, GET, encoder=encoder) + cancel(stream))
    yield (
        "rapid reset of bodies begun",
        many(lambda stream: headers(stream, POST, "END_HEADERS") + data(stream, BODY) + cancel(stream)),
    )
    yield (
        "resets by the server: DATA after the end",
        many(lambda stream: headers(stream, GET) + data(stream, b"x")),
    )
    yield (
        "resets by the server: WINDOW_UPDATE of 0",
        many(lambda stream: headers(stream, GET) + raw(8, 0, stream, b"\0\0\0\0")),
    )
    yield (
        "resets by the server: stream depends on itself",
        many(lambda stream: headers(stream, GET) + PriorityFrame(stream, stream).serialize()),
    )
    yield (
        "CONTINUATION of nothing",
        many(
            lambda stream: (
                headers(1, GET, "END_STREAM") if stream == 1 else ContinuationFrame(1, b"").serialize()
            )
        ),
    )
    yield (
        "CONTINUATION of fields",
        many(
            lambda stream: (
                headers(1, GET, "END_STREAM")
                if stream == 1
                else ContinuationFrame(1, b"\x00\x01a\x7f\x81\x07" + b"b" * 256).serialize()
            )
        ),
    )
    yield "PING", many(lambda _: PingFrame(0, b"12345678").serialize())
    yield "SETTINGS", many(lambda _: SettingsFrame(0, settings={4: 65535}).serialize())
    yield "PRIORITY", many(lambda stream: PriorityFrame(stream, 0).serialize())
    yield "WINDOW_UPDATE", many(lambda _: WindowUpdateFrame(0, 1).serialize())
    yield (
        "DATA of nothing",
        many(lambda stream: headers(1, POST, "END_HEADERS") if stream == 1 else data(1, b"")),
    )
    yield (
        "DATA of padding",
        many(
            lambda stream: (
                headers(1, POST, "END_HEADERS") if stream == 1 else raw(0, 8, 1, b"\xff" + b"\0" * 255)
            )
        ),
    )
    yield "unknown frames", many(lambda _: raw(77, 0, 0, b"x" * 64))


def run(server, report, flood_frames):
    """Every case on a connection of its own; then the floods, one after the other."""
    wrong = list(cases())
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for (group, name, sent, check), result in zip(
            wrong, pool.map(lambda case: exchange(server.port, case[2]), wrong)
        ):
            report(group, f"HTTP/2 {name}", check(result), describe(result), sent)
    for name, pieces in floods(flood_frames):
        before, busy = server.memory(), server.cpu_seconds()
        result = exchange(server.port, pieces)
        grown, busy = server.memory("VmRSS") - before, server.cpu_seconds() - busy
        fault = f"memory grew by {grown:.0f} MiB" if grown > 16 else ""
        report(
            "B70",
            f"HTTP/2 {flood_frames} x {name}",
            fault,
            f"{describe(result)}; {busy:.2f} s of processor",
        )


def describe(result):
    text = ", ".join(f"{count} {name.removesuffix('Frame')}" for name, count in sorted(result.frames.items()))
    if result.statuses:
        text += f"; status {next(iter(result.statuses.values()))}"
    if result.resets:
        text += f"; reset with {next(iter(result.resets.values()))}"
    if result.goaway is not None:
        text += f"; goaway with {result.goaway}"
    return text + ("; closed" if result.is_closed else "; left open")
