"""The score test of families of few parameters: what all the samples' gradients at the identity say of each."""

from dataclasses import replace

import torch
from torch import nn

from .._judging.score import Score
from ..perturbations._families import n_learnable
from ..perturbations._words import title_of
from ._evidence_step import MAX_ENTRIES, gradients_of
from ._learner import MAX_PARAMETERS, competing_families, make_perturbation


def scores_of(problem, perturbation, groups):
    """The families that take part, at the identity, and the tests of their gradients: two dicts by name."""
    if isinstance(perturbation, str) and perturbation == "auto":
        families, _ = competing_families(problem)
    else:
        families = {title_of(perturbation): make_perturbation(perturbation, problem)}
    families = {name: family.eval() for name, family in families.items() if n_learnable(family) <= MAX_PARAMETERS}
    if not families or len(problem) * sum(map(n_learnable, families.values())) > MAX_ENTRIES:
        return {}, {}
    exact = problem.in_full_precision()
    temperature = exact.solve(prior=True).temperature
    weight = exact.weight_of_all.numpy()
    of_labels, of_drawn = [
        gradients_of(part, nn.Sequential(), temperature, [0.0], list(families.values()), wide=True)[0].extended
        for part in (exact, replace(exact, y_encoded=_drawn_labels(exact, temperature)))
    ]
    scores = {}
    for name, own, drawn in zip(families, of_labels, of_drawn, strict=True):
        rows, slopes, drawn_rows, drawn_slopes = [
            part.cpu().double().numpy()
            for kept in (own, drawn)
            for part in (kept.rows * kept.factor[:, None], kept.temperature)
        ]
        scores[name] = Score.of(rows, slopes, drawn_rows, drawn_slopes, weight, groups)
    scores = {name: score for name, score in scores.items() if score.takes_part}
    return {name: families[name] for name in scores}, scores


def _drawn_labels(problem, temperature):
    """Columns drawn, with a fixed seed, from the probabilities at the identity; the same on any processes."""
    shard, logits = problem.shard, problem.logits.double()
    uniform = torch.rand(shard.total, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uniform = uniform[shard.start : shard.start + shard.size].to(logits.device)
    cumulative = (logits / temperature).softmax(1).cumsum(1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1).clamp_max(logits.shape[1] - 1)
