"""Bytes to a server and what comes back, with no client library in between to make them proper."""

import dataclasses
import random
import socket
import struct
import time

PIECE_SECONDS = 0.05
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


@dataclasses.dataclass
class Reply:
    """What one connection gave: answers, what did not parse as one, and whether the server closed it."""

    answers: list
    rest: bytes
    is_closed: bool
    seconds: float

    @property
    def statuses(self):
        return [answer.status for answer in self.answers]

    def __str__(self):
        text = ", ".join(map(str, self.statuses)) or "no answer"
        if len(self.answers) > 6:
            text = f"{len(self.answers)} answers"
        if self.rest:
            text += f", then {self.rest[:40]!r}"
        return text + (f", closed after {self.seconds:.1f} s" if self.is_closed else ", left open")


def some_address(numbers=random):
    """One of the many addresses of the loopback interface, so that limits per address do not hide other limits."""
    return f"127.{numbers.randrange(1, 255)}.{numbers.randrange(1, 255)}.{numbers.randrange(1, 255)}"


def connect(port, timeout=5.0, receive_bytes=None):
    stream = socket.socket()
    stream.settimeout(timeout)
    if receive_bytes:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    stream.bind((some_address(), 0))
    stream.connect(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def reset(stream):
    """Closes with RST instead of FIN."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    stream.close()


def exchange(port, data, *, patience=13.0, half_close=False):
    """Sends `data` (a list: piece by piece, as packets of their own), then reads until the server closes or was silent for
    `patience` seconds."""
    start = time.monotonic()
    received, is_closed = bytearray(), False
    with connect(port, patience) as stream:
        try:
            for piece in [data] if isinstance(data, bytes) else data:
                stream.sendall(piece)
                time.sleep(0 if piece is data else PIECE_SECONDS)
            if half_close:
                stream.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The server may have answered and closed already: what it said can still be read.
        try:
            while chunk := stream.recv(1 << 16):
                received += chunk
            is_closed = True
        except TimeoutError:
            pass
        except OSError:
            is_closed = True
    answers, rest = parse(bytes(received))
    return Reply(answers, rest, is_closed, time.monotonic() - start)


def parse(data):
    """All HTTP/1 answers at the start of `data` that are framed by their length, and what is left."""
    answers = []
    while data.startswith(b"HTTP/1.") and b"\r\n\r\n" in data:
        head, _, after = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        status = int(first.split(" ")[1])
        length = int(headers.get("content-length", 0))
        if len(after) < length:
            break
        answers.append(Answer(status, headers, after[:length]))
        data = after[length:]
    return answers, data
