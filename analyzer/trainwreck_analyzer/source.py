"""Bytes of log files, whatever they are packed in: plain, gzip, xz, bzip2, zstd; any encoding.

What comes out is UTF-8 (or the bytes as they are), in blocks that end at a line's end, so that a
file of any size is read in bounded memory.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import importlib
import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, BinaryIO, cast

from trainwreck_analyzer.errors import Unreadable, unreadable

BLOCK_BYTES = 1 << 19
LONGEST_LINE_BYTES = 1 << 22
"""A line that is longer is cut here: binary garbage has no line ends."""
STDIN = Path("-")
_NO_LOGS = re.compile(
    r"\.(?:pt|pth|bin|safetensors|npy|npz|png|jpg|jpeg|gif|pdf|py|pyc|so|o|a|whl|parquet|duckdb"
    r"|wal|db|sqlite|h5|arrow|tfrecord|model|ckpt|svg|html|css|js|toml|ini|cfg|cu|cpp|c|h|ipynb"
    r"|sh|sbatch|tar|zip)",
    re.IGNORECASE,
)
_MAGIC = (
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)


def expand(paths: Sequence[Path]) -> list[Path]:
    """The files to read: files as given, folders searched for what may be a log, in name order.

    Raises:
        Unreadable: A path does not exist, or a folder holds no log.
    """
    files: list[Path] = []
    for path in paths:
        if path == STDIN or path.is_file() or _is_stream(path):
            files.append(path)
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and _may_be_log(path, p))
            if not found:
                raise Unreadable(
                    "a folder without logs", str(path), "name the log files or another folder"
                )
            files += found
        else:
            raise Unreadable("no such file", str(path), "check the path")
    return list(dict.fromkeys(files))


def _is_stream(path: Path) -> bool:
    return path.is_fifo() or path.is_char_device()


def _may_be_log(top: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
    return not hidden and _NO_LOGS.fullmatch(path.suffix) is None


def size_bytes(path: Path) -> int:
    """Size on disk; 0 where it is not known (pipes)."""
    try:
        return 0 if path == STDIN else path.stat().st_size
    except OSError:
        return 0


def blocks(
    path: Path,
    block_bytes: int = BLOCK_BYTES,
    *,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, and how many bytes of the file on disk have been read so far.

    The last line may lack its line end. A packed file that is cut short or damaged gives what it
    holds up to there.

    Args:
        path: The file, or ``STDIN``.
        block_bytes: About how much comes at once.
        on_damage: Called with the reason where the rest of a packed file cannot be read.

    Raises:
        Unreadable: The file cannot be opened or read.
    """
    try:
        with _open(path) as raw:
            yield from _lines(raw, block_bytes, on_damage)
    except OSError as error:
        raise unreadable(str(path), error) from error


def _open(path: Path) -> BinaryIO:
    if path == STDIN:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    return path.open("rb")


def _lines(
    raw: BinaryIO, block_bytes: int, on_damage: Callable[[str], None] | None
) -> Iterator[tuple[bytes, int]]:
    head = raw.read(4096)
    done = _Done(raw)
    kept = b""
    for chunk in _decoded(_unpacked(raw, head, block_bytes, on_damage)):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            text, kept = kept + chunk[:cut], chunk[cut:]
        else:
            kept += chunk
            if len(kept) < LONGEST_LINE_BYTES:
                continue
            text, kept = kept, b""
        yield text, done.bytes()
    if kept:
        yield kept, done.bytes()


class _Done:
    """Where the reading of the file on disk stands."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def bytes(self) -> int:
        try:
            return self._raw.tell()
        except OSError:
            return 0


class _Joined(io.RawIOBase):
    """A stream that starts with bytes that were read before."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self._head:
            part = self._head[: len(buffer)]
            self._head = self._head[len(part) :]
        else:
            part = self._rest.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _unpacked(
    raw: BinaryIO, head: bytes, block_bytes: int, on_damage: Callable[[str], None] | None
) -> Iterator[bytes]:
    packing = next((name for magic, name in _MAGIC if head.startswith(magic)), "")
    if not packing:
        chunk = head + raw.read(block_bytes - len(head))
        while chunk:
            yield chunk
            chunk = raw.read(block_bytes)
        return
    stream = cast(io.BufferedIOBase, io.BufferedReader(_Joined(head, raw), block_bytes))
    opened = _opened(stream, packing)
    while True:
        try:
            # read1: what there is, so that a file that is cut short gives all it holds.
            chunk = opened.read1(block_bytes)
        except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
            damage = str(error)
        except OSError as error:
            damage = str(error)  # bz2 reports broken data so
        except Exception as error:
            if packing != "zst" or not isinstance(error, zstd().ZstdError):
                raise
            damage = str(error)
        else:
            if not chunk:
                return
            yield chunk
            continue
        if on_damage is not None:
            on_damage(damage)
        return


def _opened(stream: io.BufferedIOBase, packing: str) -> io.BufferedIOBase:
    """What gives the unpacked bytes; closing it is the caller's, with the file."""
    if packing == "gz":
        return gzip.GzipFile(fileobj=stream)
    if packing == "xz":
        return lzma.LZMAFile(cast(IO[bytes], stream))
    if packing == "bz2":
        return bz2.BZ2File(stream)
    if packing == "zst":
        return cast(io.BufferedIOBase, zstd().ZstdFile(stream))
    raise ValueError(packing)


def zstd() -> ModuleType:
    """The module for zstd: of the standard library from Python 3.14 on, before that its backport.

    Raises:
        OSError: The backport is missing.
    """
    try:
        return importlib.import_module("compression.zstd")
    except ModuleNotFoundError:
        pass
    try:
        return importlib.import_module("backports.zstd")
    except ModuleNotFoundError as error:
        raise OSError(
            0, "it is packed with zstd: install backports.zstd, or unpack it first"
        ) from error


def _decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same text as UTF-8; bytes that are not UTF-16 or UTF-32 pass as they are."""
    first = next(chunks, b"")
    encoding = _wide_encoding(first)
    if encoding is None:
        yield first[3:] if first.startswith(codecs.BOM_UTF8) else first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).lstrip("\ufeff").encode("utf-8", "replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _wide_encoding(first: bytes) -> str | None:
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = first[:2000]
    if len(sample) >= 8:
        odd, even = sample[1::2].count(0), sample[::2].count(0)
        half = len(sample) // 2
        if odd > 0.6 * half and even < 0.1 * half:
            return "utf-16-le"
        if even > 0.6 * half and odd < 0.1 * half:
            return "utf-16-be"
    return None


def text(line: bytes) -> str:
    """A line as text: UTF-8, or byte for byte where it is not."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")


def plain(line: bytes) -> str:
    """The same without the sequences that colour a terminal."""
    found = text(line)
    return _ANSI.sub("", found) if "\x1b" in found else found
