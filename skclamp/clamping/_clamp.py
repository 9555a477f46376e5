"""The clamp: what a fit deploys, as each of its stages leaves it, and the held-out logits that the next one goes by."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .._judging.out_of_fold import Evidence
from .._judging.paired import of_groups, student_below_zero
from .._judging.verdict import Objection, Reason
from .._pooling.pool import losses_under
from .._utils.warnings import silenced
from ..base import BaseCalibrator
from ..modules._last_layer import LastLayer
from ._problem import Problem
from ._state import State

# How many samples tell whether the last fit has ended where those of the folds did, and a part of the error that is no
# loss. More may be within it: few samples that lose much make both large.
_N_ASKED = 256
_FEWEST_ERRORS = 0.5


@dataclass(frozen=True)
class Clamp:
    """What is deployed, as far as the stages of a fit have come, and what they have learned it from."""

    # All the samples, behind what those without labels taught; the same to search with, copies merged.
    samples: Problem
    searched: Problem
    # Training and held-out rows of those to search with; none where nothing is held out.
    splits: list
    state: State
    views: list
    shares: np.ndarray
    # What T and a map of logits are fitted to, samples and their logits under the clamp: out of fold where folds judged
    # it, else of all.
    judging: Problem
    logits: torch.Tensor
    taught: nn.Module | None = None
    # The last stage whose proposal was kept, and the clamp before it.
    stage: str = ""
    before: "Clamp | None" = None
    # What folds made of the candidates for a perturbation, among all classes, and which of these is the best.
    evidence: Evidence | None = None
    best: int = 0
    # Logits of those to search with under the perturbation; and, where folds judged it, what gives the logits of each
    # fold the size of these.
    in_sample: torch.Tensor | None = None
    scales: list | None = None
    temperature: float = 1.0
    # Other weights of the network's last layer, where these do best.
    last_layer: LastLayer | None = None
    # The fitted map in the temperature's place, if one is kept; and its mean NLL out of fold, or the temperature's.
    output: BaseCalibrator | None = None
    loss: float | None = None
    # The samples that such maps were tried on, and the NLL of each of their rows out of fold, under what was kept.
    tried: tuple | None = None

    @classmethod
    def identity(cls, samples, searched, splits, taught=None):
        """The clamp that leaves inputs, and features, as they are."""
        whole = samples.at_all_places()
        identity = State(nn.Identity(), [], 1.0)
        return cls(samples, searched, splits, identity, [nn.Identity()], np.ones(1), whole, whole.logits, taught)

    @property
    def origin(self):
        """The clamp before its first stage."""
        return self if self.before is None else self.before.origin

    @property
    def rows_held_out(self):
        """Which of those to search with a split holds out; all where none does."""
        if not self.splits:
            return np.arange(len(self.searched))
        return np.sort(np.concatenate([rows for _, rows in self.splits]))

    @property
    def held_out(self):
        """The network's own logits to judge by, copies merged; of folds that are given those that they hold out."""
        return self.searched.take(self.rows_held_out)

    @property
    def folds(self):
        """What each fold made of the best perturbation, as `HeldOut`."""
        return self.evidence.of(self.best) if self.evidence else []

    def held_out_loss(self, kept):
        """Mean NLL out of fold, of the best perturbation where it is `kept`, else of none; None without folds."""
        if self.evidence is None:
            return None
        losses = self.evidence.losses[self.best] if kept else self.evidence.baseline
        return float(np.average(losses, weights=self.evidence.weight))

    def losses(self, samples, logits, observed=None):
        """NLL of each of some samples, given their logits, under the map at the end; among `observed` classes."""
        rows = samples.rows(logits)
        losses = losses_under(self.output, self.temperature, rows, observed) * rows.weight.numpy()
        return losses.reshape(len(samples), -1).sum(1) / samples.weight.numpy()

    def strayed(self, baseline, generator):
        """An `Objection` where the last fit ended elsewhere than its folds, and gains nothing there; else None.

        Folds vouch for a last fit that ends where theirs did. Of a loss with several valleys it may end in another, and
        the map or the views behind it then take logits that are unlike all that they were fitted to. So some samples
        are asked: those that taught it shouldn't lose more than they did when they were held out. `baseline` is the
        clamp without it.
        """
        rows = self.judging.nonzero_weight_indices()
        rows = rows[torch.randperm(len(rows), generator=generator)[:_N_ASKED].sort().values]
        part = self.judging.take(rows)
        views = list(zip(self.views, self.shares.tolist(), strict=True)) if self.stage == "views" else ()
        deployed = part.logits_under(self.state.perturbation, views)
        # Of classes without samples nothing is learned, and their probabilities may differ from fit to fit.
        of_all, of_folds = (self.losses(part, each, part.observed) for each in (deployed, self.logits[rows]))
        lost, error, _ = student_below_zero(*of_groups(of_all - of_folds, part.weight.numpy(), part.units))
        if lost <= _FEWEST_ERRORS * error:
            return None
        gained = baseline.losses(part, part.logits) - self.losses(part, deployed)
        gains = np.average(gained, weights=part.weight) > 0
        return None if gains else Objection(Reason.STRAYED, lost, error)

    def passed_over_for(self, baseline):
        """An `Objection` where the map of the network's own logits has no higher NLL of the same samples; else None."""
        if self.loss is None or baseline.loss is None or self.loss < baseline.loss:
            return None
        return Objection(Reason.MAPS_DO_AS_WELL, self.loss - baseline.loss)


def without_doubtful(clamp, decisions, conclude, generator, *, unasked):
    """The clamp and the decisions without what all the samples have made worse than its folds were: one rule, a loop.

    `conclude` returns a clamp with its map at the end. The last stage goes first. What is `unasked` for has to lose
    less than maps of the network's own logits do.
    """
    concluded = conclude(clamp)
    if not clamp.state.identity:
        return concluded, decisions
    with silenced():
        baseline = conclude(clamp.origin)
    while clamp.state.identity:
        why = concluded.strayed(baseline, generator)
        if why is None and unasked and clamp.stage == "perturbation":
            why = concluded.passed_over_for(baseline)
        if why is None:
            break
        decisions = decisions | {clamp.stage: decisions[clamp.stage].refused(dismissed=why)}
        clamp = clamp.before
        concluded = conclude(clamp)
    return concluded, decisions
