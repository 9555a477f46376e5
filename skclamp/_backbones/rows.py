"""Hashes of rows, by which samples are told again that nobody keeps."""

import zlib
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches
from torch.utils.data import Dataset

from .._utils.arrays import to_numpy

# A chunk of so many entries stays in the cache.
_ENTRIES_AT_ONCE = 1 << 17
# What stands for every NaN, and from where on a float leaves out whole numbers.
_NAN = np.uint32(0x7FC00000)
_WHOLE_IN_A_FLOAT = np.float32(2**24)
_PRIME = np.uint64(2**32 - 5)
_RECORD: ContextVar[list | None] = ContextVar("skclamp_rows", default=None)


def row_prints(X):
    """A hash of what is in each row of an array, a list, a frame, or a dict of such, uint32; None of what has no rows.

    Rows of equal numbers have equal hashes, whatever their type. The hash is a sum of products with random numbers of
    64 bits (multilinear hashing), the upper half of which is kept: others have equal ones with a probability of 2**-32,
    and so many of its upper bits with that of their number. Zeros at the end, as of padding, leave it as it is.
    """
    entries = [X[name] for name in sorted(X, key=str)] if isinstance(X, dict) and not issparse(X) else [X]
    try:
        sums = [_sums(values, seed) for seed, values in enumerate(entries)]
        return (np.sum(sums, axis=0, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        # No fit fails for the want of a hash.
        return None


@contextmanager
def recording():
    """Yield a list that gets the hashes of each batch of a Dataset that is loaded meanwhile."""
    batches: list = []
    token = _RECORD.set(batches)
    try:
        yield batches
    finally:
        _RECORD.reset(token)


def record(batch):
    """Take on the hashes of a batch's rows, where someone records them."""
    batches = _RECORD.get()
    if batches is not None:
        batches.append(row_prints(batch))


def prints_of(X, recorded, n_samples):
    """Hashes of the rows of X, as `dataset_behind` returns it, or those recorded while it was read; None if unknown."""
    arrays = getattr(X, "tensors", None)
    if isinstance(X, Dataset) and not isinstance(arrays, dict):
        prints = np.concatenate(recorded) if recorded and all(batch is not None for batch in recorded) else None
    else:
        prints = row_prints(arrays if isinstance(X, Dataset) else X)
    return prints if prints is not None and len(prints) == n_samples else None


def _sums(values, seed):
    """Of each row the sum of products, modulo 2**64."""
    if issparse(values):
        values = values.tocsr()
    elif not hasattr(values, "detach"):
        values = to_numpy(values)
    n_columns = int(np.prod(values.shape[1:]))
    # The stream of the bit generator itself, which stays the same from one numpy to the next.
    factors = np.random.PCG64(seed).random_raw(n_columns)
    step = max(1, _ENTRIES_AT_ONCE // max(1, n_columns))
    sums = np.empty(values.shape[0], dtype=np.uint64)
    for chunk in gen_batches(len(sums), step):
        rows = values[chunk]
        rows = rows.toarray() if issparse(rows) else to_numpy(rows)
        rows = _words(rows.reshape(len(rows), -1))
        np.einsum("ij,j->i", rows, factors, out=sums[chunk])
    return sums


def _words(rows):
    """Numbers as the 32 bits of a float, of large ones with those of a double; names by a hash of each."""
    if rows.dtype.kind in "biuf":
        with np.errstate(over="ignore", invalid="ignore"):
            # The sum makes one zero of two.
            singles = np.add(rows, np.float32(0), dtype=np.float32)
            words = singles.view(np.uint32)
            words[np.isnan(singles)] = _NAN
            large = abs(singles) >= _WHOLE_IN_A_FLOAT
            if large.any():
                left = rows[large].astype(float).view(np.uint64) % _PRIME
                words[large] ^= left.astype(np.uint32)
        return words
    words = np.empty(rows.shape, dtype=np.uint32)
    for column, out in zip(rows.T, words.T, strict=True):
        names, number = np.unique(column.astype(str), return_inverse=True)
        out[:] = np.array([_word_of(name) for name in names.tolist()], dtype=np.uint32)[number]
    return words


def _word_of(name):
    """Word of an entry, by itself: of a number, whatever its neighbours are, as in `_words`."""
    try:
        return _words(np.array([float({"True": 1, "False": 0}.get(name, name))]))[0]
    except ValueError:
        return np.uint32(zlib.crc32(name.encode()))
