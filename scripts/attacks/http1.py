"""HTTP/1 requests that are wrong, ambiguous or too much, each with the statuses that may answer it.

`SILENCE` among the statuses allows closing without a word. Unless a case says otherwise the server answers at most one
request on the connection and then closes it: nothing after broken framing may be taken for a request."""

import collections
import concurrent.futures
import random

from live import ROW
from . import wire

SILENCE = 0
# `data` are bytes, or a list of bytes that travel apart; `most` is how many requests may be answered.
Case = collections.namedtuple(
    "Case", "group name data statuses check is_left_open most", defaults=(None, False, 1)
)

NEXT = b"GET /ping HTTP/1.1\r\nHost: smuggled\r\n\r\n"
BODY = ROW.encode()


def post(*lines, body=BODY, path="/invocations", version="HTTP/1.1", host="Host: a", length=True):
    head = [f"POST {path} {version}", host, "Content-Type: text/csv"]
    if length:
        head.append(f"Content-Length: {len(body)}")
    head = [line.encode("latin-1") if isinstance(line, str) else line for line in [*head, *lines] if line]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks, lines=()):
    return post("Transfer-Encoding: chunked", *lines, body=b"".join(chunks), length=False)


def get(path, *lines, method="GET", host="Host: a", version="HTTP/1.1"):
    first = f"{method} {path} {version}" if version else f"{method} {path}"
    return "\r\n".join(line for line in [first, host, *lines] if line).encode("latin-1") + b"\r\n\r\n"


def cases():
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    close = "Connection: close"

    def framing(group, name, data, statuses=(400,)):
        return Case(group, name, data + NEXT, statuses)

    yield framing(
        "B55", "Content-Length, then Transfer-Encoding", chunked(whole, lines=["Content-Length: 16"])
    )
    yield framing(
        "B55",
        "Transfer-Encoding, then Content-Length",
        post("Content-Length: 5", "Transfer-Encoding: chunked", body=whole, length=False),
    )
    yield framing(
        "B55", "Content-Length: 0 and Transfer-Encoding", chunked(whole, lines=["Content-Length: 0"])
    )
    both = chunked(whole, lines=["Content-Length: 16"]) + NEXT
    yield Case("B55", "both, behind empty lines", b"\r\n\r\n" + both, (400,))
    yield Case("B55", "both, in a packet behind empty lines", [b"\r\n", both], (400,))
    yield Case("B55", "both, in two packets", [both[:80], both[80:]], (400,))
    yield Case("B55", "both, a byte at a time", [bytes([byte]) for byte in both[:150]] + [both[150:]], (400,))
    yield Case("B55", "both, with LF alone", both.replace(b"\r\n", b"\n"), (400,))
    yield Case("B55", "both, in a second request", NEXT + both, (200,), None, False, 2)
    yield Case("B55", "both, in a second request and packet", [post(), both], (200,), None, False, 2)
    for value in [
        "+16",
        "16, 16",
        "16, 17",
        "0x10",
        str(2**64),
        str(2**64 + 16),
        "-1",
        "1 6",
        "16;",
        "1e1",
        "16.0",
    ]:
        yield framing("B56", f"Content-Length: {value}", post(f"Content-Length: {value}", length=False))
    yield framing("B56", "an empty Content-Length", post("Content-Length:", length=False))
    yield framing("B56", "two different Content-Lengths", post("Content-Length: 3"))
    for value in [
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunked, chunked",
        "\x0bchunked",
        "chunked;q=1",
        "gzip, chunked",
        "identity",
        '"chunked"',
    ]:
        data = post(f"Transfer-Encoding: {value}", body=whole, length=False)
        yield framing("B57", f"Transfer-Encoding: {value!r}", data, (400, 501))
    yield framing(
        "B57", "Transfer-Encoding twice", chunked(whole, lines=["Transfer-Encoding: chunked"]), (400, 501)
    )
    yield framing(
        "B57", "a space before the colon", post("Transfer-Encoding : chunked", body=whole, length=False)
    )
    yield framing(
        "B57",
        "chunks in HTTP/1.0",
        post("Transfer-Encoding: chunked", body=whole, length=False, version="HTTP/1.0"),
    )
    for name, chunk in {
        "chunk size of 17 digits": b"FFFFFFFFFFFFFFFF1\r\nx",
        "negative chunk size": b"-1\r\nx",
        "chunk size 0x10": b"0x10\r\n" + BODY + b"\r\n0\r\n\r\n",
        "chunk size with a space inside": b"1 0\r\n" + BODY + b"\r\n0\r\n\r\n",
        "no CRLF after a chunk": b"10\r\n" + BODY + b"0\r\n\r\n",
        "LF alone after a chunk size": b"10\n" + BODY + b"\r\n0\r\n\r\n",
        "LF alone after a chunk": b"10\r\n" + BODY + b"\n0\r\n\r\n",
        "CR alone after a chunk size": b"10\r" + BODY + b"\r\n0\r\n\r\n",
        "an empty chunk size": b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "64 KiB of chunk extension": b"10;" + b"e" * 65536 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "LF in a chunk extension": b"10;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
        "64 KiB of trailer": b"10\r\n" + BODY + b"\r\n0\r\nt: " + b"e" * 65536 + b"\r\n\r\n",
        "10,000 trailer fields": b"10\r\n" + BODY + b"\r\n0\r\n" + b"t: e\r\n" * 10_000 + b"\r\n",
    }.items():
        yield framing("B58", name, chunked(chunk), (400, 413, 431))
    for line in [
        b"Header name: x",
        b"He\x00der: x",
        b"Header: x\x00y",
        b"Header: x\rSet-Cookie: a=b",
        b"H\xc3\xa9: x",
        b"Header: x\r\n folded",
        b": x",
        b"Header",
        b"Content_Length: 3",
    ]:
        yield framing("B59", f"field {line!r}", post(line))
    yield Case("B59", "LF alone ends lines", post(close).replace(b"\r\n", b"\n") + NEXT, (400, 200))
    yield Case("B60", "200 fields", post(*[f"h{i}: x" for i in range(200)]), (431,))
    yield Case("B60", "a field of 64 KiB", post("h: " + "x" * 65536), (431,))
    yield Case("B60", "a field of 8 MiB", post("h: " + "x" * (8 << 20)), (431, SILENCE))
    yield Case("B60", "an address of 16 KiB", get("/" + "x" * 16384, close), (414,))
    yield Case("B60", "an address of 70 KiB", get("/" + "x" * 70_000, close), (414, 431))
    cookies = (
        "no Set-Cookie",
        lambda reply: all("set-cookie" not in answer.headers for answer in reply.answers),
    )
    for name, data, statuses in [
        ("in the path", get("/ping%0d%0aSet-Cookie:%20a=b", close), (404, 400)),
        (
            "in an endpoint's name",
            post(close, path="/endpoints/a%0d%0aSet-Cookie:%20a=b/invocations"),
            (404, 400),
        ),
        ("in a model's name", get("/v2/models/a%0d%0aSet-Cookie:%20a=b", close), (404, 400)),
        (
            "in the inference id",
            post("X-Amzn-SageMaker-Inference-Id: a%0d%0aSet-Cookie: b=c", close),
            (200, 400),
        ),
        (
            "in the custom attributes",
            post("X-Amzn-SageMaker-Custom-Attributes: a%0d%0aSet-Cookie: b=c", close),
            (200, 400),
        ),
        ("CR in the inference id", post("X-Amzn-SageMaker-Inference-Id: a\rSet-Cookie: b=c"), (400,)),
    ]:
        yield Case("B61", f"line break {name}", data, statuses, cookies)
    no_word = "not told to continue", lambda reply: 100 not in reply.statuses
    yield Case(
        "B62",
        "a body too large, announced",
        post("Content-Length: 70000000", "Expect: 100-continue", length=False, body=b""),
        (413,),
        no_word,
    )
    yield Case("B62", "an unknown expectation", post("Expect: a-miracle", close), (417,))
    told = "told to continue, then answered", lambda reply: reply.statuses == [100, 200]
    yield Case("B62", "a proper expectation", post("Expect: 100-continue", close), (100,), told)
    not_switched = "not switched", lambda reply: 101 not in reply.statuses
    for protocol in ["websocket", "h2c", "TLS/1.0, HTTP/1.1"]:
        lines = (
            "Connection: Upgrade, HTTP2-Settings, close",
            f"Upgrade: {protocol}",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        )
        yield Case("B63", f"upgrade to {protocol}", get("/ping", *lines) + NEXT, (200, 400), not_switched)
    yield Case("B64", "HTTP/0.9", get("/ping", host="", version=""), (400, 505, SILENCE))
    yield Case(
        "B64",
        "HTTP/1.0 that keeps alive",
        get("/ping", "Connection: keep-alive", version="HTTP/1.0"),
        (200,),
        None,
        True,
    )
    yield Case("B64", "HTTP/1.0 without Host", get("/ping", host="", version="HTTP/1.0"), (200, 400))
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "HTTP/11", "http/1.1", "ICY/1.1"]:
        yield Case("B64", f"version {version!r}", get("/ping", version=version) + NEXT, (400, 505, SILENCE))
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(190))
    yield Case("B64", "a TLS hello", hello, (400, SILENCE))
    yield Case("B64", "part of the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", (400, 505, SILENCE))
    yield Case("B64", "empty lines without end", b"\r\n" * 50_000, (400, 408, 431, SILENCE))
    yield Case("B65", "no Host", get("/ping", close, host=""), (400,))
    yield Case("B65", "two Hosts", get("/ping", "Host: b", close), (400,))
    yield Case("B65", "a Host with a space", get("/ping", close, host="Host: a b"), (400,))
    allowed = "Allow", lambda reply: "allow" in reply.answers[0].headers
    for method in ["TRACE", "PATCH", "DELETE", "PUT", "OPTIONS", "BREW"]:
        for path in ["/ping", "/invocations"]:
            yield Case("B66", f"{method} {path}", get(path, close, method=method), (405,), allowed)
    yield Case("B66", "CONNECT", get("a:443", method="CONNECT") + b"x" * 100, (400, 404, 405))
    yield Case("B66", "OPTIONS *", get("*", close, method="OPTIONS"), (200, 204, 400, 404, 405))
    yield Case("B66", "a method override", get("/ping", "X-HTTP-Method-Override: DELETE", close), (200,))
    yield Case("B66", "a method in small letters", get("/ping", close, method="get"), (405, 400, 501))
    for path in [
        "/models/..%2f..%2fetc",
        "/%252e%252e/ping",
        "//ping",
        "/./ping",
        "/ping/",
        "/ping;x=1",
        "/PING",
        "/%c0%ae/ping",
        "/ping%00",
        "/%70ing%",
        "/v2/../ping",
        "/v2/models/%2e%2e/ping",
        "/endpoints//invocations",
    ]:
        yield Case("B67", f"address {path}", get(path, close), (404, 400))
    yield Case(
        "B67",
        "an address with raw bytes",
        b"GET /p\xc3\xafng HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        (400, 404),
    )
    yield Case("B67", "a space in the address", get("/pi ng") + NEXT, (400,))
    yield Case("B67", "another server's address", get("http://elsewhere/ping", close), (200, 400, 404, 421))


def judge(case, reply):
    """What is wrong with the reply, or nothing."""
    faults = []
    first = reply.statuses[0] if reply.answers else SILENCE
    if first not in case.statuses:
        wanted = " or ".join(str(status) if status else "silence" for status in case.statuses)
        faults.append(f"wanted {wanted}")
    final = [status for status in reply.statuses if status >= 200]
    if len(final) > case.most:
        faults.append("went on to the next request")
    if reply.is_closed == case.is_left_open:
        faults.append("wanted it left open" if case.is_left_open else "wanted it closed")
    if case.check and reply.answers and not case.check[1](reply):
        faults.append(f"wanted: {case.check[0]}")
    if reply.rest:
        faults.append("half an answer")
    return "; ".join(faults)


def run(server, report):
    """All cases, several at a time: some of them wait for a limit of the server."""
    wrong = list(cases())
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = pool.map(lambda case: wire.exchange(server.port, case.data), wrong)
        for case, reply in zip(wrong, replies):
            report(case.group, case.name, judge(case, reply), str(reply), case.data)


def mutations(server, report, count):
    """Proper requests with a few bytes changed, lost or doubled: nothing but 2xx and 4xx may come back."""
    numbers = random.Random(17)
    close = "Connection: close"
    proper = [
        post(close),
        post(close, body=b'{"instances": [[4.1, 2.0, null, 0.3]]}').replace(b"text/csv", b"application/json"),
        chunked(b"10\r\n" + BODY + b"\r\n0\r\n\r\n", lines=[close]),
        get("/v2/models/flowers", close),
        get("/ping", close),
        post(close, path="/endpoints/flowers/invocations"),
    ]

    def mutant():
        data = bytearray(numbers.choice(proper))
        for _ in range(numbers.choice([1, 1, 2, 5, 20])):
            at = numbers.randrange(len(data))
            match numbers.randrange(4):
                case 0:
                    data[at] = numbers.randrange(256)
                case 1:
                    del data[at : at + numbers.randrange(1, 9)]
                case 2:
                    data[at:at] = data[at : at + numbers.randrange(1, 9)]
                case 3:
                    data[at:at] = numbers.choice(
                        [b"\r\n", b"\0", b"\n", b":", b"9" * 20, b"e999", b"\xff", b",", b'"', b"[[["]
                    )
        return bytes(data)

    mutants = [mutant() for _ in range(count)]
    # Most ends of the connection are the client's here: a mutant that misses bytes would else wait for a limit.
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda data: wire.exchange(server.port, data, half_close=True), mutants))
    for data, reply in zip(mutants, replies):
        if any(status >= 500 and status != 505 for status in reply.statuses) or reply.rest:
            report("fuzz", "a mutant", "wanted 2xx or 4xx", str(reply), data)
            return
    report("fuzz", f"{count} mutants", "", "2xx, 4xx or silence")
