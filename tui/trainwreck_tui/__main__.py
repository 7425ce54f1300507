"""``python -m trainwreck_tui``: the same as ``trainwreck``."""

from trainwreck_tui.cli import main

if __name__ == "__main__":
    main()
