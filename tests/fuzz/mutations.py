"""Random damage to files, a function of a seeded generator alone.

Bytes are flipped, cut, inserted and moved; numbers become limits of their type; fields of text
headers and values of JSON are removed, doubled, misspelled or replaced by hostile ones.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 8, 15, 16, 17, 100, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536),
    *(10**6, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64),
    *(10**20, 10**400),
)
FLOATS = (
    *(0.0, -0.0, 0.5, 1.0, -1.0, 2.0, 1e-3, 1e-6, 1e-10, 1e-30, 1e-45, 1e-310, 1e3, 1e6, 1e10),
    *(1e20, -1e20, 3.4e38, 1e39, 1.7e308, math.inf, -math.inf, math.nan),
)
WORDS = (
    *("", " ", "x", "none", "None", "null", "true", "False", "nan", "NaN", "-inf", "1e400"),
    *("1e-400", "0x10", "1_0", "٣", "²", "½", "+1", "--1", "1.0.0", ".", "-", "(", ")", "()"),
    *('"', "{}", "[]", "..", "../x", "/etc/passwd", "C:\\x", "~", "%03d", "%s%n", "LIST"),
    *("LOCAL", "$HOME", "|ls", "\0", "a\0b", "\x1b[2J", "\u202eabc", "\ufeff", "é", "名", "\ud800"),
    *("=", ":", ":=", "#", "\\", "9" * 30, "9" * 5000, "x" * 300, "(" * 3000, "1 " * 3000),
    '"' * 999,
)

_MOST_CHANGES = 4
_MOST_INSERTED = 64
_LONGEST = 4 << 20  # of a value that is repeated


def changes(random: Random) -> range:
    """Return how many mutations to make: mostly one."""
    return range(min(1 + int(random.expovariate(1.0)), _MOST_CHANGES))


def number(random: Random) -> str:
    """Return a number as text."""
    if random.random() < 0.5:
        return str(random.choice(INTEGERS))
    return repr(random.choice(FLOATS))


def word(random: Random) -> str:
    """Return a text: a number, or a hostile one."""
    return number(random) if random.random() < 0.5 else random.choice(WORDS)


# Bytes


def mutate_bytes(random: Random, data: bytes, most: int | None = None) -> bytes:
    """Return damaged bytes.

    Parameters
    ----------
    random
        The generator.
    data
        The bytes.
    most
        Only the first so many are damaged, such as a header.
    """
    head, tail = data[:most], data[len(data[:most]) :]
    buffer = bytearray(head)
    for _ in changes(random):
        random.choice(_BYTE_MUTATIONS)(random, buffer)
    return bytes(buffer) + tail


def _place(random: Random, buffer: bytearray, width: int = 1) -> int:
    return random.randrange(max(len(buffer) - width, 0) + 1)


def _block(random: Random, buffer: bytearray) -> slice:
    start = _place(random, buffer)
    return slice(start, start + random.choice((1, 2, 4, 8, 16, 64, 512)))


def _flip_bit(random: Random, buffer: bytearray) -> None:
    if buffer:
        buffer[random.randrange(len(buffer))] ^= 1 << random.randrange(8)


def _set_byte(random: Random, buffer: bytearray) -> None:
    if buffer:
        buffer[random.randrange(len(buffer))] = random.choice((0, 0x20, 0x7F, 0x80, 0xFF, 0x0A))


def _truncate(random: Random, buffer: bytearray) -> None:
    del buffer[_place(random, buffer) :]


def _insert(random: Random, buffer: bytearray) -> None:
    place = _place(random, buffer)
    count = 1 + random.randrange(_MOST_INSERTED)
    buffer[place:place] = random.randbytes(count) if random.random() < 0.5 else bytes(count)


def _delete(random: Random, buffer: bytearray) -> None:
    del buffer[_block(random, buffer)]


def _zero(random: Random, buffer: bytearray) -> None:
    block = _block(random, buffer)
    buffer[block] = bytes(len(buffer[block]))


def _copy(random: Random, buffer: bytearray) -> None:
    block = bytes(buffer[_block(random, buffer)])
    place = _place(random, buffer)
    if random.random() < 0.5:
        buffer[place : place + len(block)] = block
    else:
        buffer[place:place] = block


def _swap(random: Random, buffer: bytearray) -> None:
    one, other = sorted((_block(random, buffer), _block(random, buffer)), key=lambda s: s.start)
    if one.stop <= other.start:
        first, second = bytes(buffer[one]), bytes(buffer[other])
        buffer[other] = first
        buffer[one] = second


def _integer(random: Random, buffer: bytearray) -> None:
    width = random.choice((1, 2, 4, 8))
    value = random.choice(INTEGERS) % (1 << 8 * width)
    place = _place(random, buffer, width)
    buffer[place : place + width] = value.to_bytes(width, random.choice(("little", "big")))


def _float(random: Random, buffer: bytearray) -> None:
    form = random.choice(("<f", ">f", "<d", ">d"))
    place = _place(random, buffer, struct.calcsize(form))
    buffer[place : place + struct.calcsize(form)] = packed(form, random.choice(FLOATS))


_BYTE_MUTATIONS: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip_bit, _flip_bit, _set_byte, _truncate, _insert, _delete, _zero, _copy, _swap),
    *(_integer, _integer, _float),
)


def packed(form: str, value: float) -> bytes:
    """Pack a number as `struct.pack`; what is too large for the type becomes its limit."""
    if form[-1] in "fd":
        if form[-1] == "f" and abs(value) > 3.4e38 and math.isfinite(value):
            value = math.copysign(3.4e38, value)
        return struct.pack(form, value)
    bits = 8 * struct.calcsize(form)
    whole = int(value) % (1 << bits)
    if form[-1].islower() and whole >= 1 << (bits - 1):
        whole -= 1 << bits
    return struct.pack(form, whole)


# Compressed bytes


def mutate_gzip(random: Random, data: bytes, inner: Callable[[Random, bytes], bytes]) -> bytes:
    """Damage a gzip stream from outside, or its content, which is then compressed again."""
    if random.random() < 0.5:
        return mutate_bytes(random, data)
    return pack_gzip(random, inner(random, gzip.decompress(data)))


def pack_gzip(random: Random, content: bytes) -> bytes:
    """Compress, as one or two members, by gzip or zlib, with or without bytes after the end."""
    kind = random.randrange(8)
    if kind == 0:
        return zlib.compress(content)
    if kind == 1:
        half = len(content) // 2
        return gzip.compress(content[:half], mtime=0) + gzip.compress(content[half:], mtime=0)
    tail = {2: bytes(16), 3: b"\x1f\x8b", 4: b"tail"}.get(kind, b"")
    return gzip.compress(content, mtime=0) + tail


# Text headers


def mutate_lines(random: Random, text: bytes, separator: bytes) -> bytes:
    """Damage the fields of a header, one per line: ``key SEPARATOR value``."""
    lines = text.split(b"\n")
    for _ in changes(random):
        if lines:
            random.choice(_LINE_MUTATIONS)(random, lines, separator)
    end = b"\r\n" if random.random() < 0.02 else b"\n"
    return end.join(lines)


def _line(random: Random, lines: list[bytes]) -> int:
    return random.randrange(len(lines))


def _remove_line(random: Random, lines: list[bytes], separator: bytes) -> None:
    del lines[_line(random, lines)]


def _double_line(random: Random, lines: list[bytes], separator: bytes) -> None:
    lines.insert(_line(random, lines), lines[_line(random, lines)])


def _swap_lines(random: Random, lines: list[bytes], separator: bytes) -> None:
    a, b = _line(random, lines), _line(random, lines)
    lines[a], lines[b] = lines[b], lines[a]


def _replace_value(random: Random, lines: list[bytes], separator: bytes) -> None:
    at = _line(random, lines)
    key, found, _ = lines[at].partition(separator)
    if found:
        lines[at] = key + separator + b" " + encoded(word(random))


def _replace_token(random: Random, lines: list[bytes], separator: bytes) -> None:
    at = _line(random, lines)
    key, found, value = lines[at].partition(separator)
    parts = value.replace(b"(", b"( ").replace(b",", b" , ").replace(b")", b" )").split()
    if found and parts:
        parts[random.randrange(len(parts))] = encoded(word(random))
        lines[at] = key + separator + b" " + b" ".join(parts)


def _misspell(random: Random, lines: list[bytes], separator: bytes) -> None:
    at = _line(random, lines)
    key, found, value = lines[at].partition(separator)
    name = bytearray(key)
    random.choice((_flip_bit, _set_byte, _delete, _insert))(random, name)
    lines[at] = bytes(name) + found + value


def _grow_value(random: Random, lines: list[bytes], separator: bytes) -> None:
    at = _line(random, lines)
    key, found, value = lines[at].partition(separator)
    grown = random.choice((2, 17, 1000, 20_000)) * len(value)
    if grown < _LONGEST:
        lines[at] = key + found + value * (grown // max(len(value), 1))


def _many_lines(random: Random, lines: list[bytes], separator: bytes) -> None:
    count = random.choice((20, 2000, 30_000))
    key = random.choice((b"x", b"space", b"Offse", b"Segment1_Name", b"sizes"))
    new = [b"%s%d%s 1" % (key, i, separator) for i in range(count)]
    at = _line(random, lines)
    lines[at:at] = new


def _new_line(random: Random, lines: list[bytes], separator: bytes) -> None:
    value = random.choice((encoded(word(random)), b"\xff\xfe", b"key:=value", b"# comment", b""))
    lines.insert(_line(random, lines), value)


def _damage_line(random: Random, lines: list[bytes], separator: bytes) -> None:
    at = _line(random, lines)
    lines[at] = mutate_bytes(random, lines[at])


_LINE_MUTATIONS: tuple[Callable[[Random, list[bytes], bytes], None], ...] = (
    *(_remove_line, _double_line, _swap_lines, _replace_value, _replace_value, _replace_token),
    *(_replace_token, _misspell, _grow_value, _many_lines, _new_line, _damage_line),
)


def encoded(text: str) -> bytes:
    """Return a text of any characters as bytes."""
    return text.encode("utf-8", "surrogatepass")


# JSON and YAML


def mutate_tree(random: Random, value: Any) -> Any:
    """Return plain data of JSON or YAML with some values removed, renamed or replaced."""
    copied = json.loads(json.dumps(value))
    for _ in changes(random):
        copied = _changed_somewhere(random, copied)
    return copied


def _changed_somewhere(random: Random, value: Any) -> Any:
    """Change a node of the tree: descend at random, and stop with some probability."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(sorted(value))
        action = random.random()
        if action < 0.08:
            del value[key]
        elif action < 0.14:
            value[_misspelled(random, key)] = value.pop(key)
        elif action < 0.2:
            value[word(random)] = _hostile(random)
        else:
            value[key] = _changed_somewhere(random, value[key])
        return value
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        action = random.random()
        if action < 0.1:
            del value[at]
        elif action < 0.2:
            value.insert(at, value[random.randrange(len(value))])
        elif action < 0.23:
            value *= random.choice((2, 50, 2000)) if len(value) < 50 else 1
        else:
            value[at] = _changed_somewhere(random, value[at])
        return value
    return _hostile(random, value)


def _misspelled(random: Random, key: str) -> str:
    if not key or random.random() < 0.3:
        return word(random)
    at = random.randrange(len(key))
    return key[:at] + random.choice(("", "x", "_", key[at] * 2, key[at].swapcase())) + key[at + 1 :]


def _hostile(random: Random, old: Any = None) -> Any:
    kind = random.randrange(9)
    if kind <= 1:
        return random.choice(INTEGERS[:-1])
    if kind <= 3:
        return random.choice(FLOATS)
    if kind == 4:
        return random.choice(WORDS)
    if kind == 5:
        return random.choice((None, True, False, {}, [], "", 0))
    if kind == 6:
        return [old] if random.random() < 0.5 else {"a": old}
    if kind == 7 and isinstance(old, int | float):
        return random.choice((-old, old * 1000, old / 1000 if math.isfinite(old) else 0, str(old)))
    if kind == 8 and random.random() < 0.2:
        return nested(random.choice((50, 400)))
    return random.choice((1, 2, 0.5, "x"))


def nested(depth: int) -> Any:
    """Return lists within lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def json_text(random: Random, value: Any) -> bytes:
    """Write JSON, now and then damaged as text: doubled keys, deep nesting, huge numbers."""
    text = json.dumps(value)
    kind = random.randrange(12)
    if kind == 0:
        return b"[" * 100_000
    if kind == 1:
        return encoded(text.replace("1", "1" * 5000, 1))
    if kind == 2:
        return encoded(text[:-1] + "," + text[1:])  # each key twice
    if kind == 3:
        return random.choice((b"", b"\xff\xfe", b"null", b"[]", b"1e999", b'"x"', b"\xef\xbb\xbf"))
    if kind <= 5:
        return mutate_bytes(random, encoded(text))
    return encoded(text)
