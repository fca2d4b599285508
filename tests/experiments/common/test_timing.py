"""A race reads the clock that it is given."""

import time

from experiments.common.timing import Job, Target, race
from tests.experiments.hand import Hand


def test_a_race_reads_the_clock_that_it_is_given():
    hand = Hand()
    jobs = [Job("double", hand.takes(4.0))]
    raced = race(Job("floor", hand.takes(2.0)), jobs, 3, [Target("double", 1.5)], clock=hand.clock)
    assert raced["jobs"]["double"]["hand_ms"] == 4.0
    assert raced["jobs"]["double"]["ratio"] == raced["targets"][0]["value"] == 2.0
    assert not raced["targets"][0]["met"]
    assert (raced["rounds"], raced["aa_difference"], raced["void"]) == (3, 0.0, False)


def test_a_race_whose_time_is_up_still_has_one_round():
    hand = Hand()
    raced = race(Job("floor", hand.takes(1.0)), [], 9, clock=hand.clock, until=time.monotonic() - 1)
    assert raced["rounds"] == 1
