"""Times that neighbours on the machine disturb little: the best of many calls, or multiples of one plain pass.

A multiple of a plain pass is what a user of the network feels, whatever the machine. Wall time is what counts;
processor time hardly depends on what else the machine does, and with one thread is the wall time of an idle machine.
"""

import math
import time
from typing import NamedTuple

from _networks import compute_logits

BATCH_SIZE = 100


class Spent(NamedTuple):
    """Seconds by the clock and of the processor, or multiples of another time."""

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


def least(*times):
    """The least wall time and the least processor time of several."""
    return Spent(*map(min, zip(*times, strict=True)))


def at_once(inputs):
    """How many inputs a plain forward pass takes at a time: of large ones few, which a CPU is quicker with."""
    return BATCH_SIZE if inputs[0].numel() < 2**16 else 16


def plain_pass(network, inputs):
    """Time of one plain forward pass of a network as it is."""
    return measure(lambda: compute_logits(network, inputs, at_once(inputs)))[1]


def measure_relative(function, network, inputs):
    """What a function returns, and its time over that of a plain forward pass, the best of one before and one after."""
    before = plain_pass(network, inputs)
    result, spent = measure(function)
    return result, spent.over(least(before, plain_pass(network, inputs)))


def best_time(function, *, budget=2.0, most=300):
    """Least wall time of a function in seconds, of as many calls as the budget has room for.

    A first call, to warm up, that takes longer than the budget counts itself, and is the only one.
    """
    best = measure(function)[1].wall
    if best > budget:
        return best
    best, stop = math.inf, time.perf_counter() + budget
    for _ in range(most):
        best = min(best, measure(function)[1].wall)
        if time.perf_counter() > stop:
            break
    return best
