"""A study that is killed thrice gives the records of one left alone; two commands share a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from geosam.records import Claimed, claim
from tests.stories.killed import compared

HOLD = """
import sys, time
from pathlib import Path
from geosam.records import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_kills_leave_no_trace():
    assert compared(3, 0.5, 1)[0] == 3


def test_a_claim_ends_with_its_owner(tmp_path):
    path = tmp_path / "claim"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(Claimed, match="another process holds"), claim(path):
            pass
        owner.kill()
    with claim(path):
        pass
    assert not path.exists()
