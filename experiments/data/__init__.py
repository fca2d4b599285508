"""Data sets that studies and benchmarks share: one a file, a function that returns a ``Split``.

Called by studies. Imports no study, and of geosam only the batches of an ablation.
"""
