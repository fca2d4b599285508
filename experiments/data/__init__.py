"""Data sets that studies and benchmarks share: one a file, a function that returns a ``Split``.

Called by studies. Imports no study and nothing of geosam.
"""
