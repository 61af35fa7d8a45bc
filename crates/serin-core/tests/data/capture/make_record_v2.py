"""The bytes of a version 2 record, written after the postcard specification (https://postcard.jamesmunns.com/wire-format).

python3 make_record_v2.py > record_v2.bin (Python 3, nothing else)
"""
import sys


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def sized(b):
    return varint(len(b)) + b


zigzag = lambda n: varint(n << 1 if n >= 0 else (-n << 1) - 1)
none = b"\0"

record = varint(1)  # version 2 is variant 1
record += sized(b"r-17") + zigzag(1_700_000_000_000_000)
record += sized(b"digits") + sized(b"AllTraffic") + sized(b"0123456789ab")
record += none * 3 + varint(42) + varint(422) + b"\1"
record += varint(1) + sized(b"not_a_number") + sized(b'row 1, "width"') + sized(b"x,\xff\0")
sys.stdout.buffer.write(record)
