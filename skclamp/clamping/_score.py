"""The score test of families of few parameters: what all the samples' gradients at the identity say of each."""

import numpy as np
import torch
from torch.nn.functional import one_hot

from .._judging.score import Score
from .._utils.arrays import absent_among, without
from ..perturbations._families import n_learnable
from ..perturbations._words import title_of
from ._evidence_step import MAX_ENTRIES, per_sample_gradients
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
    gradients = _gradients(exact, families.values(), temperature, _drawn_labels(exact, temperature))
    ends = np.cumsum([n_learnable(family) for family in families.values()])
    *of_families, slopes = np.split(gradients, ends, axis=2)
    scores = {
        name: Score.of(rows, slopes[0, :, 0], drawn, slopes[1, :, 0], weight, groups)
        for name, (rows, drawn) in zip(families, of_families, strict=True)
    }
    scores = {name: score for name, score in scores.items() if score.takes_part}
    return {name: families[name] for name in scores}, scores


def _gradients(problem, families, temperature, drawn):
    """Of each sample's loss at the identity, under its own label and under the one `drawn`; one forward pass for both.

    An array of shape (2, n_samples, n_columns), float64: each family's parameters in turn, and log T last.
    """
    shard, done = problem.shard, 0
    n_columns = sum(map(n_learnable, families)) + 1
    gradients = torch.zeros(2, shard.total, n_columns, dtype=torch.float64, device=problem.logits.device)
    for batch, others, y_encoded, weight in problem.labelled_batches():
        rows = slice(done, done + len(y_encoded))
        done = rows.stop
        if not weight.any():
            continue
        x = batch.detach().requires_grad_()
        with torch.enable_grad():
            output = problem.backbone.module(x, **others)
        scaled = output.detach().double() / temperature
        for k, labels in enumerate([y_encoded, drawn[rows]]):
            slope = scaled.softmax(1) - one_hot(labels, scaled.shape[1])
            of_output = (slope / temperature).to(output.dtype)
            (cotangent,) = torch.autograd.grad(output, x, of_output, retain_graph=k == 0)
            columns = [per_sample_gradients(family, batch, cotangent.contiguous()) for family in families]
            of_temperature = -(slope * without(scaled, absent_among(scaled))).sum(1, keepdim=True)
            place = slice(shard.start + rows.start, shard.start + rows.stop)
            gradients[k, place] = torch.cat([*columns, of_temperature], 1)
        problem.passes.forward += len(x)
        problem.passes.backward += 2 * len(x)
    return shard.ranks.sum(gradients).cpu().numpy()


def _drawn_labels(problem, temperature):
    """Columns drawn, with a fixed seed, from the probabilities at the identity; the same on any processes."""
    shard, logits = problem.shard, problem.logits.double()
    uniform = torch.rand(shard.total, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uniform = uniform[shard.start : shard.start + shard.size].to(logits.device)
    cumulative = (logits / temperature).softmax(1).cumsum(1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1).clamp_max(logits.shape[1] - 1)
