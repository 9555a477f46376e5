"""Tensors over numpy's memory.

Imports nothing of the package.
"""

import numpy as np
import torch


class _Writable:
    """An array's memory, said to be writable."""

    def __init__(self, array):
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
        self.array = array


def tensor_over(array):
    """A tensor that shares an array's memory, which mustn't be written to where the array can't be.

    Of read-only arrays (memory maps, broadcast views) torch warns, and to silence a warning would do so in all threads.
    """
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))
