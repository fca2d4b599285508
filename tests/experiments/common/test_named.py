"""Things by name, ours and users'."""

import pytest

from experiments.common.named import named


def test_what_is_known_and_what_is_anybodys():
    assert named("network", "a", {"a": 1}) == 1
    assert named("network", "math:pi", {}) == pytest.approx(3.14159, rel=1e-5)


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("b", ValueError, "no network 'b'; there are a, and your own as module:name"),
        ("nowhere_at_all:x", ImportError, "cannot import nowhere_at_all"),
        ("math:tau_and_more", AttributeError, "math has no tau_and_more"),
    ],
)
def test_errors_say_which_part_was_not_found(name, error, words):
    with pytest.raises(error, match=words):
        named("network", name, {"a": 1})
