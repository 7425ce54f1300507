"""``python -m trainwreck_agent record``: the agent, with nothing imported that it can spare."""

from __future__ import annotations

import gc
import importlib
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
INTERVAL_MIN_S = 0.1
BURST_HZ_MAX = 10.0


def seconds(text: str) -> float:
    """A duration such as ``500ms``, ``1s``, ``5m``, ``2h`` or plain seconds.

    Raises:
        argparse.ArgumentTypeError: Not one of these, or not positive.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :] or "s"
    try:
        value = float(number) * _UNITS_S[unit]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 < value < float("inf"):
        raise _wrong(f"{text!r} is no duration; write 500ms, 1s, 5m or 2h")
    return value


def size_bytes(text: str) -> int:
    """A size such as ``8G`` or ``500M`` (powers of 1024), or plain bytes.

    Raises:
        argparse.ArgumentTypeError: Not one of these.
    """
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    unit = text[-1:].upper()
    number = text[:-1] if unit in units else text
    if not number.isdigit():
        raise _wrong(f"{text!r} is no size; write 500M or 8G")
    return int(number) << units.get(unit, 0)


def hertz(text: str) -> float:
    """How often a second, at most ten times; 0: not at all.

    Raises:
        argparse.ArgumentTypeError: No such number.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= BURST_HZ_MAX:
        raise _wrong(f"{text!r}: write a number from 0 (off) to 10")
    return value


def _wrong(message: str) -> Exception:
    import argparse

    return argparse.ArgumentTypeError(message)


def parser() -> argparse.ArgumentParser:
    """The command line of the agent; ``trainwreck record`` passes it on."""
    import argparse

    from trainwreck_agent.layout import default_data

    def narrow(prog: str) -> argparse.HelpFormatter:
        return argparse.HelpFormatter(prog, width=80)  # to ask the terminal loads five modules

    made = argparse.ArgumentParser(
        prog="trainwreck-agent", description=__doc__, formatter_class=narrow
    )
    commands = made.add_subparsers(dest="command", required=True)
    record = commands.add_parser(
        "record", help="record this machine until stopped", formatter_class=narrow
    )
    record.add_argument("--data", default=default_data(), metavar="DIR")
    record.add_argument("--interval", type=seconds, default=1.0, metavar="1s")
    record.add_argument("--duration", type=seconds, default=None, metavar="60s")
    record.add_argument("--host-root", default="/", metavar="/")
    record.add_argument("--log", action="append", default=[], metavar="PATH")
    record.add_argument("--kmsg", default=None, metavar="PATH")
    record.add_argument("--nvml-library", default=None, metavar="PATH")
    record.add_argument("--retain-days", type=float, default=30.0, metavar="30")
    record.add_argument("--max-bytes", type=size_bytes, default=8 << 30, metavar="8G")
    record.add_argument("--gpu-burst-hz", type=hertz, default=0.0, metavar="0")
    stacks = commands.add_parser(
        "stacks", help="print the stacks of the ranks on this machine", formatter_class=narrow
    )
    stacks.add_argument("--reason", default="on request", metavar="TEXT")
    stacks.add_argument("--native", action="store_true", help="C frames too; stops each a moment")
    stacks.add_argument("--lines", action="store_true", help="as lines of the journal")
    return made


class _Later(ModuleType):
    """A module that is loaded when something of it is used, not when it is imported.

    ``dataclasses`` imports ``inspect`` for classes without a docstring: 1.2 MiB for nothing.
    """

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def _unload(*names: str) -> None:
    """Give back what only the start needed; what is imported next takes its place."""
    for name in names:
        sys.modules.pop(name, None)
    gc.collect()


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; the exit code."""
    sys.modules.setdefault("inspect", _Later("inspect"))
    options = parser().parse_args(arguments)
    if options.command == "stacks":
        from trainwreck_agent import stacks

        stacks.write(sys.stdout, options.reason, native=options.native, lines=options.lines)
        return 0
    _unload("argparse", "gettext", "locale")
    from trainwreck_agent.daemon import Recorder, Settings
    from trainwreck_agent.layout import DataDirectoryError

    settings = Settings(
        data=options.data,
        interval_s=max(options.interval, INTERVAL_MIN_S),
        duration_s=options.duration,
        host_root=options.host_root,
        logs=tuple(options.log),
        kmsg=options.kmsg,
        nvml_library=options.nvml_library,
        retain_days=options.retain_days,
        max_bytes=options.max_bytes,
        gpu_burst_hz=options.gpu_burst_hz,
    )
    try:
        recorder = Recorder(settings)
    except DataDirectoryError as error:
        sys.stderr.write(f"trainwreck record: {error}\n")
        return 2
    return recorder.run()


if __name__ == "__main__":
    sys.exit(main())
