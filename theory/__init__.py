"""One theorem a file: the claim and its source, a derivation in SymPy, random instances, and a check that decides it.

Every file has the same shape: ``derive()`` returns the identities it proved, ``instance(seed)`` draws a case,
``check(instance, altered=False)`` gives a ``Verdict``, ``draw(axes)`` makes a figure, and ``CLAIMS`` maps a claim's id to
the check that decides it. Each check is also run on a claim that was altered on purpose, and must give another outcome.
Nothing here imports geosam, and geosam imports nothing from here: each is an independent check of the other.
"""
