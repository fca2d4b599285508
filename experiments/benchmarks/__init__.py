"""Speed and memory as ratios within one run: ``python -m experiments benchmarks [name ...]``.

A benchmark is a file with ``ALLOCATORS`` and ``run``; ``command`` starts each in a process of its own and keeps its record.
"""
