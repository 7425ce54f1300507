"""``python -m trainwreck_agent record``: the agent, with nothing imported that it can spare."""

from __future__ import annotations

import argparse
import logging
import sys

from trainwreck_agent.layout import DataDirectoryError, default_data_directory

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
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 500ms, 1s, 5m or 2h")
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
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500M or 8G")
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
        raise argparse.ArgumentTypeError(f"{text!r}: write a number from 0 (off) to 10")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line of the agent; ``trainwreck record`` passes it on."""
    made = argparse.ArgumentParser(prog="trainwreck-agent", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="record this machine until stopped")
    record.add_argument("--data", default=str(default_data_directory()), metavar="DIR")
    record.add_argument("--interval", type=seconds, default=1.0, metavar="1s")
    record.add_argument("--duration", type=seconds, default=None, metavar="60s")
    record.add_argument("--host-root", default="/", metavar="/")
    record.add_argument("--log", action="append", default=[], metavar="PATH")
    record.add_argument("--kmsg", default=None, metavar="PATH")
    record.add_argument("--nvml-library", default=None, metavar="PATH")
    record.add_argument("--retain-days", type=float, default=30.0, metavar="30")
    record.add_argument("--max-bytes", type=size_bytes, default=8 << 30, metavar="8G")
    record.add_argument("--gpu-burst-hz", type=hertz, default=0.0, metavar="0")
    stacks = commands.add_parser("stacks", help="print the stacks of the ranks on this machine")
    stacks.add_argument("--reason", default="on request", metavar="TEXT")
    stacks.add_argument("--native", action="store_true", help="C frames too; stops each a moment")
    stacks.add_argument("--lines", action="store_true", help="as lines of the journal")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s", level=logging.INFO)
    if options.command == "stacks":
        from trainwreck_agent import stacks

        stacks.write(sys.stdout, options.reason, native=options.native, lines=options.lines)
        return 0
    from trainwreck_agent.daemon import Recorder, Settings

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
