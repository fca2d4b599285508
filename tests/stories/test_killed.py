"""A study that is killed thrice gives the records of one left alone; two commands share a folder."""

import os
import signal
import time
from pathlib import Path

import pytest

from geosam.records import Claimed, claim
from tests.stories.killed import compared, forked


def test_kills_leave_no_trace():
    assert compared(3, 0.5, 1)[0] == 3


def hold(path: Path, held: int) -> None:
    with claim(path):
        os.write(held, b"1")
        time.sleep(60)


def test_a_claim_ends_with_its_owner(tmp_path):
    path, (told, held) = tmp_path / "claim", os.pipe()
    owner = forked(hold, path, held)
    os.close(held)  # so that reading ends where it dies at once
    assert os.read(told, 1) == b"1"
    with pytest.raises(Claimed, match="another process holds"), claim(path):
        pass
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    with claim(path):
        pass
    assert not path.exists()
    os.close(told)
