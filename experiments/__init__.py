"""Runnable studies: each writes one atomic record a run, and reports are made from the records."""
