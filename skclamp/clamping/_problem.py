"""One calibration problem: a frozen network, its inputs and labels, and the logits at the identity."""

import copy
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from .._backbones.inputs import Inputs
from .._backbones.network import NetworkBackbone, OverflowedLogits
from .._judging.paired import numbered
from .._judging.splits import joined
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.metadata import of_rows
from .._utils.outputs import OutputLayer, some_places
from ..distributed import Shard
from ..losses import focal_loss, log_likelihood_of_sample
from ..modules import LogitsModule
from ..modules._logits import first_input, without_absent
from ..modules._norm_layers import features_clamped, find_norm_layers, private_copy
from ..modules._unwrap import is_spread, unwrapped
from ..perturbations._norm import NormLayer, norm_part

# Inputs that tell what all of them are like.
_N_EXAMPLES = 32
# Of a sample of dense outputs; their gradients tell what those of all do, since neighbours agree.
_MOST_PLACES = 1024


@dataclass
class Passes:
    """Numbers of samples that went through the network, forward and back."""

    forward: int = 0
    backward: int = 0
    # How often inputs beside these did on average, by what `cost_` calls it.
    beside: dict[str, float] = field(default_factory=dict)


@dataclass
class Problem:
    """The data of one fit: all the samples, though this process may hold the `inputs` of some alone, its `shard`."""

    backbone: NetworkBackbone
    inputs: Inputs
    y_encoded: torch.Tensor
    # On the CPU.
    weight: torch.Tensor
    # The network's, at the identity or behind what samples without labels taught.
    logits: torch.Tensor
    shard: Shard
    passes: Passes = field(default_factory=Passes)
    # What the guard's splitter is told beside the labels.
    split_params: dict = field(default_factory=dict)
    # Labels that samples of equal inputs, or near-copies, share; None where that isn't known, or all inputs differ.
    copies: np.ndarray | None = None
    # Numbers of the samples' groups, or of the stretches of a recording; None where they have none.
    groups: np.ndarray | None = None
    is_recording: bool = False
    # Names of the parts that samples come from; None where nobody told.
    parts: np.ndarray | None = None
    # The normalisation layers that can be clamped, where they were looked for, and why others can't, by name.
    norm_layers: list[NormLayer] | None = None
    layers_left_out: dict[str, str] = field(default_factory=dict)
    # A mask of the classes that a perturbation is learned and judged among; None where these are all.
    observed: np.ndarray | None = None
    # The network's, before it was taught anything.
    raw: torch.Tensor = field(kw_only=True)
    # The samples at all places of dense outputs, where others are at some.
    everywhere: tuple[torch.Tensor, ...] | None = None

    @classmethod
    def of(cls, samples):
        """The problem that `Samples` pose."""
        shard = samples.shard
        weight = shard.all_gather(samples.weight)
        everywhere = logits, y_encoded = shard.all_gather(samples.logits), shard.all_gather(samples.y_encoded)
        is_thin = logits.ndim > 2 and logits.shape[2] > _MOST_PLACES
        # The bar of all the training counts the passes.
        backbone = copy.copy(samples.backbone)
        backbone.verbose = 0
        inputs = samples.inputs
        if is_thin:
            some = some_places(logits.shape[2], _MOST_PLACES)
            logits = logits[:, :, some.to(logits.device)]
            y_encoded = y_encoded[..., some.to(y_encoded.device)]
            # A dense network keeps several times as much for the way back, and is no slower on half a batch.
            inputs = copy.copy(inputs)
            inputs.most = inputs.most and inputs.most // 2
            kept = np.arange(math.prod(backbone.places))[backbone.kept]
            backbone.kept = kept[some.numpy()]
        return cls(
            backbone,
            inputs,
            y_encoded,
            weight,
            logits,
            shard,
            Passes(forward=shard.size),
            split_params=samples.metadata.guard,
            copies=samples.copies(),
            groups=samples.groups,
            is_recording=samples.is_recording,
            parts=samples.parts,
            raw=logits,
            everywhere=everywhere if is_thin else None,
        )

    def __len__(self):
        return self.shard.total

    def nonzero_weight_indices(self):
        """Return positions of the samples that count: those with weight."""
        return self.weight.nonzero()[:, 0]

    @property
    def n_weighted(self):
        """Number of samples that count."""
        return int(self.weight.count_nonzero())

    @property
    def places(self):
        """Numbers from 0 on of the samples that count; those that count as one share one."""
        units = numbered(self.units, len(self))
        return numbered(units[self.nonzero_weight_indices().numpy()])

    @property
    def units(self):
        """Labels that samples which count as one share, copies and those of a group; None where each counts."""
        return joined(self.copies, self.groups)

    @property
    def n_distinct(self):
        """Number of samples that count, copies and groups counted once."""
        return int(self.places.max(initial=-1)) + 1

    def take(self, rows):
        """The same problem on some of its samples."""
        rows = torch.as_tensor(rows)
        numbers = rows.numpy()
        shard, own = self.shard.take(rows)
        logits = self.logits[rows]
        return replace(
            self,
            shard=shard,
            # A process that has none of them keeps an input for its shape.
            inputs=self.inputs.take(own if len(own) else [0]),
            y_encoded=self.y_encoded[rows],
            weight=self.weight[rows],
            logits=logits,
            raw=logits if self.raw is self.logits else self.raw[rows],
            everywhere=None,
            split_params=of_rows(self.split_params, numbers, len(self)),
            copies=None if self.copies is None else self.copies[numbers],
            groups=None if self.groups is None else self.groups[numbers],
            parts=None if self.parts is None else self.parts[numbers],
        )

    def at_all_places(self):
        """Return the same problem, for its logits alone, at all places of dense outputs."""
        if self.everywhere is None:
            return self
        logits, y_encoded = self.everywhere
        return replace(self, logits=logits, y_encoded=y_encoded, raw=logits, everywhere=None)

    def weighted(self):
        """The same problem without samples of weight 0."""
        rows = self.nonzero_weight_indices()
        return self if len(rows) == len(self) else self.take(rows)

    def logits_under(self, perturbation, views=()):
        """Logits of the perturbed inputs or, of views of them with their shares, the weighted sums."""
        logits = self.try_logits_under(perturbation, views)
        if logits is None:
            # At the identity they are finite.
            raise OverflowedLogits(
                "training diverged: the network's logits of the perturbed inputs are infinite, NaN or too large; "
                "lower lr"
            )
        return logits

    def try_logits_under(self, perturbation, views=()):
        """Logits of the perturbed inputs; None where the network's arithmetic overflows on any process."""
        self.passes.forward += self.shard.size
        try:
            with features_clamped(self.backbone.module, norm_part(perturbation)):
                logits = self.backbone.logits(self.inputs, perturbation, views=views)[0][: self.shard.size]
        except OverflowedLogits:
            logits = None
        n_overflows = self.shard.ranks.sum(torch.tensor(float(logits is None))).item()
        return None if n_overflows else self.shard.all_gather(logits)

    @property
    def outputs(self):
        """The output layer that the shapes tell."""
        return OutputLayer.of(self.logits, self.y_encoded)

    def rows(self, logits, most_places=None):
        """`Rows` of some logits of the samples, with their labels and weights."""
        units = self.units
        units = None if units is None else numbered(units)
        return self.outputs.labelled_rows(logits, self.y_encoded, self.weight, units, most_places)

    @property
    def rows_a_sample(self):
        """Mean number of rows that a sample counts as: of labels, and classes of places, those that are known."""
        if self.y_encoded.ndim == 1:
            return 1.0
        return (self.rows(self.logits).weight.sum() / self.weight.sum()).item()

    def solve(self, logits=None, gamma=0.0, **options):
        """The exact temperature of some logits, and a sample's loss there; of those at the identity by default."""
        # Often asked: what depends on each other is of no matter here.
        logits = self.logits if logits is None else logits
        rows = self.outputs.labelled_rows(logits, self.y_encoded, self.weight)
        unit = rows.unit if self.outputs.n_labels else None
        solution = solve_temperature(rows.logits, rows.y, sample_weight=rows.weight, gamma=gamma, unit=unit, **options)
        # Of several labels a sample has the losses of all.
        return solution._replace(loss=solution.loss * (rows.weight.sum() / self.weight.sum()).item())

    def in_sample(self, logits=None, **options):
        """The exact temperature of some logits, and their mean NLL there, of labels that aren't smoothed."""
        temperature = self.solve(logits, **options).temperature
        return temperature, float(np.average(self.nll(temperature, logits), weights=self.weight))

    def nll(self, temperature, logits=None):
        """NLL of each sample, an array."""
        logits = self.logits if logits is None else logits
        if self.y_encoded.ndim > 1:
            return -log_likelihood_of_sample(logits.double() / temperature, self.y_encoded).cpu().numpy()
        return -log_likelihoods(logits, self.y_encoded, temperature).cpu().numpy()

    def losses(self, temperature, logits, gamma=0.0):
        """Focal loss of each sample times its weight over the mean weight."""
        losses = focal_loss(logits.double() / temperature, self.y_encoded, gamma=gamma, reduction="none")
        return losses * (self.weight / self.weight.mean()).to(losses.device)

    def cost(self):
        """Return how often each sample went through the network on average, and inputs without labels, by name."""
        passes = torch.tensor([self.passes.forward, self.passes.backward], dtype=torch.float64)
        forward, backward = (self.shard.ranks.sum(passes) / len(self)).tolist()
        return {"forward": forward, "backward": backward, **self.passes.beside}

    def labelled_batches(self):
        """Yield (inputs, others, column indices, weights) of this process's samples, in order.

        All but the weights are on the network's device. The inputs are those that are perturbed, and the others a dict
        of what the network takes with them by name.
        Weights are float64.
        """
        done = self.shard.start
        for batch, _ in self.inputs.batches() if self.shard.size else ():
            x, others = self.backbone.to_device(batch)
            given = first_input(x, others)
            rows = slice(done, done + len(given))
            done = rows.stop
            yield x, others, self.y_encoded[rows].to(given.device), self.weight[rows]

    @property
    def input_shape(self):
        """Shape of the input that is perturbed; empty where none is."""
        x = self.example(1)
        return () if x is None else tuple(x.shape[1:])

    @property
    def has_floating_inputs(self):
        """Return whether there is something that a perturbation can be added to, of one size."""
        x = self.example(1)
        return x is not None and x.is_floating_point() and not self.inputs.is_ragged

    def through(self, module):
        """Return the same problem with another module in the network's place."""
        backbone = copy.copy(self.backbone)
        backbone.module = module
        return replace(self, backbone=backbone)

    def behind(self, perturbation):
        """Return the problem on inputs as a perturbation leaves them, which stays as it is."""
        backbone = copy.copy(self.backbone)
        backbone.before = perturbation if backbone.before is None else nn.Sequential(backbone.before, perturbation)
        return replace(self, backbone=backbone)

    def among_observed(self):
        """The same problem as if the network had the classes that have samples alone."""
        if self.observed is None:
            return self
        absent = torch.from_numpy(~self.observed)
        backbone = copy.copy(self.backbone)
        backbone.module = copy.copy(backbone.module)
        backbone.module.absent = absent.to(backbone.device)
        # Samples, and places, without weight may be of these classes.
        y_encoded = self.y_encoded
        known = int(self.observed.argmax())
        y_encoded = torch.where(absent.to(y_encoded.device)[y_encoded] & (y_encoded >= 0), known, y_encoded)
        logits = without_absent(self.logits, absent)
        return replace(self, backbone=backbone, y_encoded=y_encoded, logits=logits, observed=None)

    def example(self, n_samples=_N_EXAMPLES):
        """Return a few of this process's inputs that are perturbed, as the network takes them."""
        return self.example_batch(n_samples)[0]

    def example_batch(self, n_samples=None):
        """Return a few inputs, by default no more than a batch has, and what the network takes with them by name."""
        few = self.inputs.take(np.arange(min(n_samples or _N_EXAMPLES, len(self.inputs))))
        batch, _ = next(iter(few.batches(n_samples)))
        return self.backbone.to_device(batch)


def check_differentiable(problem):
    """Raise unless the network's logits depend on its inputs through operations that have a gradient."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "fit must be called outside of torch.inference_mode(), in which there are no gradients: clamping needs "
            "those with respect to X. Within torch.no_grad() it has them"
        )
    x, others = problem.example_batch()
    if not problem.has_floating_inputs:
        if x is not None and x.is_floating_point():
            problem.inputs.check_one_size()
        raise TypeError(
            "X must hold floating-point inputs: a perturbation can't be added to "
            f"{'integers' if x is None else x.dtype}. Clamp the features, perturbation='norm'; give the network's "
            "embeddings; or use TemperatureScaling"
        )
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = problem.backbone.module(x, **others)
        # Distinct weights: the plain sum of logits may be constant by design.
        value = (logits.movedim(1, -1) * torch.arange(1, logits.shape[1] + 1, device=logits.device)).sum()
        gradient = torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None
    # A network that answers the same whatever it is given has no other gradient: it gains nothing, and is no mistake.
    if gradient is None or (not gradient.any() and (logits != logits[:1]).any()):
        raise ValueError(
            "the network's output must depend on its input through differentiable operations: the gradient of the "
            f"logits with respect to X is {'missing' if gradient is None else 'zero'}. Use TemperatureScaling; or "
            "clamp the network as it was before it was quantised or optimised for inference, without "
            "torch.inference_mode() or torch.no_grad() in its forward"
        )


def with_norm_layers(problem):
    """The same problem, and which normalisation layers of its network can be clamped."""
    last = min(_N_EXAMPLES, len(problem.inputs)) - 1
    # Neighbours may be alike, or blank.
    probes = problem.inputs.take(np.unique([0, last // 2, last]))
    x, others = replace(problem, inputs=probes).example_batch()
    found = find_norm_layers(problem.backbone.module, x, others) if last else None
    # What all processes that have samples to tell find, in one order.
    told = [each for each in problem.shard.ranks.all_gather_object(found) if each is not None]
    layers = [layer for layer in told[0][0] if all(layer in other for other, _ in told)] if told else []
    left_out = {name: why.value for _, reasons in told for name, why in reasons.items()}
    return replace(problem, norm_layers=layers, layers_left_out=left_out)


def on_private_copies(problem):
    """The same problem on a network that nobody else runs meanwhile; it shares its weights with the user's."""
    return problem.through(private_copy(problem.backbone.module))


def without_compiler(problem):
    """The same problem on a network bare of what compiles it, which would do so once more for its way back."""
    head = problem.backbone.module
    if is_spread(head.module):
        return problem
    return problem.through(LogitsModule(unwrapped(head.module), **head.reading))
