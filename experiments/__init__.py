"""Runnable studies and benchmarks: a folder each. Every run leaves one record, and reports are made from the records.

``data`` and ``networks`` are shared; ``common`` holds what carries a study out. CONTRIBUTING.md shows how to add one of each.
"""

__short_names__ = True  # records name what is in here by folder and own name, and the commit says the rest
