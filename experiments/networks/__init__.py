"""Networks that studies and benchmarks share: one a file, a function or class that returns a module.

Called by studies and benchmarks. Imports no study and nothing of geosam.
"""
