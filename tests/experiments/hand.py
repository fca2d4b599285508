"""Time that tests move by hand."""

from experiments.common.timing import Clock


class Hand:
    """A clock that jobs move themselves: ``takes(3)`` is a job of 3 ms."""

    def __init__(self):
        self.now = 0.0

    def takes(self, milliseconds):
        def run():
            self.now += milliseconds

        return run

    @property
    def clock(self):
        def measure(run):
            begin = self.now
            run()
            return self.now - begin

        return Clock("hand", measure)
