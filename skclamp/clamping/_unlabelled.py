"""Lessons of samples without labels: inputs and features that are as they were, in closed form, which labels judge."""

import copy
import itertools
import math
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._backbones.backbone import Opening
from .._backbones.inputs import dataset_behind
from .._backbones.opening import open_backbone
from .._judging.out_of_fold import MIN_SAMPLES, Evidence, HeldOut, decide
from .._judging.verdict import Objection, Reason, nothing_tried
from .._utils.encoding import register
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning
from ..modules._norm_layers import attached, parts_of, private_copy, with_features_clamped
from ..perturbations._families import AffinePerturbation, FilterPerturbation, flattened
from ..perturbations._norm import NormPerturbation, norm_part
from ..perturbations._words import title_of
from ._clamp import Clamp
from ._learner import make_perturbation, with_values
from ._problem import with_norm_layers
from ._search import hold_out, parts_of_folds, worse_among_all

# Widths of a filter that mends a spectrum, and the shortest side of an input that has it.
_FILTERS = {5: 10, 3: 6}
# How strongly a filter is held to a unit impulse, and a feature's size to a gain of 1, as parts of what there is.
_RIDGE, _FLAT = 1e-3, 1e-4
# Gains beyond that, or below its inverse, mend nothing: the feature is gone.
_MOST_GAIN = 10.0


@register
@dataclass(frozen=True, eq=False)
class ReferenceSummary:
    """A summary of inputs as they were before they changed.

    Parameters
    ----------
    mean, std : ndarray of shape (n_channels,)
        Of each channel's entries or, of tables, of each feature.
    power : ndarray of shape (n_channels, n_frequencies) or None
        Mean square of the Fourier coefficients by distance from frequency 0, of signals and images.
    shape : tuple of int
        Of one input.
    n_samples : int
        How many there were.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import reference_summary
    >>> reference_summary(np.array([[0.0, 1.0], [2.0, 1.0]])).mean
    array([1., 1.])
    """

    mean: np.ndarray
    std: np.ndarray
    power: np.ndarray | None
    shape: tuple
    n_samples: int


def reference_summary(X, *, input_key=None, integer_scale=None, batch_size="auto"):
    """Summarise inputs as they were, in a few kB, for `X_reference` of a later fit.

    Parameters
    ----------
    X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
        Floating-point inputs of the network, first axis the samples: of the old camera, such as those of its test set.
    input_key : str, default=None
        The entry of X that is summarised, where it has several, as that of the calibrator.
    integer_scale : float, default=None
        What integer inputs are multiplied by, as that of the calibrator.
    batch_size : "auto" or int, default="auto"
        Samples at a time, as that of the calibrator.

    Returns
    -------
    ReferenceSummary
        Means and standard deviations of each channel and, of signals and images, their radial power spectrum.

    Raises
    ------
    ValueError, TypeError
        If X isn't what a network takes, or holds integers such as tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import reference_summary
    >>> images = np.random.default_rng(0).normal(size=(50, 3, 8, 8)).astype(np.float32)
    >>> summary = reference_summary(images)
    >>> summary.mean.shape, summary.power.shape
    ((3,), (3, 7))
    """
    options = {"input_key": input_key, "integer_scale": integer_scale, "batch_size": batch_size}
    backbone = open_backbone(nn.Identity(), Opening("logits", perturbs=True, **options))
    return _summary(backbone, [backbone.open(dataset_behind(X, any_order=True))])


def _summary(backbone, inputs):
    """The `ReferenceSummary` of several inputs taken together."""
    n = 0
    shape: tuple[int, ...] = ()
    sums = squares = power = torch.zeros(())
    for batch, _ in itertools.chain.from_iterable(part.batches() for part in inputs):
        x, _ = backbone.to_device(batch)
        if x is None or not x.is_floating_point():
            entry = batch if isinstance(batch, torch.Tensor) else batch.get(backbone.module.input_key)
            raise TypeError(
                "X must hold floating-point inputs, since integers such as tokens have no moments to compare; got "
                f"{'a dict of integers' if entry is None else entry.dtype}. Of integers that measure something "
                "integer_scale, such as 1 / 255, makes numbers"
            )
        n, shape = n + len(x), tuple(x.shape[1:])
        axes = [0, *range(2, x.ndim)]
        sums, squares = sums + x.sum(axes, dtype=torch.float64), squares + x.double().square().sum(axes)
        if x.ndim > 2:
            spectrum = torch.fft.fftn(x.float(), dim=tuple(range(2, x.ndim)), norm="ortho")
            power = power + spectrum.abs().square().sum(0, dtype=torch.float64)
    size = n * math.prod(shape[1:])
    mean = sums / size
    std, radial = (squares / size - mean**2).clamp_min(0).sqrt(), None
    if len(shape) > 1:
        # Of what the mean leaves: frequency 0 alone knows of it.
        power.flatten(1)[:, 0] -= size * mean**2
        distance = _distances(shape).to(mean.device)
        counts = distance.flatten().bincount()
        radial = torch.stack([distance.flatten().bincount(each.flatten()) / counts / n for each in power]).cpu().numpy()
    return ReferenceSummary(mean.cpu().numpy(), std.cpu().numpy(), radial, shape, n)


def _distances(shape):
    """Distance of each Fourier coefficient from frequency 0, in cycles per shortest side, a whole number."""
    sides = shape[1:]
    grids = torch.meshgrid(*[torch.fft.fftfreq(side) for side in sides], indexing="ij")
    return (torch.stack(grids).square().sum(0).sqrt() * min(sides)).round().long()


def open_unlabelled(name, X, problem):
    """Inputs without labels, as the network of a problem takes them; a summary, or None, as it is."""
    if X is None or isinstance(X, ReferenceSummary):
        return X
    try:
        inputs = problem.backbone.open(dataset_behind(X, any_order=True))
        if getattr(inputs, "is_stream", False):
            raise TypeError("inputs without labels must be an array or a map-style Dataset; got a stream")
        for batch, _ in inputs.batches():
            x, _ = problem.backbone.to_device(batch)
            if problem.has_floating_inputs and tuple(x.shape[1:]) != problem.input_shape:
                raise ValueError(f"inputs must have the shape of X's, {problem.input_shape}; got {tuple(x.shape[1:])}")
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error
    return inputs


def learn_without_labels(problem, unlabelled, reference, *, of_inputs, generator):
    """Perturbations that bring unlabelled inputs, or a network's features of them, to what these were: by name.

    `unlabelled` are inputs, opened, `reference` a `ReferenceSummary` or inputs, opened, or None. Without one only
    features of batch norm are known, which keeps statistics of its own.
    """
    summary = reference
    if of_inputs and reference is not None and not isinstance(reference, ReferenceSummary):
        summary = _summary(problem.backbone, [reference])
    # Batches of one class each would have moments of their own.
    everything = [part.take(torch.randperm(len(part), generator=generator)) for part in (unlabelled, problem.inputs)]
    found = {}
    if of_inputs and summary is not None:
        now = _summary(problem.backbone, everything)
        if now.shape != tuple(summary.shape):
            raise ValueError(f"X_reference must hold inputs of the shape of X, {now.shape}; got {tuple(summary.shape)}")
        # Each channel's mean and standard deviation are brought to what they were.
        gain = _gain(summary.std, now.std)
        affine = {"gain": gain, "offset": summary.mean - gain * now.mean}
        found["moments"] = with_values(problem, AffinePerturbation(now.shape), affine)
        width = next((width for width, side in _FILTERS.items() if min(now.shape[1:], default=0) >= side), None)
        if width is not None:
            filtered = FilterPerturbation(now.shape, width)
            found["moments, spectrum"] = with_values(problem, filtered, _spectrum(now, summary, width))
    problem = with_norm_layers(problem)
    targets = _feature_targets(problem, reference)
    if targets:
        of_inputs_alone = list(found.items())[-1:]
        found["features"] = nn.Sequential(OrderedDict(norm=_features(problem, everything, targets)))
        for name, before in of_inputs_alone:
            norm = _features(after(problem, before, logits=problem.logits), everything, targets)
            found[f"{name}, features"] = nn.Sequential(OrderedDict([*before.named_children(), ("norm", norm)]))
    return found


def _gain(before, now):
    """Return the gain that takes a size to what it was, within limits: what hardly varies measures nothing."""
    return np.clip(np.divide(before, now, out=np.ones_like(now), where=now > 0), 1 / _MOST_GAIN, _MOST_GAIN)


def _spectrum(now, before, width):
    """Return a symmetric filter, and an offset, that bring each channel's radial spectrum and mean to what they were.

    Least squares of the ratio of amplitudes to 1, over all frequencies but 0; the standard deviation is then exact.
    """
    shape, half = now.shape, width // 2
    taps = list(itertools.product(range(-half, half + 1), repeat=len(shape) - 1))
    orbits = [tuple(sorted(map(abs, tap))) for tap in taps]
    kinds = sorted(set(orbits))
    grids = np.meshgrid(*[np.fft.fftfreq(side) for side in shape[1:]], indexing="ij")
    # What a symmetric filter makes of each frequency, by kinds of its taps.
    basis = np.zeros((len(kinds), math.prod(shape[1:])))
    for tap, orbit in zip(taps, orbits, strict=True):
        phase = sum(grid * step for grid, step in zip(grids, tap, strict=True))
        basis[kinds.index(orbit)] += np.cos(2 * np.pi * phase).ravel()
    distance = _distances(shape).numpy().ravel()
    impulse = np.zeros(len(kinds))
    impulse[0] = 1.0
    weights, offsets = [], []
    for of_now, of_before, *means in zip(now.power, before.power, now.mean, before.mean, strict=True):
        strength = np.sqrt(of_now[distance] / np.maximum(of_before[distance], 1e-12))
        rows = (basis * strength)[:, 1:]
        ridge = _RIDGE * rows.shape[1]
        kind = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(kinds)), rows.sum(1) + ridge * impulse)
        made = (kind @ basis) ** 2 * of_now[distance]
        kind = kind * _gain(np.sqrt(of_before[distance].sum()), np.sqrt(made.sum()))
        weights.append([kind[kinds.index(orbit)] for orbit in orbits])
        offsets.append(means[1] - sum(weights[-1]) * means[0])
    return {"weight": weights, "offset": offsets}


def _feature_targets(problem, reference):
    """Mean and standard deviation that each layer's output had, by name: batch norm's own, others' of a reference."""
    parts = parts_of(problem.backbone.module.module)
    targets = {}
    for layer in problem.norm_layers or []:
        part = parts[layer.name]
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            size = part.weight.detach().double().abs()
            targets[layer.name] = (torch.zeros_like(size) if part.bias is None else part.bias.detach().double()), size
    others = [layer for layer in problem.norm_layers or [] if layer.name not in targets]
    if others and reference is not None and not isinstance(reference, ReferenceSummary):
        problem.passes.beside["reference_forward"] += 1
        for layer, (mean, square) in _passed(problem, [reference], others).items():
            targets[layer.name] = mean, (square - mean**2).clamp_min(0).sqrt()
    return targets


def _features(problem, inputs, targets):
    """A clamp of features that gives each channel the mean and the standard deviation that it had.

    Each batch's own moments do so while they are measured, so that a layer sees what those before it will give.
    """
    layers = [layer for layer in problem.norm_layers if layer.name in targets]
    found = make_perturbation("norm", replace(problem, norm_layers=layers))
    problem.passes.forward += problem.shard.size
    problem.passes.beside["unlabelled_forward"] += 1
    measured = _passed(problem, inputs, layers, targets)
    pairs = [_to_target(measured[layer], targets[layer.name], layer.has_offset) for layer in layers]
    return _filled(found, *zip(*pairs, strict=True))


def _filled(found, gains, offsets):
    """Return a clamp of features with such gains and offsets, None where a layer has none."""
    with torch.no_grad():
        found.gain.copy_(torch.cat([gain.flatten() for gain in gains]))
        offsets = [offset.flatten() for offset in offsets if offset is not None]
        found.offset.copy_(torch.cat([*offsets, found.offset.new_empty(0)]))
    return found


def _to_target(moments, target, has_offset):
    """Gain and offset that take a mean and a mean square to those of a target; a gain alone takes the latter."""
    (mean, square), (target_mean, target_std) = moments, target
    flat, old, now = _FLAT * target_std.square().mean(), target_std**2, (square - mean**2).clamp_min(0)
    if not has_offset:
        old, now = old + target_mean**2, square
    gain = ((old + flat) / (now + flat)).sqrt().clamp(1 / _MOST_GAIN, _MOST_GAIN)
    return gain, target_mean - gain * mean if has_offset else None


def _passed(problem, inputs, layers, targets=None):
    """Mean and mean square of each layer's channels over several inputs, in one pass; with targets, it meets these."""
    backbone = copy.copy(problem.backbone)
    backbone.module = private_copy(backbone.module)
    sums = {layer: [0, 0.0, 0.0] for layer in layers}

    def noting(layer):
        def note(h):
            first = h.ndim - layer.n_trailing - len(layer.shape)
            axes = [k for k in range(h.ndim) if not first <= k < first + len(layer.shape)]
            values = h.double()
            mean, square = (part.mean(axes).flatten() for part in (values, values.square()))
            n = h.shape[layer.axis]
            done, total, squares = sums[layer]
            sums[layer] = [done + n, total + n * mean, squares + n * square]
            if targets is None:
                return h
            gain, offset = _to_target((mean, square), targets[layer.name], layer.has_offset)
            h = h * layer.spread(gain.to(h))
            return h if offset is None else h + layer.spread(offset.to(h))

        return note

    parts = parts_of(backbone.module.module)
    with ExitStack() as handles:
        for layer in layers:
            handles.enter_context(attached(parts[layer.name], layer.before, noting(layer)))
        for part in inputs:
            backbone.logits(part, labelled=False)
    # Windows of an image and frames of a video are several rows of each.
    return {layer: (total / n, squares / n) for layer, (n, total, squares) in sums.items()}


def after(problem, perturbation, logits=None):
    """The same problem on a network that sees inputs, and has features, as a perturbation leaves them."""
    problem, norm = problem.behind(perturbation), norm_part(perturbation)
    if norm is not None:
        problem.backbone.module = with_features_clamped(problem.backbone.module, norm).eval()
    if logits is None:
        problem.passes.forward += problem.shard.size
        logits = problem.backbone.logits(problem.inputs, labelled=False)[0]
    return replace(problem, logits=logits)


def learn_unlabelled(clamp, unlabelled, reference, *, level, of_inputs, learns_features, generator):
    """Clamps behind what samples without labels taught, where labelled ones prove it, each with its `Decision`.

    Only T is fitted to labelled samples, those of the other folds: all of them judge. Where the search
    `learns_features` too, enough labels may teach these better than statistics do: a second clamp is without them. The
    other arguments are those of `learn_without_labels`.
    """
    searched, splits = clamp.searched, clamp.splits
    if not splits:
        n_samples = searched.n_distinct
        few = f"X_unlabelled has no effect: it takes {MIN_SAMPLES} labelled samples to judge it, got {n_samples}"
        note(few, CalibrationSetWarning)
        return [(clamp, nothing_tried(Objection(Reason.FEW_FOR_THE_GUARD, n_samples, MIN_SAMPLES)))]
    taught = learn_without_labels(searched, unlabelled, reference, of_inputs=of_inputs, generator=generator)
    if not taught:
        return [(clamp, nothing_tried(Objection(Reason.NO_STATISTICS)))]
    problems = {name: after(searched, perturbation) for name, perturbation in taught.items()}
    among_observed = {name: other.among_observed() for name, other in problems.items()}
    evidence = _held_out_of(searched.among_observed(), among_observed, splits)
    decisions = {name: decide(evidence, k, level) for k, name in enumerate(taught)}
    if searched.observed is not None:
        among_all = _held_out_of(searched, problems, splits)
        for k, (name, decision) in enumerate(decisions.items()):
            worse = worse_among_all(among_all, k) if decision.verdict.accepted else None
            decisions[name] = decision.refused(worse) if worse else decision

    def best_of(names):
        best = min(names, key=lambda name: decisions[name].verdict.difference)
        decision = decisions[best]._replace(n_candidates=len(names))
        if not decision.verdict.accepted:
            return clamp, decision
        logits = problems[best].logits if len(searched) == len(clamp.samples) else None
        samples = after(clamp.samples, taught[best], logits)
        return Clamp.identity(samples, problems[best], splits, taught[best]), decision

    first, decision = best_of([*taught])
    if not learns_features or first.taught is None or norm_part(first.taught) is None:
        return [(first, decision)]
    names = [name for name, perturbation in taught.items() if norm_part(perturbation) is None]
    second, other = best_of(names) if names else (clamp, decision)
    if second.taught is None:
        other = decision.refused(dismissed=Objection(Reason.LABELS_TEACH_MORE))
        other = other._replace(verdict=replace(other.verdict, detectable_gain=None))
    return [(first, decision), (second, other)]


def _held_out_of(searched, problems, splits):
    """Evidence of problems behind what unlabelled samples taught, by name, beside the one without that."""
    judged = []
    for rows, (train, held_out) in zip(splits, parts_of_folds(searched, splits), strict=True):
        seen = []
        for name, other in problems.items():
            part, unseen = map(other.take, rows)
            temperature = part.solve(smooth=True).temperature
            told = {"perturbation": name, "n_epochs": 0, "temperature": float(temperature)}
            seen.append(HeldOut(unseen.nll(temperature), temperature, name=name, moved=True, told=told))
        judged.append((hold_out(train, held_out), seen))
    return Evidence.from_folds(searched, splits, judged)


def joined(taught, learned):
    """One perturbation of what samples without labels taught and, after it, what labelled ones did."""
    norms = [norm for norm in (norm_part(taught), norm_part(learned)) if norm is not None]
    parts = [part for module in (taught, learned) for part in flattened(module) if norm_part(part) is None]
    named = [(f"{title_of(part)}{k or ''}", part) for k, part in enumerate(parts)]
    return nn.Sequential(OrderedDict([*named, *([("norm", reduce(_merged, norms))] if norms else [])]))


def _merged(first, second):
    """One clamp of features in the place of two, one after the other."""
    values = {layer.name: (layer, gain, offset) for layer, gain, offset in first.by_layer()}
    for layer, gain, offset in second.by_layer():
        _, before, shift = values.get(layer.name, (layer, torch.ones_like(gain), None))
        moved = offset if shift is None else shift * gain + (0 if offset is None else offset)
        values[layer.name] = layer, before * gain, moved
    layers, gains, offsets = zip(*values.values(), strict=True)
    return _filled(NormPerturbation([*layers], first.left_out).to(first.gain), gains, offsets)
