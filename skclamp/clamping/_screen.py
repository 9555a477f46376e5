"""The screen before a search, and the score test after it: what gradients at the identity say of all families at once.

One pass, forward and backward, tells each sample's gradients with respect to the parameters of every family. The screen
can only refuse. The score test may keep what folds can't prove, and needs the same under labels that the network drew.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from .._judging.out_of_fold import MIN_SAMPLES
from .._judging.score import Score
from .._judging.screen import LEVEL, Screen, flips, forecast
from .._utils.arrays import drawn_rows
from ..perturbations._families import n_learnable
from ..perturbations._words import title_of
from ._evidence_step import MAX_ENTRIES, Gradients, gradients_of, products_of
from ._learner import MAX_PARAMETERS, competing_families, make_perturbation
from ._problem import Problem

# Of more samples, where parameters aren't fewer, so many are drawn; and entries of a matrix in float64.
_MOST_SAMPLES, _MOST_ENTRIES = 4000, 2**25
# Of few samples that are independent, labels are drawn so often.
_N_DRAWS = 20


class AtIdentity(NamedTuple):
    """Gradients of the NLL of samples at the identity, of several families, from one pass."""

    samples: Problem
    temperature: float
    # By name, families and the gradients of each; "norm" is that of the features.
    families: dict[str, nn.Module]
    gradients: dict[str, Gradients]

    @classmethod
    def of(cls, samples, families, temperature):
        """From a pass over some samples."""
        of_features = families.get("norm", nn.Sequential())
        of_inputs = {name: family for name, family in families.items() if family is not of_features}
        told = gradients_of(samples, of_features, temperature, extensions=of_inputs.values())
        by_name = dict(zip([*of_inputs, "norm"], [*told.added, told.own], strict=True))
        return cls(samples, temperature, families, {name: by_name[name] for name in families})


def look_at_identity(problem, candidates, splits):
    """Gradients at the identity of the samples to screen, all or some drawn; and why families have none.

    None in the place of gradients where there is no family.
    """
    settings = candidates[0]
    untried = {}
    if settings.perturbation == "auto":
        families, untried = competing_families(problem, settings.penalty, min(len(train) for train, _ in splits))
    else:
        families = {title_of(settings.perturbation): make_perturbation(settings.perturbation, problem).eval()}
    if problem.norm_layers and any(each.features for each in candidates):
        families["norm"] = make_perturbation("norm", problem)
    n_columns = sum(map(n_learnable, families.values()))
    # Of features there may be none to clamp.
    if not n_columns:
        return None, untried
    most = min(MAX_ENTRIES // n_columns, max(_MOST_SAMPLES, _MOST_ENTRIES // n_columns))
    temperature = problem.solve(prior=True).temperature
    rows = drawn_rows(len(problem), most).sort().values
    if len(rows) < len(problem):
        problem = problem.take(rows)
    return AtIdentity.of(problem, families, temperature), untried


def screen_of(at_identity, level):
    """Return the `Screen` of some samples before a search; folds have to prove at `level` what it finds."""
    own = at_identity.gradients
    units = at_identity.samples.units
    tests = [flips(*products_of(part), LEVEL / len(own), level, units) for part in own.values()]
    squares, gains = zip(*tests, strict=True)
    found = Screen.of(squares, gains, sum(map(n_learnable, at_identity.families.values())))
    if found.may_be_chance:
        return found
    return found._replace(forecasts={name: forecast(*products_of(part), units) for name, part in own.items()})


def scores_of(at_identity):
    """The tests of the gradients of families of inputs, at the identity, that take part: by name."""
    problem = at_identity.samples
    temperature = at_identity.temperature
    families = at_identity.families
    few = [name for name, family in families.items() if name != "norm" and n_learnable(family) <= MAX_PARAMETERS]
    if not few:
        return {}
    weight, units = problem.weight.numpy(), problem.units
    if problem.y_encoded.ndim == 1 and units is None and len(problem) < MIN_SAMPLES:
        problem = problem.take([*range(len(problem))] * _N_DRAWS)
    # Labels drawn, with a fixed seed, from the probabilities at the identity.
    scaled, y_encoded = problem.logits.double() / temperature, problem.y_encoded
    uniform = torch.rand(y_encoded.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uniform = uniform.to(scaled.device)
    if scaled.ndim == y_encoded.ndim:
        labels = (uniform < scaled.sigmoid()).long()
    else:
        cumulative = scaled.softmax(1).cumsum(1)
        labels = (cumulative <= uniform.unsqueeze(1) * cumulative[:, -1:]).sum(1).clamp_max(scaled.shape[1] - 1)
    drawn = replace(problem, y_encoded=torch.where(y_encoded < 0, y_encoded, labels))
    of_drawn = AtIdentity.of(drawn, {name: families[name] for name in few}, temperature)
    scores: dict[str, Score] = {}
    for name in few:
        own, other = (
            ((told.rows.double() * told.factor[:, None]).cpu().numpy(), told.temperature.cpu().numpy())
            for told in (at_identity.gradients[name], of_drawn.gradients[name])
        )
        score = Score.of(*own, *other, weight, units)
        scores |= {name: score} if score.takes_part else {}
    return scores
