"""The families of kernel lines: their own examples and look-alikes are their tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trainwreck_analyzer import kernel
from trainwreck_analyzer.kernel import family
from trainwreck_analyzer.kernel.decode import literals
from trainwreck_analyzer.kernel.family import FamilyError, Line
from trainwreck_analyzer.kernel.gate import Present, gate

EXAMPLES = [(line, example) for line in family.lines() for example in line.examples]
LOOK_ALIKES = [(line, example) for line in family.lines() for example in line.look_alikes]


@pytest.mark.parametrize(("line", "example"), EXAMPLES)
def test_example_is_decoded(line: Line, example: str) -> None:
    got = kernel.decode(example)
    assert got is not None
    assert got.family == line.family
    assert line.refine or got.kind == line.kind
    if line.family != "sel":
        assert kernel.decode(f"Nov 24 08:00:00 gpu07 kernel: [   12.345678] {example}") is not None


@pytest.mark.parametrize(("line", "example"), LOOK_ALIKES)
def test_look_alike_is_not(line: Line, example: str) -> None:
    assert line.read(example) is None


def test_every_line_has_an_example() -> None:
    assert [line.kind for line in family.lines() if not line.examples] == []
    assert len({line.kind for line in family.lines()}) > 80


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        ("mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 5: bea0000000000108", "mce",
         {"corrected": "no", "context_corrupt": "yes"}),
        ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: 8c00004000010090",
         "mce_corrected", {"error": "memory controller, read, channel 0"}),
        ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 1: b200000000000151", "mce",
         {"error": "cache, instruction fetch, instruction, L1"}),
        ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 4: b200000000100402", "mce",
         {"error": "internal, unclassified"}),
        ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 4: b200000000000e0b", "mce",
         {"error": "generic I/O"}),
        ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 2: b200000000000014", "mce",
         {"error": "TLB, data, L0"}),
        ("[Hardware Error]: CPU:0 (19:61:2) MC21_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: "
         "0xdc2040000400011b", "mce_corrected", {"bank": "21"}),
        ("[Hardware Error]: CPU:0 (19:50:0) MC11_STATUS[-|CE|-|AddrV|-|-|-|UECC|-|Poison|-]: "
         "0x8400aa4800a90139", "mce_implausible", {}),
        ("pcieport 0000:00:01.0:   device [8086:460d] error status/mask=00000040/00002000",
         "aer_detail", {"if_corrected": "bad TLP"}),
        ("pcieport 0000:00:01.0:   device [8086:460d] error status/mask=00004000/00000000",
         "aer_detail", {"if_uncorrected": "completion timeout"}),
        ("pcieport 0000:5f:00.0: DPC: containment event, status:0x1f05 source:0x6000", "dpc",
         {"trigger": "ERR_FATAL received"}),
        ("oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=half,mems_allowed=1,"
         "global_oom,task_memcg=/a,task=python,pid=4711,uid=0", "oom_kill",
         {"scope": "NUMA nodes of the cpuset", "pid": "4711", "memcg": "/a"}),
        ("oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=0,cpuset=/,mems_allowed=0-1,"
         "global_oom,task_memcg=/,task=python,pid=4711,uid=0", "oom_kill",
         {"scope": "NUMA nodes of the memory policy"}),
        ("python[1]: segfault at 0 ip 00007f00 sp 00007ffd error 6 in libnccl.so.2[7f00+1000]",
         "segfault", {"library": "libnccl.so.2", "access": "page not present, write, user mode"}),
        ("amdgpu 0000:c3:00.0: 1048575 uncorrectable hardware errors detected in umc block",
         "amdgpu_ras_unreadable", {}),
        ("  1a | 11/24/2026 | 08:00:00 | Power Supply PS1 | Power Supply AC lost | Deasserted",
         "sel_psu_over", {"sensor": "Power Supply PS1"}),
        ("nvme nvme0: I/O 5 QID 3 timeout, completion polled", "nvme_interrupt_lost", {}),
    ],
)  # fmt: skip
def test_what_needs_arithmetic(line: str, kind: str, fields: dict[str, str]) -> None:
    got = kernel.decode(line)
    assert got is not None
    assert got.kind == kind
    assert {name: got.fields.get(name) for name in fields} == fields


@pytest.mark.parametrize(
    "line",
    [
        "step 1200 | loss 2.3451 | grad norm 0.99 | lr 3.0e-4",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "[rank0]: RuntimeError: NCCL error",
        "pcieport 0000:00:01.0: AER: enabled with IRQ 122",
        "nvme nvme0: 64/0/0 default/read/poll queues",
        "EDAC MC: Ver: 3.0.0",
        "mlx5_core 0000:60:00.0: firmware version: 28.39.1002",
        "IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready",
        "perf: interrupt took too long (4931 > 4921), lowering kernel.perf_event_max_sample_rate",
        "nvidia-nvlink: Nvlink Core is being initialized, major device number 237",
        "systemd[1]: Started Session 5 of User root.",
        "",
    ],
)
def test_benign_lines_mean_nothing(line: str) -> None:
    assert kernel.decode(line) is None


def test_the_filter_passes_every_line_that_holds_a_literal() -> None:
    wanted = gate(literals())
    for literal in literals():
        assert wanted.search(f"some text {literal} more")


@given(st.text(max_size=2000))
def test_any_text_is_decoded_or_not(text: str) -> None:
    got = kernel.decode(text)
    assert got is None or got.kind


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=600)
def test_damaged_examples_are_decoded_or_not(
    example: tuple[Line, str], data: st.DataObject
) -> None:
    text = example[1]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    junk = data.draw(st.text(max_size=20))
    got = kernel.decode(text[:start] + junk + text[end:])
    assert got is None or got.kind


@pytest.mark.timeout(120)
def test_no_example_repeated_to_a_megabyte_takes_long() -> None:
    for _, example in EXAMPLES:
        kernel.decode((example + " ") * (2**20 // len(example)))
        for word in example.split()[:3]:
            kernel.decode(f"{example[:40]} " + (word + " ") * (2**20 // (len(word) + 1)))


@pytest.mark.parametrize("path", sorted(family._FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_every_pattern_of_ours_compiles(path: Path) -> None:
    assert family.read_file(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml [", "TOMLDecodeError"),
        ("[[line]]\nkind='x'", "KeyError"),
        ("[[line]]\nkind='x'\nseverity='bad'\nhas=['a']\npattern='a'", "severity"),
        ("[[line]]\nkind='x'\nseverity='info'\nhas=['a']\npattern='('", "error"),
        ("[[line]]\nkind='x'\nseverity='info'\nhas=['a']\npattern='a'\nwhat=1", "unknown keys"),
        ("[[line]]\nkind='x'\nseverity='info'\nhas=['a']\npattern='a'\nrefine='no'", "refiner"),
    ],
)
def test_a_wrong_family_file_is_refused_with_its_reason(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(FamilyError, match=says):
        family.read_file(path)


@given(
    st.lists(st.text("abcé :0]", min_size=1, max_size=8), min_size=1, max_size=12),
    st.text("abcé :0]", max_size=60),
)
def test_literals_are_found_together_as_they_are_one_by_one(literals: list[str], text: str) -> None:
    expected = [index for index, literal in enumerate(literals) if literal in text]
    assert Present(literals).places(text) == expected
