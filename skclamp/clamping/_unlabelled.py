"""Lessons of samples without labels: inputs and features that are as they were, in closed form, which labels judge."""

import itertools
import math
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

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
from ..modules._norm_layers import attached, parts_of, with_features_clamped
from ..perturbations._families import AffinePerturbation, FilterPerturbation, flattened
from ..perturbations._norm import NormPerturbation, norm_part
from ..perturbations._words import title_of
from ._clamp import Clamp
from ._learner import make_perturbation, with_values
from ._problem import on_private_copies, with_norm_layers
from ._search import hold_out, parts_of_folds, worse_among_all

# Widths of a filter that mends a spectrum, and the shortest side of an input that has it.
_FILTERS = {5: 10, 3: 6}
# How strongly a filter is held to a unit impulse, and a feature's size to a gain of 1, as parts of what there is.
_RIDGE = 1e-3
_FLAT = 1e-4
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
    sums = torch.zeros(())
    power = torch.zeros(())
    for batch, _ in itertools.chain.from_iterable(part.batches() for part in inputs):
        x, _ = backbone.to_device(batch)
        if x is None or not x.is_floating_point():
            raise TypeError(
                "X must hold floating-point inputs, since integers such as tokens have no moments to compare; got "
                f"{getattr(batch, 'dtype', 'a dict of integers')}. Of integers that measure something integer_scale, "
                "such as 1 / 255, makes numbers"
            )
        n = n + len(x)
        values = x.double().reshape(*x.shape[:2], -1)
        sums = sums + torch.stack([values.sum((0, 2)), values.square().sum((0, 2))])
        if x.ndim > 2:
            spectrum = torch.fft.fftn(x.float(), dim=tuple(range(2, x.ndim)), norm="ortho")
            power = power + spectrum.abs().square().sum(0, dtype=torch.float64).flatten(1)
    shape = tuple(x.shape[1:])
    n_places = math.prod(shape[1:])
    mean, square = sums.cpu().numpy() / (n * n_places)
    radial = None
    if len(shape) > 1:
        powers = power.cpu().numpy() / n
        # Of what the mean leaves: frequency 0 alone knows of it.
        powers[:, 0] -= n_places * mean**2
        distance = _distances(shape)
        radial = np.array([np.bincount(distance, each) for each in powers]) / np.bincount(distance)
    return ReferenceSummary(mean, np.sqrt(np.maximum(square - mean**2, 0)), radial, shape, n)


def _distances(shape):
    """Distance of each Fourier coefficient from frequency 0, in cycles per shortest side, a whole number."""
    sides = shape[1:]
    grids = np.meshgrid(*[np.fft.fftfreq(side) for side in sides], indexing="ij")
    return np.rint(np.linalg.norm(grids, axis=0) * min(sides)).astype(int).ravel()


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
    # Batches of one class each would have moments of their own.
    everything = [part.take(torch.randperm(len(part), generator=generator)) for part in (unlabelled, problem.inputs)]
    found = _of_inputs(problem, everything, reference) if of_inputs and reference is not None else {}
    problem = with_norm_layers(problem)
    targets = _feature_targets(problem, reference)
    if targets:
        for name, before in {"": nn.Sequential(), **dict(list(found.items())[-1:])}.items():
            norm = _of_features(problem.behind(before), everything, targets)
            perturbation = nn.Sequential(OrderedDict([*before.named_children(), ("norm", norm)]))
            found[f"{name}, features".removeprefix(", ")] = perturbation
    return found


def _of_inputs(problem, everything, reference):
    """What brings each channel's mean and standard deviation, and its spectrum, to what they were: by name."""
    before = reference
    if not isinstance(reference, ReferenceSummary):
        before = _summary(problem.backbone, [reference])
    now = _summary(problem.backbone, everything)
    if now.shape != tuple(before.shape):
        raise ValueError(f"X_reference must hold inputs of the shape of X, {now.shape}; got {tuple(before.shape)}")
    gain = _gain(before.std, now.std)
    moments = {"gain": gain, "offset": before.mean - gain * now.mean}
    found = {"moments": with_values(problem, AffinePerturbation(now.shape), moments)}
    width = next((width for width, side in _FILTERS.items() if min(now.shape[1:], default=0) >= side), None)
    if width is not None:
        values = _spectrum(now, before, width)
        found["moments, spectrum"] = with_values(problem, FilterPerturbation(now.shape, width), values)
    return found


def _gain(before, now):
    """Return the gain that takes a size to what it was, within limits: what hardly varies measures nothing."""
    return np.divide(before, now, out=np.ones_like(now), where=now > 0).clip(1 / _MOST_GAIN, _MOST_GAIN)


def _spectrum(now, before, width):
    """Return a symmetric filter, and an offset, that bring each channel's radial spectrum and mean to what they were.

    Least squares of the ratio of amplitudes to 1, over all frequencies but 0; the standard deviation is then exact.
    """
    sides = now.shape[1:]
    half = width // 2
    taps = np.array(list(itertools.product(range(-half, half + 1), repeat=len(sides))))
    # Taps that a turn or a reflection takes to each other weigh the same; the first is alone in the middle.
    kinds, kind = np.unique(np.sort(abs(taps)), axis=0, return_inverse=True)
    kind = kind.ravel()
    filters = np.zeros((len(kinds), *sides))
    filters[kind, *taps.T] = 1.0
    # What each of them makes of each frequency.
    responses = np.fft.fftn(filters, axes=range(1, filters.ndim)).real.reshape(len(kinds), -1)
    distance = _distances(now.shape)
    weights = []
    for power_now, power_before in zip(now.power[:, distance], before.power[:, distance], strict=True):
        rows = (responses * np.sqrt(power_now / np.maximum(power_before, 1e-12)))[:, 1:]
        ridge = _RIDGE * rows.shape[1]
        identity = np.eye(len(kinds))
        weight = np.linalg.solve(rows @ rows.T + ridge * identity, rows.sum(1) + ridge * identity[0])
        size = np.sqrt((weight @ responses) ** 2 @ power_now)
        weights.append((weight * _gain(np.sqrt(power_before.sum()), size))[kind])
    return {"weight": weights, "offset": before.mean - np.sum(weights, 1) * now.mean}


def _feature_targets(problem, reference):
    """Mean and mean square that each layer's output had, by name: batch norm's own, others' of a reference."""
    parts = parts_of(problem.backbone.module.module)
    targets = {}
    others = []
    for layer in problem.norm_layers:
        part = parts[layer.name]
        if isinstance(part, _BatchNorm) and part.running_mean is not None:
            std = part.weight.detach().double()
            mean = torch.zeros_like(std) if part.bias is None else part.bias.detach().double()
            targets[layer.name] = mean, std**2 + mean**2
        else:
            others.append(layer)
    if others and reference is not None and not isinstance(reference, ReferenceSummary):
        problem.passes.beside["reference_forward"] += 1
        targets |= _moments(problem, [reference], others)
    return targets


def _of_features(problem, inputs, targets):
    """A clamp of features that gives each channel the mean and the standard deviation that it had.

    Each batch's own moments do so while they are measured, so that a layer sees what those before it will give.
    """
    layers = [layer for layer in problem.norm_layers if layer.name in targets]
    problem.passes.forward += problem.shard.size
    problem.passes.beside["unlabelled_forward"] += 1
    moments = _moments(problem, inputs, layers, targets)
    values = [(layer, *_to_target(moments[layer.name], targets[layer.name], layer)) for layer in layers]
    return _filled(make_perturbation("norm", replace(problem, norm_layers=layers)), values)


def _filled(norm, values):
    """A clamp of features with the gain and the offset of each of its layers, of which some have no offset."""
    gains = [gain.flatten() for _, gain, _ in values]
    offsets = [offset.flatten() for layer, _, offset in values if layer.has_offset]
    with torch.no_grad():
        norm.gain.copy_(torch.cat(gains))
        norm.offset.copy_(torch.cat([*offsets, norm.offset[:0]]))
    return norm


def _to_target(moments, target, layer):
    """Gain and offset that take a mean and a mean square to those of a target; a gain alone takes the latter."""
    mean, square = moments
    target_mean, target_square = target
    if not layer.has_offset:
        mean, target_mean = torch.zeros_like(mean), torch.zeros_like(mean)
    variance = (square - mean**2).clamp_min(0)
    target_variance = (target_square - target_mean**2).clamp_min(0)
    flat = _FLAT * target_variance.mean()
    gain = ((target_variance + flat) / (variance + flat)).sqrt().clamp(1 / _MOST_GAIN, _MOST_GAIN)
    return gain, target_mean - gain * mean


def _moments(problem, inputs, layers, targets=None):
    """Mean and mean square of each layer's channels over inputs, by name, in one pass; with targets, it meets these."""
    backbone = on_private_copies(problem).backbone
    parts = parts_of(backbone.module.module)
    sums = {layer.name: [0, 0.0] for layer in layers}

    def measured(layer, h):
        values = h.double().reshape(-1, layer.size, math.prod(h.shape[h.ndim - layer.n_trailing :]))
        moments = torch.stack([values.mean((0, 2)), values.square().mean((0, 2))])
        # Windows of an image and frames of a video are several rows of each.
        n = h.shape[layer.axis]
        done, total = sums[layer.name]
        sums[layer.name] = [done + n, total + n * moments]
        if targets is None:
            return h
        gain, offset = _to_target(moments, targets[layer.name], layer)
        return h * layer.spread(gain.to(h)) + layer.spread(offset.to(h))

    with ExitStack() as handles:
        for layer in layers:
            handles.enter_context(attached(parts[layer.name], layer.before, partial(measured, layer)))
        for part in inputs:
            backbone.logits(part, labelled=False)
    return {name: total / n for name, (n, total) in sums.items()}


def after(problem, perturbation, logits=None):
    """The same problem on a network that sees inputs, and has features, as a perturbation leaves them."""
    problem = problem.behind(perturbation)
    norm = norm_part(perturbation)
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
    searched = clamp.searched
    splits = clamp.splits
    if not splits or searched.n_weighted < MIN_SAMPLES:
        n_samples = searched.n_distinct
        few = f"X_unlabelled has no effect: it takes {MIN_SAMPLES} labelled samples to judge it, got {n_samples}"
        note(few, CalibrationSetWarning)
        return [(clamp, nothing_tried(Objection(Reason.FEW_FOR_THE_GUARD, n_samples, MIN_SAMPLES)))]
    taught = learn_without_labels(searched, unlabelled, reference, of_inputs=of_inputs, generator=generator)
    if not taught:
        return [(clamp, nothing_tried(Objection(Reason.NO_STATISTICS)))]
    problems = {name: after(searched, perturbation) for name, perturbation in taught.items()}
    among_observed = {name: problem.among_observed() for name, problem in problems.items()}
    evidence = _held_out_of(searched.among_observed(), among_observed, splits)
    decisions = {name: decide(evidence, k, level) for k, name in enumerate(taught)}
    if searched.observed is not None:
        among_all = _held_out_of(searched, problems, splits)
        for k, name in enumerate(taught):
            worse = worse_among_all(among_all, k)
            if worse and decisions[name].verdict.accepted:
                decisions[name] = decisions[name].refused(worse)

    def best_of(names):
        best = min(names, key=lambda name: decisions[name].verdict.difference)
        if not decisions[best].verdict.accepted:
            return clamp, decisions[best]
        logits = problems[best].logits if len(searched) == len(clamp.samples) else None
        samples = after(clamp.samples, taught[best], logits)
        return Clamp.identity(samples, problems[best], splits, taught[best]), decisions[best]

    first, decision = best_of(list(taught))
    if not learns_features or norm_part(first.taught) is None:
        return [(first, decision)]
    names = [name for name, perturbation in taught.items() if norm_part(perturbation) is None]
    second, other = best_of(names) if names else (clamp, decision)
    if second is clamp:
        other = decision.refused(dismissed=Objection(Reason.LABELS_TEACH_MORE))
    return [(first, decision), (second, other)]


def _held_out_of(searched, problems, splits):
    """Evidence of problems behind what unlabelled samples taught, by name, beside the one without that."""
    judged = []
    for rows, (train, held_out) in zip(splits, parts_of_folds(searched, splits), strict=True):
        seen = []
        for name, problem in problems.items():
            part, unseen = map(problem.take, rows)
            temperature = part.solve(smooth=True).temperature
            told = {"perturbation": name, "n_epochs": 0, "temperature": float(temperature)}
            seen.append(HeldOut(unseen.nll(temperature), temperature, name=name, moved=True, told=told))
        judged.append((hold_out(train, held_out), seen))
    return Evidence.from_folds(searched, splits, judged)


def joined(taught, learned):
    """One perturbation of what samples without labels taught and, after it, what labelled ones did."""
    norms = [norm for norm in (norm_part(taught), norm_part(learned)) if norm is not None]
    of_inputs = [part for part in (*flattened(taught), *flattened(learned)) if norm_part(part) is None]
    parts = OrderedDict((f"{title_of(part)}{k or ''}", part) for k, part in enumerate(of_inputs))
    return nn.Sequential(parts | {"norm": _merged(norms)} if norms else parts)


def _merged(norms):
    """One clamp of features in the place of some, one after another."""
    values: dict[str, tuple] = {}
    for layer, gain, offset in itertools.chain.from_iterable(norm.by_layer() for norm in norms):
        first, before, shift = values.get(layer.name, (layer, 1.0, 0.0))
        values[layer.name] = first, before * gain, shift * gain + offset if layer.has_offset else None
    layers = [layer for layer, *_ in values.values()]
    return _filled(NormPerturbation(layers, norms[0].left_out).to(norms[0].gain), list(values.values()))
