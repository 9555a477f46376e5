"""A frozen torch network, or a skorch net's, as a backbone: batches on its device, in eval mode, and its logits."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from .._utils.arrays import check_logit_range
from .._utils.parameters import check_number
from .._utils.progress import progress_bar
from .._utils.warnings import warn_caller
from ..exceptions import ForwardError, MemoryUseWarning
from ..modules import LogitsModule
from ..modules._clamped import weighted_sum
from ..modules._failure import is_only_input
from ..modules._frozen import evaluating
from ..modules._unwrap import unwrapped
from .backbone import Backbone, check_device, check_probabilities
from .fingerprint import Digest
from .inputs import joined_labels, open_inputs
from .scale import MAX_SAMPLES, look_at_scale, scale_of, sizes_of

# How many inputs are given to a network twice, and how far apart their logits may be, of the largest.
_N_REPEATED = 4
_SAME = 0.01
# How far other batches may move them: int8 kernels take their scale from a batch.
_SAME_IN_BATCHES = 0.1
# A text that ends in so many equal ids may be padded.
_N_PADS = 3
# Of predictions of dense outputs.
_MANY_BYTES = 4e9

# Logits that are summed up on the CPU in less time than a GPU takes to begin and to tell.
_FEW = 2**20


class NetworkBackbone(Backbone):
    """A frozen torch network, run in batches on its device.

    Parameters
    ----------
    module : LogitsModule
        The network; its response is known.
    opening : Opening
        How its inputs are read.
    classes : ndarray of shape (K,), default=None
        Names of its columns, where they are known.
    dtype : torch.dtype, default=None
        What floating-point inputs become. None is the dtype of the network's first floating-point weight.
    guesses_response : bool, default=False
        Whether nobody said that what it yields are logits.

    Attributes
    ----------
    device, dtype
        Where inputs go, the place of the network's first floating-point weight, and what floating-point inputs become.
        A network without one takes inputs as they are.
    """

    yields_logits = True
    in_batches = True
    # A few of the first inputs, and their logits, until they are compared with a second look.
    _first: tuple | None = None
    # A perturbation that stays as it is, through which the perturbed input goes before all else.
    before: nn.Module | None = None

    def __init__(self, module, opening, *, classes=None, dtype=None, guesses_response=False):
        self.module = module
        self.outputs = module.outputs
        self.classes = classes
        self.guesses_response = guesses_response
        # A skorch net may have said so itself.
        self._declared = "with response='probabilities', " if opening.response == "probabilities" else ""
        self.perturbs = opening.perturbs and not opening.inputs_stay
        self.batch_size = opening.batch_size
        self.verbose = opening.verbose
        self.device, own_dtype = place_of(module)
        self.dtype = dtype or own_dtype
        self.integer_scale = opening.integer_scale
        if isinstance(self.integer_scale, dict):
            for name, scale in self.integer_scale.items():
                check_number(scale, f"integer_scale[{name!r}]", high=None, closed="neither")

    @property
    def kept(self):
        """Return the places that are looked at; gradients are taken through the module alone, which has them."""
        return self.module.kept

    @kept.setter
    def kept(self, kept):
        self.module = copy.copy(self.module)
        self.module.kept = kept

    @property
    def _network(self):
        """Return the network itself, without what reads its outputs, the user's own too."""
        network = unwrapped(self.module.module)
        return unwrapped(network.module) if isinstance(network, LogitsModule) else network

    @property
    def likely_classes(self):
        """Return the names that a Hugging Face model's config has for the columns, in their order; None without one."""
        names = getattr(getattr(self._network, "config", None), "id2label", None)
        return None if not isinstance(names, Mapping) else np.array([str(names[k]) for k in sorted(names, key=int)])

    @property
    def guessed_item(self):
        """Name the item that is taken of what the network returns, where others could be meant."""
        for part in self.module.modules():
            if isinstance(part, LogitsModule) and part.guessed is not None:
                return part.guessed
        return None

    def puts_second(self, n_classes):
        """Return whether a last axis of so many classes is put second, as a Hugging Face model's config asks for."""
        heads = [part for part in self.module.modules() if isinstance(part, LogitsModule)]
        return any(head.nonlinearity is None and head._n_labels == n_classes for head in heads)

    def open(self, X):
        on_cpu = self.device is None or self.device.type == "cpu"
        return open_inputs(X, batch_size=self.batch_size, on_cpu=on_cpu)

    def to_device(self, batch):
        """A batch of inputs as the network takes it: the input that is perturbed, and a dict of those it takes by name.

        The first is None where all have names, and none is to be perturbed.
        """
        scale = self.integer_scale
        if isinstance(batch, torch.Tensor):
            x = self._convert(batch, None, None if isinstance(scale, dict) else scale)
            others = {}
        else:
            x, others = self._entries(batch, scale)
        if self.before is None or x is None:
            return x, others
        with torch.no_grad():
            return self.before(x).to(x.dtype), others

    def _entries(self, batch, scale):
        key = self.module.input_key
        first = next(iter(batch))
        alone = len(batch) == 1 and key in (None, first)
        has_other_name = alone and is_only_input(self._network, first)
        if has_other_name:
            # Whoever has but one input may call it as they like.
            self.module.input_key = key = None
        elif alone and self.perturbs:
            self.module.input_key = key = first
        names = ", ".join(map(repr, batch))
        if not isinstance(scale, dict):
            if scale is not None and key is None and len(batch) > 1:
                raise ValueError(
                    f"integer_scale must be a dict of scales by entry where X has several, {names}; got {scale!r}"
                )
            scale = {first if key is None else key: scale}
        elif unknown := sorted(set(scale) - {*batch, key}):
            raise ValueError(f"integer_scale must name entries of X, {names}; got {unknown[0]!r}")
        if has_other_name:
            return self._convert(batch[first], None, scale.get(first)), {}
        others = {name: self._convert(entry, name, scale.get(name)) for name, entry in batch.items()}
        if key is None and not (self.perturbs and any(entry.is_floating_point() for entry in others.values())):
            # Nothing is added to integers, such as tokens.
            return None, others
        if key not in others:
            raise ValueError(f"input_key must name the entry of X that is perturbed, one of {names}; got {key!r}")
        return others.pop(key), others

    def _convert(self, x, name, scale):
        """A tensor as the network takes it; `name` is its entry's, None where it is all of X."""
        if x.is_inference() and not torch.is_inference_mode_enabled():
            x = x.clone()
        if x.is_floating_point():
            return x.to(self.device, self.dtype or x.dtype)
        if scale is not None:
            self.scaled = True
            # As bytes they travel in less time.
            return x.to(self.device).to(self.dtype or torch.get_default_dtype()).mul_(scale)
        if name is None and x.ndim > 2:
            raise TypeError(
                f"X must hold floating-point inputs on the scale the network was trained with; got {x.dtype} of shape "
                f"{tuple(x.shape)}. State the scale of integer images, for instance integer_scale=1 / 255"
            )
        return x.to(self.device, x.dtype if x.dtype == torch.bool else torch.int64)

    def logits(self, inputs, transform=None, *, views=(), labelled=True):
        """Logits of shape (n, K), and the labels where the inputs bring them, if wanted.

        Few logits come to the CPU, in one piece: what sums them up would wait longer for a GPU than it computes. Many
        stay on the network's device. `transform` is applied there to each batch of the inputs that are perturbed.
        `views` are pairs of a module and a weight: the logits are then the weighted sum of those of each module's
        outputs, in turn.
        """
        n_samples = None if inputs.is_stream else len(inputs)
        is_short = n_samples is not None and n_samples <= inputs.batch_size
        bar = progress_bar(verbose=0 if is_short else self.verbose, total=n_samples, desc="network", unit="sample")
        out: Any = None
        parts = []
        labels: list = []
        sizes = []
        n_done = 0
        measures = self.scale is None and self.scale_of_fit is None and transform is None
        with bar, evaluating(self.module), torch.no_grad():
            for batch, y in inputs.batches():
                x, others = self.to_device(batch)
                seen = x if x is not None else next(filter(torch.is_floating_point, others.values()), None)
                if measures and n_done < MAX_SAMPLES:
                    sizes.append(sizes_of(seen))
                z = self._logits_of(x, others, transform, views, n_done)
                if z.ndim > 2:
                    z = self.at_places(z, n_samples)
                if self.places and getattr(y, "shape", ())[1:] == (1, *self.places):
                    # As masks of images with channels are.
                    y = y[:, 0]
                if self._first is None and transform is None and not views:
                    self._first = self._few(x, others, z)
                if not labels:
                    look_at_scale(seen, self.scale_of_fit)
                    out = z.new_empty(n_samples or 0, *z.shape[1:])
                    self._check_memory(out)
                if z.shape[1:] != out.shape[1:]:
                    raise ValueError(
                        "X must hold samples of one size where there is a class at each place; got batches of others. "
                        "Resize, crop or pad inputs and labels, with the label ignore_index where nothing is"
                    )
                # Copies: some networks hand out memory that they use again. Streams don't say how many are to come.
                if n_samples is None:
                    parts.append(z.clone())
                else:
                    out[n_done : n_done + len(z)] = z
                labels.append(y)
                n_done += len(z)
                bar.update(len(z))
        if not labels:
            raise ValueError("X must not be empty: Found array with 0 sample(s)")
        logits = torch.cat(parts) if parts else out[:n_done]
        if logits.numel() <= _FEW:
            logits = logits.cpu()
        if measures:
            self.scale = scale_of(sizes)
        try:
            check_logit_range(logits, "the network's output")
        except ValueError as error:
            raise OverflowedLogits(*error.args) from None
        return logits, joined_labels(labels) if labelled else None

    def _logits_of(self, x, others, transform, views, first_row):
        """Logits of a batch, whose first sample has the number `first_row`."""
        passed_on = x if x is None or transform is None else transform(x).to(x.dtype)
        if views:
            viewed = (self.module.seen_through(view, passed_on, **others) for view, _ in views)
            return weighted_sum(viewed, [weight for _, weight in views])
        output, n_samples = self.module._yielded(passed_on, **others)
        # Only of the inputs as given: what a perturbation does says nothing of the user's declaration.
        if transform is None and self.module.response == "probabilities":
            scores = output if output.ndim < 3 else output.movedim(1, -1).flatten(0, -2)
            name = f"{self._declared}the network's output for samples {first_row}, {first_row + 1}, ..."
            check_probabilities(scores, name, self.dtype, self.outputs)
        return self.module._logits_of(output, n_samples, None, passed_on)

    def _check_memory(self, logits):
        """Warn of predictions at all places that take much of it."""
        if logits.ndim > 2 and self.kept is None and logits.nbytes > _MANY_BYTES:
            warn_caller(
                f"predictions at all places take {logits.nbytes / 1e9:.1f} GB, in one array: module_ is a torch module "
                "that yields calibrated logits batch by batch",
                MemoryUseWarning,
            )

    def _few(self, x, others, logits):
        """Copies of a few inputs and of their logits."""
        # What is compiled for batches of one size would be compiled anew for another.
        compiled = unwrapped(self.module.module) is not self.module.module
        few = slice(None if compiled else _N_REPEATED)
        beside = {name: entry[few] for name, entry in others.items()}
        return None if x is None else x[few].clone(), beside, logits[few].clone()

    def as_module(self, owner):
        return self.module

    def fingerprint(self):
        return Digest().network(self.module).hex()

    def second_look(self):
        """Return "random" or "batch" where a few first inputs have other logits now, or by themselves.

        "padding" where they have others once their padding is masked; None where nothing is found. Asked once.
        """
        if not self._first:
            return None
        x, others, first = self._first
        self._first = ()
        # Deep in a network this may move so few inputs by little.
        if any(isinstance(part, _BatchNorm) and part.running_mean is None for part in self.module.modules()):
            return "batch"
        devices = [self.device] if self.device is not None and self.device.type == "cuda" else []
        # By more than the arithmetic of any device, which computes batches of another size otherwise.
        scale = (first - first.mean(1, keepdim=True)).abs().max()
        with evaluating(self.module), torch.no_grad(), torch.random.fork_rng(devices=devices):
            try:
                second = self.module(x, **others)
                moved = (first - second).abs().max()
                if not moved > _SAME * scale:
                    masked = self._without_padding(others)
                    reads = masked and (first - self.module(x, **masked)).abs().max() > _SAME * scale
                    return "padding" if reads else None
                if (second - self.module(x, **others)).abs().max() > _SAME * scale:
                    return "random"
                return "batch" if moved > _SAME_IN_BATCHES * scale else None
            except (ForwardError, TypeError):
                # Some take batches of one size alone, or no mask.
                return None

    def _without_padding(self, others):
        """Inputs whose attention mask leaves out what seems to be padding; None where nothing does.

        Of the first texts one ends in the same id, so many times and more, which is nowhere but at the ends of texts.
        """
        ids = others.get("input_ids")
        mask = others.get("attention_mask", ids)
        # Masks of other numbers may be added to scores.
        if ids is None or ids.ndim != 2 or mask.shape != ids.shape or mask.is_floating_point():
            return None
        from_end = ids.flip(1)
        ends = (from_end == from_end[:, :1]).long().cumprod(1)
        lengths = ends.sum(1)
        is_pad = from_end == from_end[lengths.argmax(), 0]
        if lengths.max() < _N_PADS or (is_pad & (ends == 0)).any():
            return None
        return {**others, "attention_mask": (~is_pad).flip(1).to(mask.dtype)}


class OverflowedLogits(ValueError):
    """A network's outputs are NaN, infinite, or too large to be computed with."""


def place_of(module):
    """Device and floating-point dtype of a network, from its first weight or buffer that has one; or None.

    ValueError if it has no weights yet.
    """
    named = [*nn.Module.named_parameters(module), *nn.Module.named_buffers(module)]
    for name, tensor in named:
        if is_lazy(tensor):
            raise ValueError(
                f"estimator must be a trained network; got one whose {name.removeprefix('module.')!r} doesn't exist "
                "yet: a lazy layer, such as LazyLinear, makes its weights on its first batch, and at random. Run a "
                "batch through the network, and load its trained weights"
            )
        if tensor.is_meta:
            raise ValueError(
                "estimator must have its weights in memory; got a network on the meta device, which has shapes alone: "
                "load its weights, with load_state_dict(..., assign=True) for instance"
            )
    for _, tensor in named:
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return named[0][1].device if named else None, None


def on_device(module, device):
    """The network itself where `device` is None or its own; else a copy there."""
    if device is None:
        return module
    device = check_device(device)
    own, _ = place_of(module)
    if own is None or (own.type == device.type and device.index in (None, own.index)):
        return module
    return copy.deepcopy(module).to(device)


def skorch_logits(net, opening):
    """A skorch net's module as a LogitsModule, with what its criterion and nonlinearity say of its output."""
    if not getattr(net, "initialized_", False):
        raise NotFittedError(
            f"estimator must be an initialised skorch net: call fit or initialize; got {type(net).__name__}. With cv, "
            "such as cv=5, clones of it are fitted"
        )
    response, nonlinearity = _response_of(net) if opening.response == "auto" else (opening.response, None)
    module = on_device(net.module_, opening.device)
    if opening.outputs == "sigmoid" and nonlinearity is single_score:
        nonlinearity = None
    return LogitsModule(
        module, response=response, nonlinearity=nonlinearity, input_key=opening.input_key, outputs=opening.outputs
    )


def _response_of(net):
    criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
    if callable(net.predict_nonlinearity):
        return "probabilities", net.predict_nonlinearity
    for kind, response, nonlinearity in _CRITERIA:
        if isinstance(criterion, kind):
            return response, nonlinearity
    raise ValueError(
        "response must be 'logits' or 'probabilities' where a skorch net's criterion and predict_nonlinearity don't "
        f"tell what its module yields; got criterion {type(criterion).__name__} and predict_nonlinearity "
        f"{net.predict_nonlinearity!r}"
    )


def single_score(output):
    """A sigmoid head's output, unless there are several: those are labels that don't exclude each other."""
    if output.ndim > 1 and (n_columns := output.shape[-1]) > 1:
        raise ValueError(
            "the network must tell exclusive classes apart where y is one label a sample; it has a binary "
            f"cross-entropy on {n_columns} columns: give y of shape (n_samples, {n_columns})"
        )
    return output


# What a module yields that was trained with each criterion.
_CRITERIA = (
    (nn.CrossEntropyLoss, "logits", None),
    (nn.NLLLoss, "probabilities", None),
    (nn.BCEWithLogitsLoss, "logits", single_score),
    (nn.BCELoss, "probabilities", single_score),
)
