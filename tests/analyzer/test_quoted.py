"""Text that a log only shows raises nothing; the same text, said, does."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import put, steps
from hypothesis import given
from hypothesis import strategies as st
from trainwreck_analyzer.diagnose import diagnose
from trainwreck_analyzer.quoted import quoted

XID = "NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus."
KILL = "kernel: Out of memory: Killed process 4711 (python) total-vm:9kB, anon-rss:9kB"
OOM = "RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB"
SHOWN = [
    f"    if 'Xid 79' in line:  # {XID}",
    f"    # {XID}",
    f'    raise RuntimeError("{OOM}")',
    f'{{"prompt": "{KILL}", "completion": "Ask for more memory"}}',
    f'{{"text": "{OOM}", "label": 3}}',
    "* If you see `Xid 48` drain the node",
    f"| {XID} | Your GPU is lost |",
]


@pytest.mark.parametrize("line", SHOWN)
def test_a_text_that_is_shown_raises_nothing(tmp_path: Path, line: str) -> None:
    put(tmp_path, "train.log", [*steps(0)[:20], line])
    assert diagnose([tmp_path]).incidents == ()


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (f'{{"level": "error", "text": "{OOM}"}}', "gpu_oom"),
        (f'{{"log": "{OOM}", "stream": "stderr"}}', "gpu_oom"),
        (f"[rank0]: {OOM}", "gpu_oom"),
        (f"node7 {XID}", "gpu_fell_off_bus"),
        (
            "- `dmesg` of node7 shows: NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus.",
            "gpu_fell_off_bus",
        ),
        (f"from worker 3: {OOM}", "gpu_oom"),
        ("    #0 0x7f12 in c10::cuda::device_synchronize() from libc10_cuda.so", None),
        (
            "    #error -- unsupported GNU version! gcc versions later than 11 are not supported",
            None,
        ),
        ("|   0  NVIDIA H100   On   |   00000000:9B:00.0 Off |   ERR! |", None),
    ],
)
def test_a_text_that_is_said_is_heard(tmp_path: Path, line: str, cause: str | None) -> None:
    assert not quoted(line)
    put(tmp_path, "train.log", [*steps(0)[:20], line])
    causes = [incident.verdict.cause for incident in diagnose([tmp_path]).incidents]
    if cause is not None:
        assert causes == [cause]


@given(st.text(max_size=300), st.sampled_from(["", "{", "| ", "    if ", "* "]))
def test_any_line_is_asked(text: str, head: str) -> None:
    quoted(head + text)
