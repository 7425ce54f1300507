"""What this kernel says on a kept-open file of a device that was taken away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from trainwreck_agent.attribute import Attribute
from trainwreck_agent.host import Host

INTERFACE = "twreck0"


def link(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "link", *words], check=False, capture_output=True, text=True, timeout=20
    )


@pytest.fixture
def interface() -> Iterator[str]:
    if shutil.which("ip") is None:
        pytest.skip("no command ip here")
    made = link("add", INTERFACE, "type", "veth", "peer", "name", f"{INTERFACE}p")
    if made.returncode != 0:
        pytest.skip(f"no virtual interface can be made here: {made.stderr.strip()}")
    yield INTERFACE
    link("del", INTERFACE)


@pytest.mark.fault
def test_a_device_that_was_taken_away_is_vanished_and_its_successor_is_another(
    interface: str,
) -> None:
    host = Host("/")
    file = Attribute(host, f"/sys/class/net/{interface}/mtu")
    assert file.integer() == 1500
    link("del", interface)
    assert file.integer() is None
    assert file.vanished
    link("add", interface, "type", "veth", "peer", "name", f"{interface}p")
    assert file.integer() is None
    assert Attribute(host, f"/sys/class/net/{interface}/mtu").integer() == 1500
