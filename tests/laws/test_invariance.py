"""Every cell of the table, by running it: the stored counterexamples, and drawn points and maps where it says yes."""

import pytest
import torch
from hypothesis import assume, settings
from hypothesis import strategies as st

from geosam.testing.check import examine
from geosam.testing.strategies.vectors import ticks
from tests.laws.invariance import IMAGE, MAPS, NO, TABLE, YES, conditions, gap, relu_net

EXACT = 1e-6
IN_THE_LIMIT = 1e-4  # where F is singular its stand-in is damped by 1e-9
FAR = 3e-4


def verdict(found):
    """What a gap says about a cell; None where it is neither rounding nor clearly there."""
    if found.tangent <= EXACT:
        return YES
    return None if found.tangent < FAR else IMAGE if found.image <= IN_THE_LIMIT else NO if found.image >= FAR else None


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_table(capsys):
    shown = {
        row.name: tuple(verdict(gap(row.on(kind), kind, numbers(kind.phi), numbers(kind.numbers))) for kind in MAPS)
        for row in TABLE
    }
    with capsys.disabled():
        print("\n" + "".join(f"{kind.name:>12}" for kind in MAPS))
        for name, cells in shown.items():
            print("".join(f"{cell!s:>12}" for cell in cells), f"  {name}")
    assert shown == {row.name: row.cells for row in TABLE}


POSITIVE = [(row, kind, cell) for row in TABLE for kind, cell in zip(MAPS, row.cells, strict=True) if cell != NO]


@pytest.mark.parametrize("row, kind, cell", POSITIVE, ids=lambda value: getattr(value, "name", value))
def test_it_transforms_at_every_point_and_under_every_map_of_the_kind(row, kind, cell):
    def trial(drawn):
        shift, chosen = drawn
        phi = numbers(kind.phi) + 0.2 * torch.from_numpy(shift)
        regular, least = conditions(kind, phi, torch.from_numpy(chosen))
        assume(least > 1e-4 and (regular > 1e-4 or kind.net is relu_net))
        found = gap(row.on(kind), kind, phi, torch.from_numpy(chosen))
        assert found.tangent <= EXACT if cell == YES else found.image <= IN_THE_LIMIT, found

    examine(st.tuples(ticks(len(kind.phi)), ticks(kind.count)), trial, max(2, round(row.share * settings().max_examples)))


def test_every_stored_point_is_regular_but_for_the_symmetry_of_relu_nets():
    for kind in MAPS:
        regular, least = conditions(kind, numbers(kind.phi), numbers(kind.numbers))
        assert least > 1e-4
        assert (regular < 1e-12) if kind.net is relu_net else (regular > 5e-5)
