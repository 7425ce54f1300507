"""``python -m trainwreck_analyzer [--json] [--data DIR] PATH …``: a diagnosis, no more."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """0: answered; 2: the input cannot be used."""
    parser = argparse.ArgumentParser(prog="trainwreck_analyzer", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from trainwreck_analyzer.diagnose import diagnose
    from trainwreck_analyzer.errors import Unreadable

    try:
        found = diagnose(options.paths, options.data)
    except Unreadable as error:
        sys.stderr.write(f"trainwreck: {error}\n")
        return 2
    if options.json:
        from trainwreck_analyzer.render.json import to_json

        sys.stdout.write(to_json(found) + "\n")
    else:
        from trainwreck_analyzer.render.text import to_text

        sys.stdout.write(to_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
