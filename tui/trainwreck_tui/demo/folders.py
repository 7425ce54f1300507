"""Where a demonstration puts things."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class DemoError(Exception):
    """The demonstration could not be run: what, where, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a demonstration puts things."""

    data: Path
    """The recorder's data directory; the job's files are in ``job`` inside it."""

    @property
    def job(self) -> Path:
        """Logs, checkpoints and the description of the job."""
        return self.data / "job"

    @property
    def log(self) -> Path:
        """The training log of all ranks."""
        return self.job / "logs" / "train.log"

    def command_to_look_again(self) -> str:
        """What opens this incident again."""
        return f"trainwreck tui --data {self.data} {self.log}"


@contextmanager
def folders(data: Path | None, *, keep: bool) -> Iterator[Folders]:
    """The folders; a temporary one is removed on an interruption, and always unless ``keep``."""
    made = Path(tempfile.mkdtemp(prefix="trainwreck-")) if data is None else data.absolute()
    finished = False
    try:
        try:
            (made / "job" / "logs").mkdir(parents=True, exist_ok=True)
            found = Folders(made)
            found.log.unlink(missing_ok=True)
            found.log.touch()  # the recorder follows it from the start
        except OSError as error:
            raise DemoError(
                f"{made}: {error.strerror}; choose another folder with --data"
            ) from error
        yield found
        finished = True
    finally:
        if data is None and not (finished and keep):
            shutil.rmtree(made, ignore_errors=True)
