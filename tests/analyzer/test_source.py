"""Bytes from anywhere: standard input, pipes, packed files that are whole, cut short or damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import source
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.source import zstd
from trainwreck_analyzer.verdict import Diagnosis

XID = "NVRM: Xid (PCI:0000:9b:00): 79, pid=4711, name=python, GPU has fallen off the bus."
STORY = "INFO start\nOSError: [Errno 28] No space left on device\n"
KERNEL = {
    "seconds since boot": f"[   10.000000] usb 1-1: new device\n[   12.345678] {XID}\n",
    "dmesg -T": f"[Tue Nov 24 08:00:00 2026] usb 1-1: new\n[Tue Nov 24 08:00:30 2026] {XID}\n",
    "dmesg -e": f"[Nov24 08:00] usb 1-1: new device\n[ +29.500000] usb 2\n[  +0.500000] {XID}\n",
    "kmsg": f"6,1,10000000,-;usb 1-1: new device\n3,2,12345678,-;{XID}\n SUBSYSTEM=pci\n",
    "syslog": f"Nov 24 08:00:00 gpu07 kernel: usb\nNov 24 08:00:30 gpu07 kernel: {XID}\n",
    "journalctl -o json": '{"MESSAGE":"usb","__REALTIME_TIMESTAMP":"1795507200000000",'
    '"_TRANSPORT":"kernel"}\n{"MESSAGE":"' + XID + '","_HOSTNAME":"gpu07","_TRANSPORT":"kernel",'
    '"__REALTIME_TIMESTAMP":"1795507230000000","__MONOTONIC_TIMESTAMP":"12345678"}\n',
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstd().compress,
}


def piped(text: bytes, monkeypatch: pytest.MonkeyPatch) -> Diagnosis:
    """The diagnosis of standard input, which holds some bytes once and no more."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as into:
            into.write(text)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        found = diagnose([source.STDIN])
    thread.join()
    return found


@pytest.mark.parametrize("text", KERNEL.values(), ids=KERNEL)
def test_the_kernels_log_on_standard_input_says_what_it_says_in_a_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kern.log"
    path.write_text(text)
    os.utime(path, (1795600000, 1795600000))
    in_file, in_pipe = diagnose([path]), piped(text.encode(), monkeypatch)
    (incident,) = in_pipe.incidents
    assert incident.verdict.cause == "gpu_fell_off_bus"
    assert incident.verdict == in_file.incidents[0].verdict
    assert incident.start == in_file.incidents[0].start
    assert in_pipe.inputs[0].kind == "kernel_log"


def test_a_training_log_on_standard_input_may_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = piped(gzip.compress(STORY.encode()), monkeypatch)
    assert [i.verdict.cause for i in found.incidents] == ["disk_full"]


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_text, args=(KERNEL["dmesg -e"],))
    thread.start()
    found = diagnose([path])
    thread.join()
    assert [i.verdict.cause for i in found.incidents] == ["gpu_fell_off_bus"]


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_what_is_packed_is_read_without_any_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setenv("PATH", "")
    path = tmp_path / "a.log"
    path.write_bytes(pack(STORY.encode()) + pack(b"more\n"))
    found = diagnose([path])
    assert [i.verdict.cause for i in found.incidents] == ["disk_full"]
    assert (found.inputs[0].lines, found.inputs[0].unparsed_lines) == (3, 0)


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_what_is_cut_short_gives_what_it_holds_and_is_counted(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.log"
    filler = os.urandom(400_000).hex().encode()
    whole = pack(STORY.encode() + b"\n".join(filler[i : i + 80] for i in range(0, 800_000, 80)))
    path.write_bytes(whole[: len(whole) * 3 // 4])
    if pack is bz2.compress:  # its blocks hold 900 kB: the first must be whole
        path.write_bytes(pack(STORY.encode()) + whole[: len(whole) // 2])
    found = diagnose([path])
    assert [i.verdict.cause for i in found.incidents] == ["disk_full"]
    assert found.inputs[0].unparsed_lines == 1


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=3000), st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_survived(
    tmp_path_factory: pytest.TempPathFactory, kind: str, content: bytes, data: st.DataObject
) -> None:
    packed = bytearray(PACKERS[kind](content))
    for _ in range(data.draw(st.integers(0, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(packed)))
    path = tmp_path_factory.mktemp("any") / "a.log"
    path.write_bytes(packed[:end])
    damage: list[str] = []
    read = b"".join(block for block, _ in source.blocks(path, on_damage=damage.append))
    assert len(damage) <= 1
    assert isinstance(read, bytes)
