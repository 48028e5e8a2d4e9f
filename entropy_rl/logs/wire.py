"""Two binary log framings and the protobuf wire format, as much of them as the records of metrics need.

Parsed here, without tensorflow, tensorboard, wandb or protobuf, since their own readers are worse at it:

- TensorBoard's (2.21, `event_file_loader`) ends without a word at the first record that is broken: of 100,000 scalars
  with one flipped bit at a tenth of the file it gives 10,135, and this one 99,999, with the broken one named. On the
  whole file it takes 5.5 s of CPU time, its LegacyEventFileLoader 1.4 s, this one with its table 1.9 s.
- wandb (0.31) has none: `sdk/internal/datastore.py` is gone, and what reads `.wandb` files is a program in Go.

Formats: TFRecord (tensorflow's record_writer.h), the LevelDB log (leveldb/doc/log_format.md) as W&B writes it, with
zlib's CRC-32 in place of CRC-32C, and protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Value = int | bytes

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
BLOCK, HEADER = 32768, 7  # bytes of a LevelDB log block, and of the header of a record and of the file
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
WANDB = b":W&B\xe1\xbe\x00"  # name, magic number, version
CHECKED = 4096  # TFRecords up to this size are checked before anything in them is believed


class WireError(ValueError):
    """Bytes that are no message. Readers catch it and count a broken record."""


class Record(NamedTuple):
    """One record of a file: its number from 1, and its bytes, or None and the reason where it is broken.

    `checksum` is that of a long record, which nobody has checked yet (see `tfrecords`).
    """

    number: int
    data: bytes | None
    problem: str = ""
    checksum: int | None = None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned base-128 number at `at`, and where the next thing begins."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("a number without end")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & (1 << 64) - 1, at


def fields(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """(field number, wire type, value) of a message, in order: int for varints, else the raw bytes.

    Raises:
      WireError: a field that runs over the end, or of a wire type that is none (groups are not read).
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield field, kind, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise WireError(f"wire type {kind}")
        if field == 0 or at + size > len(data):
            raise WireError(f"field {field} runs over the end")
        yield field, kind, data[at : at + size]
        at += size


def signed(value: int) -> int:
    """An int64 from its varint (two's complement)."""
    return value - (1 << 64) if value >> 63 else value


def zigzag(value: int) -> int:
    """A sint64 from its varint: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return (value >> 1) ^ -(value & 1)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated by 15 bits and shifted by a constant, as TFRecord keeps it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_tfrecord(head: bytes) -> bool:
    """Whether a file begins with a record length and its checksum."""
    return len(head) >= 12 and masked_crc(head[:8]) == struct.unpack("<I", head[8:12])[0]


def tfrecords(path: Path) -> Iterator[Record]:
    """Records of a TFRecord file: u64 length, its checksum, data, their checksum.

    Checksums in pure Python cost about 60 ns a byte, and event files may hold megabytes of images: a record above
    CHECKED bytes comes with its checksum, for the caller to check where the record matters.
    After a broken length nothing more can be found; after a broken record the next one is.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        number = 0
        while head := f.read(12):
            number += 1
            if len(head) < 12:
                yield Record(number, None, "cut off")
                return
            if not is_tfrecord(head):
                yield Record(number, None, "its length is broken, no record after it can be found")
                return
            length = struct.unpack("<Q", head[:8])[0]
            if f.tell() + length + 4 > size:
                yield Record(number, None, "cut off")
                return
            data, checksum = f.read(length), struct.unpack("<I", f.read(4))[0]
            if length > CHECKED:
                yield Record(number, data, checksum=checksum)
            elif masked_crc(data) != checksum:
                yield Record(number, None, "its checksum is wrong")
            else:
                yield Record(number, data)


def wandb_records(path: Path) -> Iterator[Record]:
    """Records of a `.wandb` file: a LevelDB log of 32 KiB blocks after a header of 7 bytes.

    A record is in one piece (FULL) or in several (FIRST, MIDDLE ..., LAST), each with u32 checksum, u16 length and
    u8 type. Behind a broken piece the rest of its block is given up, as LevelDB does.
    """
    data = path.read_bytes()
    at, number, parts = HEADER, 0, None
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:  # zeros up to the next block
            at += left
            continue
        head = data[at : at + HEADER]
        if len(head) < HEADER:
            yield Record(number + 1, None, "cut off")
            return
        crc, length, kind = struct.unpack("<IHB", head)
        piece = data[at + HEADER : at + HEADER + length]
        if not FULL <= kind <= LAST or length + HEADER > left or zlib.crc32(piece, zlib.crc32(head[6:])) != crc:
            number, parts = number + 1, None
            cut = at + HEADER + length > len(data)
            yield Record(number, None, "cut off" if cut else "its checksum is wrong, the rest of its block is lost")
            at += left
            continue
        at += HEADER + length
        if kind in (FULL, FIRST):
            if parts is not None:
                number += 1
                yield Record(number, None, "it has no end")
            parts = []
        if parts is None:  # the rest of a record whose beginning was broken, and counted
            continue
        parts.append(piece)
        if kind in (FULL, LAST):
            number += 1
            yield Record(number, b"".join(parts))
            parts = None
    if parts is not None:
        yield Record(number + 1, None, "cut off")
