"""Numbers against a limit: above, below, and what so few runs do not show."""

import pytest

from experiments.claims.number import above, below, by_method, looks, only, rule_of
from geosam.ablation import Rule
from tests.experiments.planted import outcomes


@pytest.mark.parametrize(
    "values, verdict", [((3.0, 3.1, 2.9), "holds"), ((0.9, 1.1, 1.0), "not decided"), ((0.1, 0.2), "fails")]
)
def test_an_interval_on_one_side_decides(values, verdict):
    (found,) = above({"it": values}, 1.0, Rule()).values()
    (contrary,) = below({"it": values}, 1.0, Rule()).values()
    other = {"holds": "fails", "fails": "holds", "not decided": "not decided"}
    assert (found.outcome, contrary.outcome) == (verdict, other[verdict])


def test_one_run_decides_nothing_and_many_names_are_corrected_for():
    assert above({"it": (5.0,)}, 1.0, Rule())["it"].outcome == "not decided"
    values = (1.4, 1.2, 1.3, 1.1, 1.05)
    assert above({"it": values}, 1.0, Rule())["it"].outcome == "holds"
    many = {str(i): values for i in range(50)}
    assert {verdict.outcome for verdict in above(many, 1.0, Rule()).values()} == {"not decided"}


def test_what_was_looked_at_is_taken_by_method_over_seeds():
    found = {"clean": outcomes({"a": ({}, [{}, {"kl": 2.0}]), "b": ({}, [{}])}, seeds=2, look={"limit": 3})}
    numbers = by_method(found, lambda result: max(looks(result, "kl"), default=None))
    assert numbers == {"a": [2.0, pytest.approx(2.008)]} and only(numbers, ["b"]) == {"b": ()}
    assert rule_of(found, "look") == {"limit": 3} and rule_of({}, "look") == {}
    both = {"x": found["clean"], "y": outcomes({"a": ({}, [{"kl": 1.0}])}, look={"limit": 4})}
    assert set(by_method(both, lambda result: 1.0)) == {"x: a", "x: b", "y: a"}
    with pytest.raises(ValueError, match="2 rules"):
        rule_of(both, "look")
