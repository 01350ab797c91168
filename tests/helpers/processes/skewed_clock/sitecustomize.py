"""Sets the clock of a host's Python processes ahead by the seconds of FCOS_LAB_TEST_CLOCK.

Python imports this module by its name in every process whose PYTHONPATH has this folder. Kernels shift the time since
boot for a namespace of processes, but not the time of day.
"""

import os
import time

AHEAD = float(os.environ.get("FCOS_LAB_TEST_CLOCK", "0"))
own, own_ns = time.time, time.time_ns


def shifted() -> float:
    return own() + AHEAD


def shifted_ns() -> int:
    return own_ns() + int(AHEAD * 1e9)


time.time, time.time_ns = shifted, shifted_ns
