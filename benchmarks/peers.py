"""The programs that the recorder is measured beside, each as its users run it, once a second.

Debian: ``apt-get install sysstat prometheus-node-exporter atop netdata pcp``. One that is not there
is named and left out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.subject import Subject

SADC = shutil.which("sadc") or "/usr/lib/sysstat/sadc"
PMCD = Path("/usr/lib/pcp/bin/pmcd")
PMDAS = Path("/var/lib/pcp/pmdas")
PMNS = Path("/var/lib/pcp/pmns/root")
EXPORTER_ADDRESS, NETDATA_ADDRESS, PMCD_PORT = "127.0.0.1:19177", "127.0.0.1:19178", "44399"
NETDATA_METRICS = f"http://{NETDATA_ADDRESS}/api/v1/allmetrics?format=prometheus"
NETDATA = """[global]
    run as user = root
[db]
    update every = 1
[directories]
    config = {0}
    cache = {0}/cache
    lib = {0}/lib
    log = {0}/log
[web]
    bind to = {1}
[ml]
    enabled = no
"""
PMDA = "{0}\t{1}\tpipe\tbinary\t{2}/{0}/pmda{0} -d {1}\n"
PCP_LOGGED = (
    "log mandatory on 1 sec { kernel.all.cpu kernel.all.load kernel.all.pressure kernel.all.intr"
    " kernel.all.pswitch kernel.percpu.cpu kernel.all.nprocs mem.util mem.vmstat swap.pagesin"
    " swap.pagesout network.interface disk.dev disk.all vfs.files }\n"
)


def peers(folder: Path) -> tuple[list[Subject], list[str]]:
    """Those that are installed, writing into ``folder``, and the names of those that are not."""
    found: list[Subject] = []
    missing: list[str] = []
    for name, make in MAKERS.items():
        subject = make(folder)
        if subject is None:
            missing.append(name)
        else:
            found.append(subject)
    return found, missing


def _sadc(folder: Path) -> Subject | None:
    if not Path(SADC).exists():
        return None
    out = folder / "sadc"

    def values() -> float | None:
        command = ["sadf", "-j", str(out), "--", "-A"]
        told = subprocess.run(command, capture_output=True, check=False).stdout
        try:
            return _numbers(json.loads(told)["sysstat"]["hosts"][0]["statistics"][-1])
        except (ValueError, KeyError, IndexError):
            return None

    return Subject("sadc -S XALL 1", [SADC, "-S", "XALL", "1", str(out)], out, values=values)


def _numbers(value: Any) -> int:  # noqa: ANN401 — whatever JSON gives
    if isinstance(value, dict):
        return sum(map(_numbers, value.values()))
    if isinstance(value, list):
        return sum(map(_numbers, value))
    return isinstance(value, int | float)


def _node_exporter(folder: Path) -> Subject | None:
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        return None
    url = f"http://{EXPORTER_ADDRESS}/metrics"
    command = [program, f"--web.listen-address={EXPORTER_ADDRESS}"]
    return Subject("node_exporter", command, None, lambda: _get(url), lambda: _samples(url))


def _atop(folder: Path) -> Subject | None:
    program = shutil.which("atop")
    if program is None:
        return None
    return Subject("atop -w 1", [program, "-w", str(folder / "atop"), "1"], folder / "atop")


def _netdata(folder: Path) -> Subject | None:
    program = shutil.which("netdata") or shutil.which("netdata", path="/usr/sbin")
    if program is None:
        return None
    own = folder / "netdata"
    for name in ("cache", "lib", "log"):
        (own / name).mkdir(parents=True)
    (own / ".opt-out-from-anonymous-statistics").touch()
    (own / "netdata.conf").write_text(NETDATA.format(own, NETDATA_ADDRESS))
    command = [program, "-D", "-c", str(own / "netdata.conf")]
    return Subject("netdata", command, own / "cache", values=lambda: _samples(NETDATA_METRICS))


def _pcp(folder: Path) -> Subject | None:
    """The collector daemon with its agent for Linux, and the logger."""
    if not PMCD.exists() or not PMNS.exists() or not shutil.which("pmlogger"):
        return None
    own = folder / "pcp"
    out = own / "archive"
    out.mkdir(parents=True)
    (own / "pmcd.conf").write_text(PMDA.format("linux", 60, PMDAS) + '[access]\nallow "*" : all;\n')
    (own / "pmlogger.conf").write_text(PCP_LOGGED)
    daemon = f"{PMCD} -f -c {own}/pmcd.conf -s {own}/socket -p {PMCD_PORT} -l {own}/pmcd.log"
    logger = f"pmlogger -h localhost:{PMCD_PORT} -c {own}/pmlogger.conf -l {own}/log -t 1sec"
    # Its agents write a log where they stand.
    command = ["sh", "-c", f"cd {own}; {daemon} & sleep 2; exec {logger} {out}/a"]

    def values() -> float | None:
        told = subprocess.run(["pmlogsummary", f"{out}/a"], capture_output=True, check=False).stdout
        return len(told.splitlines()) or None

    # Without derived metrics: with them pmlogger 6.0.3 asks for their names a thousand times a second.
    plain = {"PCP_DERIVED_CONFIG": ""}
    return Subject("pcp pmlogger 1", command, out, values=values, environment=plain)


def _get(url: str) -> None:
    urllib.request.urlopen(url, timeout=5).read()


def _samples(url: str) -> float | None:
    """Values in a page of the Prometheus text format."""
    with urllib.request.urlopen(url, timeout=5) as page:
        return sum(not line.startswith(b"#") for line in page.read().splitlines())


MAKERS: dict[str, Callable[[Path], Subject | None]] = {
    "sadc": _sadc,
    "node_exporter": _node_exporter,
    "atop": _atop,
    "netdata": _netdata,
    "pcp": _pcp,
}
