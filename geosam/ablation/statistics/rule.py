"""How it will be decided: fixed before the run, and kept in every record."""

from __future__ import annotations

from dataclasses import dataclass


def check_direction(name: str, score: str, larger: bool) -> None:
    """Raises: ValueError where a larger loss would be the better one."""
    if score == "loss" and larger:
        raise ValueError(f"a smaller loss is better: {name}(score='loss', larger=False)")


@dataclass(frozen=True)
class Rule:
    """A method is compared with the method ``against`` by paired differences of ``score`` on the test data.

    against: None takes the first method that has a metric, else the first. larger: whether a larger score is better. level:
    of wrong decisions, all methods together (Holm). power: with which what is "detectable" would be detected. margin: where
    given, it is decided whether a method is within ± margin of the reference, instead of whether it is better. bootstrap: from
    so many seeds on intervals are BCa bootstrap intervals, below paired t. resamples: of the bootstrap.
    """

    score: str = "accuracy"
    against: str | None = None
    larger: bool = True
    level: float = 0.05
    power: float = 0.8
    margin: float | None = None
    bootstrap: int = 20
    resamples: int = 9_999

    def __post_init__(self) -> None:
        if not 0 < self.level < 0.5 or not 0.5 <= self.power < 1:
            raise ValueError(f"level lies in (0, 0.5) and power in [0.5, 1); got {self.level} and {self.power}")
        check_direction("Rule", self.score, self.larger)
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin must be positive, got {self.margin}")
