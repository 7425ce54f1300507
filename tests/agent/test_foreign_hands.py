"""Another user of the host tries to lead what root writes, or reads, somewhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainwreck_agent import log_file
from trainwreck_agent.followed_log import FollowedLogs
from trainwreck_agent.layout import DataDirectoryError, Layout

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root is worth attacking")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of another user."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_data_directory_of_another_user_is_refused(theirs: Path) -> None:
    """Its owner may put a link in the place of any file or folder of it at any time."""
    with pytest.raises(DataDirectoryError, match=f"belongs to user {NOBODY}"):
        Layout(theirs).create()
    assert list(theirs.iterdir()) == []


def test_a_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "sudoers.d"
    elsewhere.mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "state").symlink_to(elsewhere)
    with pytest.raises(DataDirectoryError, match="a link"):
        Layout(data).create()
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_was_there_before_is_refused(tmp_path: Path) -> None:
    """Of a directory that everybody could write to when it was made."""
    folder = tmp_path / "data" / "journal"
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(DataDirectoryError, match=f"journal: belongs to user {NOBODY}"):
        Layout(tmp_path / "data").create()


def test_a_directory_that_everybody_may_write_to_is_closed(tmp_path: Path) -> None:
    """Such is a volume that Kubernetes makes."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    Layout(data).create()
    assert stat.S_IMODE(data.stat().st_mode) == 0o775


def test_what_is_put_in_place_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / f".meta.json.{os.getpid()}").symlink_to(precious)
    Layout.replace(tmp_path / "meta.json", "new")
    assert precious.read_text() == "precious"
    assert (tmp_path / "meta.json").read_text() == "new"


def test_a_device_in_the_place_of_a_log_is_not_even_opened(tmp_path: Path) -> None:
    """A job of another user swaps its log for a link: to open /dev/watchdog restarts a machine."""
    link = tmp_path / "train.log"
    link.symlink_to("/dev/null")
    with pytest.MonkeyPatch.context() as patch:
        flags: list[int] = []
        real = os.open

        def note(path: str, how: int, mode: int = 0o777) -> int:
            flags.append(how)
            return real(path, how, mode)

        patch.setattr(os, "open", note)
        assert log_file.opened(str(link)) == -1
    assert flags == [os.O_PATH | os.O_CLOEXEC]
    link.unlink()
    link.write_text("step 1")
    fd = log_file.opened(str(link))
    assert os.read(fd, 100) == b"step 1"
    os.close(fd)


def test_a_link_in_a_folder_of_logs_leads_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("error: password is hunter2\n")
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    (logs / "train.log").symlink_to(secret)
    (logs / "deep" / "more").symlink_to(tmp_path)
    os.mkfifo(logs / "pipe.log")
    assert list(FollowedLogs([str(logs)]).poll()) == []
