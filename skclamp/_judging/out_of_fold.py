"""Candidates judged out of fold, beside a baseline: losses go in, and a decision comes out, in numbers and enums."""

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import bisect
from scipy.special import logsumexp

from .paired import n_effective, numbered, of_groups, student_below_zero
from .verdict import Decision, Objection, Reason, Verdict

# A candidate that does nothing passes this rarely.
LEVEL = 0.02
# Of fewer independent samples not even differences that all have one sign prove anything: 8 have p = .004 by a sign
# test, and two tests of two candidates may share the level.
MIN_UNITS = 8
# With fewer samples views, maps and class frequencies, of which many compete, can't be told from chance.
MIN_SAMPLES = 100
_N_DRAWS = 1000


class HeldOut(NamedTuple):
    """A candidate as a fold learned it, and its losses on the samples that the fold held out."""

    # NLL of each, at the exact temperature of the training samples.
    losses: np.ndarray
    temperature: float
    # Of this process's held-out samples.
    logits: Any = None
    # The state of a perturbation, or the logits of each view.
    learned: Any = None
    # Of the training samples: how many there were, and their mean NLL at the same temperature.
    n_train: int = 0
    train_loss: float = np.nan
    # "affine + grid" where it is made of several.
    name: str = ""
    # Whether it is anything else than the baseline.
    moved: bool = False
    # What `Verdict.folds` tells of it, beside the losses.
    told: dict = {}
    # What wasn't tried, by name.
    untried: dict[str, Objection] = {}


@dataclass
class Evidence:
    """Out-of-fold losses of some candidates, and of the baseline that they have to beat.

    No sample is held out twice. What a candidate chooses and fits it learns from samples that don't judge it.
    """

    # NLL of the baseline, anything finite where a sample was never held out; and of the candidates, a row for each.
    baseline: np.ndarray
    losses: np.ndarray
    # Sample weights, 0 where a sample was never held out.
    weight: np.ndarray
    # Held-out rows of each fold.
    folds: list
    # Mean NLL of the baseline's logits on each fold at the fold's own temperature: their best there.
    least: list
    # What each fold made of each candidate, a list of `HeldOut` for each fold.
    held_out: list
    # Labels of samples that depend on each other, which count as one; None where none do.
    groups: np.ndarray | None = None

    @classmethod
    def from_folds(cls, problem, splits, judged):
        """From the `HeldOut` of the baseline and a list of those of candidates, for each split of a problem.

        The splits are training and held-out rows in order, none of these twice.
        """
        baseline, weight = np.zeros((2, len(problem)))
        losses = np.zeros((len(judged[0][1]), len(problem)))
        folds = [rows for _, rows in splits]
        least = []
        for rows, (of_baseline, candidates) in zip(folds, judged, strict=True):
            baseline[rows] = of_baseline.losses
            weight[rows] = problem.weight.numpy()[rows]
            losses[:, rows] = [candidate.losses for candidate in candidates]
            least.append(problem.take(rows).solve(of_baseline.logits).loss)
        held_out = [candidates for _, candidates in judged]
        return cls(baseline, losses, weight, folds, least, held_out, problem.units)

    def by_fold(self, values):
        """Means, on each fold, of values of samples (last axis)."""
        means = [np.average(values[..., rows], axis=-1, weights=self.weight[rows]) for rows in self.folds]
        return np.stack(means, axis=-1)

    def of(self, candidate):
        """Return what each fold made of a candidate."""
        return [fold[candidate] for fold in self.held_out]

    def best(self):
        """Index of the candidate of least mean held-out NLL, the mean being over folds."""
        return int(self.by_fold(self.losses).mean(1).argmin())

    def expected(self, candidate):
        """Estimate of the mean NLL of a candidate once it is learned from all the samples.

        To first order p parameters that minimise the loss of m samples have p / 2m nats more than at their optimum on
        other samples, and as much less on their own. So a gap between both closes by (1 - m / n) / 2 with all n.
        """
        n_train, train_losses = np.transpose([(fold.n_train, fold.train_loss) for fold in self.of(candidate)])
        held_out = self.by_fold(self.losses[candidate])
        closed = (1 - n_train / len(self.baseline)) / 2
        return float((held_out - closed * (held_out - train_losses)).mean())

    def sizes(self):
        """Return how many samples, or groups, of equal weight would tell as much as each fold's."""
        groups = numbered(self.groups, len(self.weight))
        return [n_effective(np.bincount(groups[rows], self.weight[rows])) for rows in self.folds]

    def log_likelihood_ratio(self, candidate):
        """Logarithm of the folds' mean likelihood ratio, of a candidate to the baseline at whatever temperature.

        Universal inference (Wasserman et al., PNAS 2020, equation 7): the expected likelihood ratio of what was fitted
        elsewhere to the truth is 1, and to the best T of the held-out samples it is less; so is that of the mean over
        folds. Its inverse is a p value. Student's test alone would let pass what is held back by the prior to almost
        nothing, and by chance points the same way in the other fold. Uneven weights count as the number of equal ones
        that tell as much, which is an approximation.
        """
        gains = (self.least - self.by_fold(self.losses[candidate])) * self.sizes()
        return float(logsumexp(gains) - np.log(len(gains)))

    def names(self, candidate):
        """Rows of the folds by what these made of a candidate, but for what stayed the baseline in all."""
        rows: dict[str, list] = {}
        made = self.of(candidate)
        for fold, seen in zip(self.folds, made, strict=True):
            rows.setdefault(seen.name, []).append(fold)
        moved = {seen.name for seen in made if seen.moved}
        return {name: np.concatenate(parts) for name, parts in rows.items() if name in moved}

    def tried(self):
        """Mean held-out NLL minus the baseline's of all that folds fitted, by name, at its best."""
        best: dict[str, float] = {}
        for candidate, losses in enumerate(self.losses):
            for name, rows in self.names(candidate).items():
                difference = float(np.average((losses - self.baseline)[rows], weights=self.weight[rows]))
                best[name] = min(difference, best.get(name, np.inf))
        return best

    def untried(self, tried):
        """Why the others weren't tried, by name, each in the first fold that left it out."""
        fitted = {family for name in tried for family in name.split(" + ")}
        left_out: dict[str, Objection] = {}
        for held_out in chain.from_iterable(self.held_out):
            left_out = held_out.untried | left_out
        return {name: why for name, why in left_out.items() if name not in fitted}


def may_lose(n_folds):
    """How many folds may lose by chance: one in three, so that of two each must gain."""
    return n_folds // 3


def decide(evidence, candidate, level=LEVEL):
    """Return the `Decision` whether a candidate, the best of all, beats the baseline."""
    n_tests = len(evidence.losses)
    baseline = evidence.by_fold(evidence.baseline)
    losses = evidence.by_fold(evidence.losses[candidate])
    differences = evidence.losses[candidate] - evidence.baseline
    n_gains = int((evidence.by_fold(differences) < 0).sum())
    # A group counts as one sample.
    mean, error, student = student_below_zero(*of_groups(differences, evidence.weight, evidence.groups))
    student = student * n_tests
    log_ratio = evidence.log_likelihood_ratio(candidate)
    universal = float(np.exp(min(0.0, -log_ratio))) * n_tests
    n_folds = len(evidence.folds)
    n_samples = int(np.count_nonzero(evidence.weight))
    objections = []
    dismissed = None
    if n_gains < (least := n_folds - may_lose(n_folds)):
        objections.append(Objection(Reason.LOST_FOLDS, n_gains, least, n_folds))
    if not student < level:
        objections.append(Objection(Reason.CHANCE, min(1.0, student), level))
    if not universal < level:
        objections.append(Objection(Reason.ANY_TEMPERATURE, log_ratio, float(np.log(n_tests / level))))
    detectable = detectable_gain(error, evidence.sizes(), np.subtract(baseline, evidence.least), level / n_tests)
    if n_samples < MIN_UNITS:
        dismissed = Objection(Reason.FEW_FOR_THE_GUARD, n_samples, MIN_UNITS)
        detectable = None
    folds = [
        {
            "n_samples": int(np.count_nonzero(evidence.weight[rows])),
            **fold.told,
            "nll": float(loss),
            "nll_temperature_scaling": float(baseline_loss),
        }
        for rows, fold, loss, baseline_loss in zip(
            evidence.folds, evidence.of(candidate), losses, baseline, strict=True
        )
    ]
    tried = evidence.tried()
    verdict = Verdict(
        not (objections or dismissed),
        mean,
        error,
        min(1.0, max(student, universal)),
        tried=tried,
        n_samples=n_samples,
        detectable_gain=detectable,
        folds=folds,
    )
    return Decision(
        verdict,
        objections,
        dismissed,
        evidence.untried(tried),
        list(evidence.names(candidate)),
        len(evidence.losses),
        n_gains,
        candidate=candidate,
    )


def keep_by_score(evidence, candidate, p_value, refused):
    """The decision where the score test of `p_value` keeps a candidate, whose held-out NLL is lower in all.

    `refused` is the decision that folds came to before; what they tried and what not is told as well.
    """
    judged = decide(evidence, candidate)
    fitted = judged.verdict.tried
    verdict = replace(judged.verdict, accepted=True, p_value=p_value, tried=refused.verdict.tried | fitted)
    untried = {name: why for name, why in refused.untried.items() if name not in fitted}
    return judged._replace(verdict=verdict, objections=[], untried=untried, by_score=True)


def detectable_gain(standard_error, n_effective, head_starts, level):
    """Mean gain that passes the guard, each test at `level`, on half of such sets of samples.

    `n_effective` are the numbers of samples of the folds, and `head_starts` by how much the baseline's mean NLL is
    lower on each at the fold's own best temperature. None where the differences don't vary.
    """
    if not 0 < standard_error < np.inf:
        return None
    n = np.asarray(n_effective)
    head_starts = np.asarray(head_starts)
    shares = n / n.sum()
    noise = np.random.default_rng(0).standard_normal((_N_DRAWS, len(n))) * standard_error / np.sqrt(shares)
    needed = np.log(len(n) / level)
    student = -stats.t.ppf(level, n.sum() - 1) * standard_error

    def majority(gain):
        by_fold = gain + noise
        universal = np.logaddexp.reduce(n * (by_fold - head_starts), axis=1)
        gained = (by_fold <= 0).sum(1) <= may_lose(len(n))
        return (gained & (by_fold @ shares > student) & (universal > needed)).mean() - 0.5

    high = standard_error
    while majority(high) < 0:
        high *= 2
    return float(bisect(majority, 0.0, high, xtol=1e-3 * standard_error))
