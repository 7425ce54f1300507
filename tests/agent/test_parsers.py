"""Parsers of the agent's core: what they read, and that no bytes make them fail."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trainwreck_agent import cgroup, identity, kernel_log, process_exits, processes, step_lines
from trainwreck_agent.collectors import cpu, disk, filesystem, memory, network, pressure, vmstat
from trainwreck_agent.host import Host
from trainwreck_agent.redact import _RULES as redact_rules
from trainwreck_agent.redact import redact

STAT = b"7 (a) (b) S 1 7 7 0 -1 4 1 2 3 4 50 60 0 0 20 0 9 0 1234 0 77 0 0 0 0 0 0 0 0 0 0 0 0 0 17 5 0"

BYTES: list[Callable[[bytes], Any]] = [
    kernel_log.parse, process_exits.parse, processes.parse_stat, memory.numbers().read,
    vmstat.numbers().read, disk.parse_line, lambda data: list(network.parse(data)),
    filesystem.parse, pressure.parse, cgroup.memory_path,
    lambda data: cgroup.keyed(data, b"oom_kill"),
    lambda data: list(cpu.times(data, with_cores=True)), cpu.numbers,
    lambda data: identity.identify("python", data, data), identity.command_line,
]  # fmt: skip
PIECES = [
    b"6,1,2,-;text\n", STAT, b"MemTotal: 5 kB\n", b"oom_kill 5\n", b"8 0 sda 1 1 1 1 1 1 1 1 1 1 1\n",
    b"lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", b"25 1 254:0 / /a\\040b rw - ext4 /dev/vda rw\n",
    b"some avg10=0.1 avg60=0 avg300=0 total=3\n", b"4:memory:/job\n", b"cpu 1 2 3\n", b"\nctxt 1\n",
    b"RANK=1\0", b"9" * 5000, b"\xff", b"\0", b"\n", b":", b" - ", b"\\777", "٣".encode(),
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
)
def test_no_bytes_make_a_parser_fail(data: bytes) -> None:
    for parse in BYTES:
        parse(data)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400))
def test_no_text_makes_a_parser_fail(text: str) -> None:
    step_lines.parse_step(text)
    step_lines.rank_of(text)
    assert isinstance(redact(text), str)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"6,339,5140900,-;NET: x\n SUBSYSTEM=a\n", kernel_log.Record(6, 0, 339, 5140900, "NET: x")),
        (b"30,340,5,c,more;udevd[80]: y", kernel_log.Record(6, 3, 340, 5, "udevd[80]: y")),
        (b"3,1,2,-;a\\x09b;c", kernel_log.Record(3, 0, 1, 2, "a\tb;c")),
        (b"3,1,2", None), (b"", None), (b"3,-1,2,-;x", None), (b"x,1,2,-;x", None),
    ],
)  # fmt: skip
def test_kernel_log_records(data: bytes, expected: kernel_log.Record | None) -> None:
    assert kernel_log.parse(data) == expected


def test_a_stat_line_whose_name_has_spaces_and_parentheses() -> None:
    stat = processes.parse_stat(STAT)
    assert stat is not None
    assert (stat.name, stat.state, stat.parent) == ("a) (b", "S", 1)
    assert (stat.major_faults, stat.user_ticks, stat.system_ticks) == (3, 50, 60)
    assert (stat.threads, stat.start_ticks, stat.rss_pages, stat.last_core) == (9, 1234, 77, 5)


def test_an_exit_event() -> None:
    headers = struct.pack("=IHHIIIIIIHH", 76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    event = struct.pack("=IIQ", process_exits.PROC_EVENT_EXIT, 0, 5)
    assert process_exits.parse(headers + event + b"body") == (
        process_exits.PROC_EVENT_EXIT,
        5,
        b"body",
    )
    assert process_exits.parse(headers) is None


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("python", b"RANK=3\0LOCAL_RANK=1\0WORLD_SIZE=8\0MASTER_ADDR=h", (3, 1, 8, "h")),
        ("python", b"SLURM_PROCID=2\0SLURM_JOB_ID=9\0SLURM_NTASKS=4", (2, None, 4, "9")),
        ("python", b"RANK=1\0SLURM_PROCID=2", (1, None, None, None)),
        ("python", b"RANK=-1\0WORLD_SIZE=x", (None, None, None, None)),
        ("python", b"RANK=1\0RANK=2", (1, None, None, None)),
        ("bash", b"RANK=1", (None, None, None, None)),
        ("python", b"", (None, None, None, None)),
    ],
)
def test_identity(name: str, environment: bytes, expected: tuple[object, ...]) -> None:
    got = identity.identify(name, b"python\0", environment)
    assert (got.rank, got.local_rank, got.world_size, got.job) == expected


@pytest.mark.parametrize(
    ("command", "launcher"),
    [
        (b"/opt/bin/torchrun\0--nproc-per-node\x008\0", True),
        (b"python\0-m\0torch.distributed.run\0x.py\0", True),
        (b"python\0/usr/bin/accelerate\0launch\0", True),
        (b"vim\0torchrun.md\0", False),
        (b"python\0my_torchrun\0", False),
    ],
)
def test_launchers(command: bytes, launcher: bool) -> None:
    assert identity.identify("x", command, b"").launcher is launcher


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.py --api-key abc --lr 1", "train.py --api-key *** --lr 1"),
        ("HF_TOKEN=hf_abcdefghijklmnop x", "HF_TOKEN=*** x"),
        ("--password=hunter2 --seed 3", "--password=*** --seed 3"),
        ("git clone https://me:secret@host/x", "git clone https://me:***@host/x"),
        ("curl -H 'Authorization: Bearer abcdefghijk'", None),
        ("x sk-abcdefghijklmnop y", "x *** y"),
        (
            "train.py --tokenizer gpt2 --max_tokens 4096",
            "train.py --tokenizer gpt2 --max_tokens 4096",
        ),
        ("train.py --wandb-key SECRET --lr 1", "train.py --wandb-key *** --lr 1"),
        ("train.py --key SECRET --pass=SECRET", "train.py --key *** --pass=***"),
        ("wandb login SECRET", "wandb login ***"),
        ("curl -u me:SECRET https://x", "curl -u me:*** https://x"),
        ("python -u train.py", "python -u train.py"),
        ("sshpass -p SECRET ssh x", "sshpass -p *** ssh x"),
        ("mysql -h db -pSECRET", "mysql -h db -p***"),
        ("MYSQL_PWD=SECRET mysql", "MYSQL_PWD=*** mysql"),
        ("SLURM_JWT=SECRET", "SLURM_JWT=***"),
        ("git clone https://SECRETSECRETSECRET@host/x", "git clone https://***@host/x"),
        ("get https://h/c?sv=1&sig=SECRET%3D&x=1", "get https://h/c?sv=1&sig=***&x=1"),
        ("AccountName=x;AccountKey=SECRET==;y", "AccountName=x;AccountKey=***;y"),
        ("x nvapi-SECRETSECRETSECRET z", "x *** z"),
        ("RuntimeError: token=SECRET", "RuntimeError: token=***"),
        ("--env a:password=SECRET --x 1", "--env a:password=*** --x 1"),
        (
            "post https://hooks.slack.com/services/T0/B0/SECRET",
            "post https://hooks.slack.com/services/***",
        ),
        ("train.py --steps 100 --lr 1e-4", "train.py --steps 100 --lr 1e-4"),
    ],
)
def test_redaction(text: str, expected: str | None) -> None:
    got = redact(text)
    if expected is not None:
        assert got == expected
    assert "abcdefghijk" not in got
    assert "SECRET" not in got


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "part",
    ["token", "a.-_key-", "--user ", "mysql -a ", "https://", "?sig", "authorization: a ", "é-key"],
)
def test_nobody_can_make_the_search_for_secrets_take_long(part: str) -> None:
    """Any user chooses the words of a process: 2,000 characters once took 42 s of the recorder's."""
    text = part * (20_000 // len(part))
    assert len(redact(text)) <= len(text) + 3


SECRETS = st.lists(
    st.sampled_from(
        ["--API-Key ", "api.key=", "Token: ", "\"HF_TOKEN\": \"", "Authorization: Bearer ", "bearer ",
         "BEARER ", "sk-", "hf_", "AKIA", "mysql ", "-p", "-u a:", "--key ", "pass:", "?sig=", "wandb login ", "akia", "eyJ", "xoxb-", "https://me:", "@host/", "abcdefghijklm",
         "0123456789abcdef", " ", "\n", "-", "=", "pa\u017f\u017fword=", "to\u212aen ", "access-\u212aey="]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(st.one_of(SECRETS, st.text(max_size=60)))
def test_no_rule_against_secrets_is_left_out_that_would_find_one(text: str) -> None:
    every = text
    for _, pattern, replacement in redact_rules:
        every = pattern.sub(replacement, every)
    assert redact(text) == every


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"4:memory:/job\n0::/unified\n", "v1:/job"), (b"0::/a:b\n", "v2:/a:b"),
        (b"4:cpu,memory:/\n0::/\n", None), (b"4:cpu:/x\n", None), (b"", None),
    ],
)  # fmt: skip
def test_memory_cgroups(data: bytes, expected: str | None) -> None:
    assert cgroup.memory_path(data) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("step 12 loss 2.5", (12, 2.5, None, None, None, None)),
        ("[rank0]: step: 7 | loss: 1.25 | grad_norm: 0.5 | lr: 1e-4",
         (7, 1.25, 0.5, 1e-4, None, None)),
        ('{"step": 3, "loss": 0.5}', (3, 0.5, None, None, None, None)),
        ("step 12", None), ("loss 2.5", None), ("", None), ("x" * 5000, None),
    ],
)  # fmt: skip
def test_step_lines(line: str, expected: tuple[object, ...] | None) -> None:
    assert step_lines.parse_step(line) == expected


def filled(names: tuple[bytes, ...], values: list[int | None]) -> dict[bytes, int]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


LINES = st.lists(
    st.sampled_from(
        [b"MemTotal: 5 kB", b"MemTotal: 123456 kB", b"Dirty:", b"Dirty: 7", b"Dirty: x", b"new: 1",
         b"MemFree: 99999999999999999999 kB", b"MemFree:0", b"Dirty: 1 kB extra", b"",
         b"Dirty:7", b"Dirty:\t7\r", b"Dirty: 7  kB ", b"Dirty: 7kB"]
    ),
    max_size=8,
    unique_by=lambda line: line.partition(b":")[0],
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(LINES, LINES)
@example([b"Dirty: 7", b"new: 1"], [b"Dirty: 1 kB extra", b"new: 1"])
def test_numbers_do_not_depend_on_what_was_read_before(
    first: list[bytes], then: list[bytes]
) -> None:
    used = memory.numbers()
    used.read(b"\n".join(first))
    data = b"\n".join(then)
    assert used.read(data) == memory.numbers().read(data)


def test_files_of_the_kernel() -> None:
    named = memory.numbers().read(b"MemTotal:  5 kB\nHugePages_Total:  7\nx\n")
    assert filled(memory.NAMES, named) == {b"MemTotal": 5120, b"HugePages_Total": 7}
    stalls = b"oom_kill 3\nallocstall_dma 1\nallocstall_normal 2\nother 9\n"
    named = vmstat.numbers().read(stalls)
    assert filled(vmstat.NAMES, named) == {b"oom_kill": 3, b"allocstall": 3}
    disks = b"8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
    assert [v for v in map(disk.parse_line, disks.splitlines()) if v] == [
        ("sda", 1, 3 * 512, 4, 5, 7 * 512, 8, 9, 10, 11)
    ]
    (lo,) = network.parse(b" face |bytes\n lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
    assert lo == ("lo", "1", "2", "3", "4", "9", "10", "11", "12")
    mounts = b"1 0 8:1 / /a\\040b rw - ext4 /dev/x rw\n2 0 8:1 /s / rw - ext4 /dev/x rw\n3 0 0:4 / /proc rw - proc p rw\n"
    mounts += b"4 0 0:9 / /proc/acpi ro - tmpfs tmpfs ro\n"  # as a container has it
    assert filesystem.parse(mounts) == [("/", "/dev/x", "ext4", False)]
    after_an_error = b"1 0 8:1 / /a rw,relatime shared:1 - ext4 /dev/x ro,errors=remount-ro\n"
    mounted_so = b"2 0 8:2 / /b ro,relatime - xfs /dev/y rw,inode64\n"
    assert [found[3] for found in filesystem.parse(after_an_error + mounted_so)] == [True, True]


def test_a_file_that_comes_in_pieces_is_read_to_its_end() -> None:
    """The kernel ends a piece at a record: the first of smaps is shorter than a page."""
    file = Host().open("/proc/self/smaps")
    whole, piece = file.read(), file.read_record()
    file.close()
    assert b"[stack]" in whole
    assert b"[stack]" not in piece
    assert len(piece) < os.sysconf("SC_PAGE_SIZE") < len(whole)
