"""Run a command and say what it took: took.py WALL PROCESSOR COMMAND..., both limits in minutes, on two quiet cores.

Only a report. The exit status is the command's own, so a busy machine fails nothing.
"""

import resource
import subprocess
import sys
import time


def report(status: int, wall: float, processor: float, limits: tuple[float, float]) -> str:
    """One line about so many seconds."""
    verb = "failed after" if status else "took"
    inside = wall <= 60 * limits[0] and processor <= 60 * limits[1]
    return (
        f"== {verb} {wall:.0f} s of wall clock and {processor / 60:.1f} processor minutes: "
        f"{'inside' if inside else 'over'} the limits of {60 * limits[0]:.0f} s and {limits[1]:g} min for two quiet cores"
    )


def main(wall: str, processor: str, *command: str) -> int:
    """Run the command; its children count, as far as they were waited for."""
    began = time.monotonic()
    status = subprocess.run(command).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(report(status, time.monotonic() - began, used.ru_utime + used.ru_stime, (float(wall), float(processor))), flush=True)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
