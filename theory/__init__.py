"""One theorem a file: the claim and its source, a derivation in SymPy, random instances, and a check that decides it.

Every file has the same shape: ``derive()`` returns the identities it proved, ``instance(seed)`` draws a case,
``check(instance, altered=False)`` gives a ``Verdict``, and ``CLAIMS`` maps a claim's id to the check that decides it.
A check is also run on a deliberately altered claim, which it must judge otherwise. Nothing here imports geosam, nor
geosam this: each stays an independent check on the other.
"""
