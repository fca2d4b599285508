"""What carries a study out: jobs and their records, reports and their look, the command line, timing.

Studies and benchmarks import from here. Nothing here imports a study, and ``cli``, ``files`` and ``study`` import neither
torch nor matplotlib, so that ``--help`` is quick.
"""
