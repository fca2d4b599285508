"""Verdicts on the first instances of a claim, each computed once: whoever looks at one looks at the same."""

from functools import cache

from theory import ledger

ENTRIES = {entry.id: entry for entry in ledger.entries()}


def seeds(key):
    """The first eight, or as many as there are."""
    return ledger.seeds(ENTRIES[key].claim, 8)


@cache
def verdict(key, seed, altered=False):
    entry = ENTRIES[key]
    return entry.claim.check(entry.theorem.instance(seed), altered=altered)


def verdicts(key, altered=False):
    return [verdict(key, seed, altered) for seed in seeds(key)]
