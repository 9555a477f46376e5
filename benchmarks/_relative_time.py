"""Time as a multiple of one plain pass: what a user of the network feels, whatever the machine.

Wall time is what counts. Processor time, beside it, hardly depends on what else the machine does, and with one thread
is the wall time of an idle machine.
"""

import time
from typing import NamedTuple

from _networks import compute_logits

BATCH_SIZE = 100


class Spent(NamedTuple):
    """Seconds by the clock and of the processor."""

    wall: float
    cpu: float

    def over(self, other):
        """Multiples of another time."""
        return Spent(self.wall / other.wall, self.cpu / other.cpu)


def measure(function):
    """What a function returns, and the time it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def plain_pass(network, inputs):
    """Time of one plain forward pass of a network as it is."""
    return measure(lambda: compute_logits(network, inputs, BATCH_SIZE))[1]


def least(*times):
    """The least wall time and the least processor time of several."""
    return Spent(*map(min, zip(*times, strict=True)))


def measure_relative(function, network, inputs):
    """What a function returns, and its time over that of a plain forward pass, the best of one before and one after."""
    before = plain_pass(network, inputs)
    result, spent = measure(function)
    after = plain_pass(network, inputs)
    return result, spent.over(least(before, after))
