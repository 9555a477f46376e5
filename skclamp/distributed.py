"""sharded: one fit by several processes, each of which holds a part of the calibration data.

Every process runs the same fit on its own samples; what depends on the samples of all goes through the few methods of
`Ranks`, over torch.distributed. Where an error ends the fit in one process, it ends it in all.
"""

import pickle
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.distributed as dist

from .exceptions import RankLostError

__all__ = ["sharded"]


class Alone:
    """One process with all the samples: there is nobody to talk to."""

    rank = 0
    size = 1

    def sum(self, values):
        """The sum of a tensor over all processes."""
        return values

    def all_gather_object(self, value):
        """Gather an object of each process, in the order of the ranks."""
        return [value]

    # For the length of a fit: no fit within it talks to others, and its error is everyone's.
    fitting = nullcontext


ALONE = Alone()


class Ranks:
    """The processes of a fit.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup or None
        None is torch's default group.

    Attributes
    ----------
    rank, size : int
        Which process this is, and of how many.
    n_collectives, n_bytes : int
        How often the processes exchanged tensors, and the bytes that this one contributed.
    """

    def __init__(self, group):
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.n_collectives = self.n_bytes = 0
        self._device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
        self._agreed = None

    def sum(self, values):
        """The sum of a tensor over all processes, bit by bit the same in each."""
        self._meet()
        return self._all_reduce(values)

    def all_gather_object(self, value):
        """Gather an object of each process, in the order of the ranks."""
        self._meet()
        return self._exchange(value)

    def check_alike(self, shown=None, **values):
        """Raise on all ranks where one differs from the first.

        Parameters
        ----------
        shown : dict or None, default=None
            What the message shows in place of a value, by name.
        **values
            What to compare, by its name in the message; an underscore stands for a space.
        """
        (first, first_shown), *others = self.all_gather_object((values, {**values, **(shown or {})}))
        for rank, (other, other_shown) in enumerate(others, start=1):
            for name in first:
                if first[name] != other.get(name):
                    raise ValueError(
                        f"{name.replace('_', ' ')} must be the same on all ranks; got {first_shown[name]} on rank 0 "
                        f"and {other_shown.get(name)} on rank {rank}"
                    )

    @contextmanager
    def fitting(self):
        """For the length of a fit: no fit within it talks to others, and its error is everyone's."""
        token = _current.set(ALONE)
        try:
            yield
            self._meet()
        except BaseException as error:
            if error is not self._agreed and not isinstance(error, RankLostError):
                self._meet(error)
            raise
        finally:
            self._agreed = None
            _current.reset(token)

    def _meet(self, error=None):
        """Before each exchange: whether all got here. Where one didn't, all raise its error."""
        if not self._all_reduce(torch.tensor([float(error is not None)])).item():
            return
        reports = self._exchange(None if error is None else _report(error))
        rank = next(rank for rank, report in enumerate(reports) if report is not None)
        kind, message = reports[rank]
        self._agreed = kind(f"{message} (on rank {rank})")
        raise self._agreed from error

    def _all_reduce(self, values):
        total = values.detach().to(self._device, copy=True).contiguous()
        with self._losing():
            dist.all_reduce(total, group=self.group)
        self.n_collectives += 1
        self.n_bytes += total.numel() * total.element_size()
        return total.to(values.device)

    def _exchange(self, value):
        values = [None] * self.size
        with self._losing():
            dist.all_gather_object(values, value, group=self.group)
        return values

    @contextmanager
    def _losing(self):
        try:
            yield
        except RuntimeError as error:
            raise RankLostError(
                f"rank {self.rank} of {self.size} can't reach the others: one of them has died, or torch.distributed "
                f"gave up waiting ({error})"
            ) from error


def _report(error):
    """An error as its type and its message; the type as RuntimeError where others can't know it."""
    kind = type(error)
    # A user's exception may do whatever it likes.
    try:
        pickle.dumps(kind)
        kind("")
    except Exception:  # noqa: BLE001
        return RuntimeError, f"{kind.__name__}: {error}"
    return kind, str(error)


_current: ContextVar[Alone | Ranks] = ContextVar("skclamp_ranks", default=ALONE)
# The processes that a fit which begins now is shared by.
current = _current.get


@contextmanager
def sharded(group=None):
    """Fits within this context take X, y and sample_weight for this process's part of the calibration data.

    Every process of the group calls the same ``fit`` with its own samples, for instance under ``torchrun``. All end
    with the same perturbation, temperature and verdict: those of one process on all the samples, rank after rank, but
    for rounding. Calibrators gather the logits of all samples. Neural clamping those of each pass and, for steps along
    natural gradients, each sample's gradients with respect to the perturbation, but never inputs. Predictions are each
    process's own affair.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, default=None
        The processes. None is torch's default group.

    Yields
    ------
    Ranks
        With ``rank`` and ``size``, and with ``n_collectives`` and ``n_bytes``, which count what this process sent.

    Raises
    ------
    RuntimeError
        If torch.distributed isn't initialised; within, if a process dies (`RankLostError`).
    ValueError
        Within, where the processes' networks, classes, inputs or parameters differ. An error in one process is raised
        in all, which can go on from there.

    Examples
    --------
    One process can be a group as well; ``torchrun --nproc-per-node 4 script.py`` starts four.

    >>> import os, tempfile
    >>> import torch
    >>> import torch.distributed as dist
    >>> from skclamp import TemperatureScaling
    >>> from skclamp.distributed import sharded
    >>> store = "file://" + os.path.join(tempfile.mkdtemp(), "store")
    >>> dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Linear(2, 3)
    >>> X = 5 * torch.randn(5000, 2)
    >>> y = torch.multinomial((network(X) / 2).softmax(1), 1)[:, 0]
    >>> shard = slice(dist.get_rank(), None, dist.get_world_size())
    >>> with sharded():
    ...     calibrator = TemperatureScaling(network).fit(X[shard], y[shard])
    >>> dist.destroy_process_group()
    >>> round(calibrator.temperature_)
    2
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("sharded needs torch.distributed: call torch.distributed.init_process_group first")
    ranks = Ranks(group)
    token = _current.set(ranks)
    try:
        yield ranks
    finally:
        _current.reset(token)


@dataclass(frozen=True)
class Shard:
    """Which of some samples this process holds: `size` of `total`, from the position `start` on.

    Attributes
    ----------
    ranks : Alone or Ranks
        The processes.
    start, size, total : int
        Positions in the order of the ranks.
    """

    ranks: Alone | Ranks
    start: int
    size: int
    total: int

    @property
    def own(self):
        """Positions of this process's samples among all."""
        return slice(self.start, self.start + self.size)

    @classmethod
    def of(cls, ranks, size):
        """Of samples that each rank has some of."""
        sizes = ranks.all_gather_object(size)
        return cls(ranks, sum(sizes[: ranks.rank]), size, sum(sizes))

    def take(self, rows):
        """The shard of some samples, and where those of this process are in its own part.

        The rows are positions among all, in ascending order unless one process has them all.
        """
        if self.ranks is ALONE:
            return Shard(ALONE, 0, len(rows), len(rows)), rows
        low, high = torch.searchsorted(rows, torch.tensor([self.start, self.start + self.size])).tolist()
        return Shard(self.ranks, low, high - low, len(rows)), rows[low:high] - self.start

    def all_gather(self, values):
        """The values of all samples, from those of this process's."""
        if self.ranks is ALONE:
            return values
        out = values.new_zeros(self.total, *values.shape[1:])
        out[self.own] = values
        return self.ranks.sum(out)
