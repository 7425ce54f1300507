"""``python -m trainwreck_tui.picture OUT.svg``: a picture of a real screen, for the README.

With ``--demo`` a real fault happens first; else ``--data DIR PATH…`` name what to show.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from trainwreck_analyzer.diagnose import diagnose

from trainwreck_tui.app import TrainwreckApp

SIZE = (120, 36)


async def draw(data: Path, paths: list[Path], out: Path, keys: list[str]) -> None:
    """Open the app at the verdict, press the keys, write the picture."""
    app = TrainwreckApp([data], paths, diagnose(paths, [data]))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*keys)
        await app.workers.wait_for_complete()
        await pilot.pause()
        out.write_text(app.export_screenshot(title="trainwreck"), encoding="utf-8")


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--demo", action="store_true", help="let a real fault happen first")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keys", default="", help="keys to press first, comma separated")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_intermixed_args()
    keys = [key for key in options.keys.split(",") if key]
    with tempfile.TemporaryDirectory() as name:
        data, paths = options.data, options.paths
        if options.demo:
            data = Path(name) / "data"
            command = [sys.executable, "-m", "trainwreck_tui", "demo", "--no-tui", "--seed", "7"]
            subprocess.run([*command, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
            paths = [next(data.rglob("train.log"))]
        asyncio.run(draw(data, paths, options.out, keys))


if __name__ == "__main__":
    main()
