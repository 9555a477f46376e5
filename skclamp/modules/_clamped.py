"""ClampedModule: perturbation, frozen network and temperature as one module."""

import copy
from contextlib import nullcontext

import torch
from torch import nn

from .._utils.arrays import absent_again, absent_among, at_least_single, without
from .._utils.parameters import check_choice
from ..perturbations._families import shown
from ..perturbations._norm import NormPerturbation, changes_inputs, norm_part
from ._frozen import evaluating, frozen
from ._logits import RESPONSES, LogitsModule, seen_by_exporters
from ._norm_layers import with_features_clamped
from ._unwrap import unwrapped
from ._weight_absorption import check_the_same, example_of, input_shape, take_on


def _shares(views, weights):
    """The weights of some views, equal where there are none."""
    if views is None and weights is None:
        return None
    n_views = len(views or ())
    shares = torch.full((n_views,), 1 / max(1, n_views)) if weights is None else torch.as_tensor(weights)
    if n_views == 0 or shares.shape != (n_views,):
        raise ValueError(
            f"view_weights must be one for each of at least one view; got {tuple(shares.shape)} for {n_views} views"
        )
    return shares


def weighted_sum(logits, weights):
    """The sum of several views' logits, each times its weight, in float32 at the least."""
    parts = (part.to(at_least_single(part)) for part in logits)
    return sum(weight * part for part, weight in zip(parts, weights, strict=True))


class ClampedModule(nn.Module):
    """Neural clamping: ``f(perturbation(x)) / T``, with f frozen.

    With views it is ``sum_v a_v f(view_v(perturbation(x))) / T``: the network runs once for each, one after the other.

    An ordinary module that yields calibrated logits; softmax turns them into calibrated probabilities. It shares the
    weights of the network it is given. Call ``eval`` before use, as with any module: the shared network goes into eval
    mode with it. ``train`` leaves the network there, since a batch norm that learns or a dropout that draws would undo
    the calibration. A network that is in train mode all the same is held in eval mode during each pass, unless it is
    compiled or exported, and its flags are given back.

    Features are clamped at no cost, for normalisation layers take this on: where the perturbation has a
    `NormPerturbation`, the module holds a copy of the network, in eval mode, whose layers have weights and biases of
    their own, from those that the network had at that time. All other tensors are the network's.

    Parameters
    ----------
    backbone : torch.nn.Module
        The network f, which takes a batch of inputs and yields logits (as `LogitsModule` understands them).
    perturbation : torch.nn.Module, default=None
        Transform of a batch of inputs; None leaves them as they are. A `NormPerturbation`, by itself or last in a
        torch.nn.Sequential, acts on features instead.
    temperature : float, default=1.0
        T > 0, which divides the logits.
    response : {"logits", "probabilities"}, default="logits"
        What the network yields. Probabilities become logits by their logarithm; each below 2.2e-16 counts as that.
    output : callable, default=None
        Takes the logits, in float64, to calibrated ones in place of the temperature.
    input_key : str, default=None
        Of a network that takes several inputs by name, the one that is perturbed. The module takes them as the network
        does, ``module(**inputs)``, or this one without its name.
    views : list of torch.nn.Module, default=None
        Modules through which the network sees each perturbed batch. None is the batch itself.
    view_weights : array-like of shape (n_views,), default=None
        Shares a of the views' logits. None is equal shares.

    Attributes
    ----------
    temperature : torch.nn.Parameter
        The scalar T.

    Raises
    ------
    ValueError
        If `temperature` isn't positive or `response` is unknown; if `view_weights` aren't one for each view; if the
        network lacks a layer that is clamped.

    References
    ----------
    Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for Neural
    Network Calibration", TMLR 2024, equation 5.

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import ClampedModule
    >>> network = torch.nn.Linear(3, 4)
    >>> module = ClampedModule(network, temperature=2.0)
    >>> x = torch.ones(2, 3)
    >>> torch.equal(module(x), network(x) / 2.0)
    True
    """

    view_weights: torch.Tensor
    # Whether what `output` yields in float64 comes in the precision of the network.
    rounds = True

    def __init__(
        self,
        backbone,
        perturbation=None,
        *,
        temperature=1.0,
        response="logits",
        output=None,
        input_key=None,
        views=None,
        view_weights=None,
    ):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        check_choice(response, "response", RESPONSES)
        if not isinstance(backbone, LogitsModule):
            backbone = LogitsModule(backbone, response=response, input_key=input_key)
        norm = norm_part(perturbation)
        if norm is not None and sum(isinstance(part, NormPerturbation) for part in perturbation.modules()) > 1:
            raise ValueError("perturbation must have one NormPerturbation at the most, for each layer takes on one")
        self.logits = backbone if norm is None else with_features_clamped(backbone, norm).eval()
        self.perturbation = nn.Identity() if perturbation is None else perturbation
        self.output = output
        place = next((p for p in backbone.parameters() if p.is_floating_point()), torch.empty(0))
        dtype = at_least_single(place)
        self.temperature = nn.Parameter(torch.tensor(float(temperature), dtype=dtype, device=place.device))
        self.views: nn.ModuleList | None = None if views is None else nn.ModuleList(views).eval()
        shares = _shares(views, view_weights)
        self.register_buffer("view_weights", None if shares is None else shares.to(self.temperature))

    def extra_repr(self):
        views = "" if self.views is None else f", view_weights={shown(self.view_weights)}"
        return f"temperature={shown(self.temperature)}{views}"

    @seen_by_exporters
    def forward(self, x=None, /, **others):
        """Calibrated logits of shape (n_samples, n_classes); `others` go to the network by name."""
        # Without a name of the network's, the input that comes first may be called x.
        key = self.logits.input_key or "x"
        if x is None and key in others:
            x = others.pop(key)
        if x is None and (self.views is not None or changes_inputs(self.perturbation)):
            raise TypeError(f"the input that is perturbed must come first, or by its name, input_key={key!r}")
        logits = self.averaged_logits(x, **others)
        if self.output is not None:
            calibrated = self.output(logits.double())
            return calibrated.to(at_least_single(logits)) if self.rounds else calibrated
        # With an axis of its own, a float32 T promotes logits of half precision; a scalar would be rounded to theirs.
        # What T does to logits of -inf is nothing, and no number: it would have no gradient.
        absent = absent_among(logits) if self.training else None
        return absent_again(without(logits, absent) / self.temperature.reshape(1), absent)

    def averaged_logits(self, x=None, /, **others):
        """The network's logits of a perturbed batch, averaged over the views: what T divides.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, ...), default=None
            The input that is perturbed; None where none is, and all have names.
        **others : torch.Tensor
            What the network takes with it by name.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_classes)
            What the calibrator's `transform_logits` takes.
        """
        x = None if x is None else self.perturbation(x).to(x.dtype)
        # Whoever compiles or exports has it in the mode that is wanted.
        with nullcontext() if torch.compiler.is_compiling() else evaluating(self.logits):
            if self.views is None:
                return self.logits(x, **others)
            viewed = (self.logits.seen_through(view, x, **others) for view in self.views)
            return weighted_sum(viewed, self.view_weights.unbind())

    def fold(self, x=None):
        """An equivalent module that perturbs nothing: a copy of the network with other weights, and T behind it.

        The first layer takes on the perturbation, where it can do so exactly: a linear layer any of the families but
        "curve". A convolution "channel", "affine" and "color", unless it pads with zeros what these shift. The layers
        whose features are clamped have taken that on already.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, ...), default=None
            A few inputs, on which the result is tried. None are random ones, of the shape that the perturbation knows.

        Returns
        -------
        ClampedModule
            Yields calibrated logits. It is in eval mode and should stay there.

        Raises
        ------
        ValueError
            If no layer can take the perturbation exactly, or there are views; the message says why.

        Examples
        --------
        >>> import torch
        >>> from skclamp.modules import ClampedModule
        >>> from skclamp.perturbations import AffinePerturbation
        >>> network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
        >>> module = ClampedModule(network, AffinePerturbation((3,)), temperature=2.0).eval()
        >>> x = torch.ones(2, 3)
        >>> torch.allclose(module.fold()(x), module(x), atol=1e-6)
        True
        """
        head = self.logits
        if head.input_key is not None and changes_inputs(self.perturbation):
            raise ValueError(f"fold needs a network whose only input has no name; got one that takes {head.input_key}")
        if self.views is not None:
            raise ValueError(
                "fold needs a module without views, since a network with other weights makes a single pass over the "
                f"inputs as they are; got {len(self.views)} views"
            )
        head = LogitsModule(copy.deepcopy(unwrapped(head.module)), **head.reading).eval()
        take_on(head, self.perturbation)
        shape = input_shape(self.perturbation)
        if x is None and shape is not None:
            x = example_of(head, shape)
        folded = ClampedModule(head, temperature=self.temperature.item(), output=self.output).eval()
        if x is not None:
            with frozen(self.logits):
                check_the_same(self, folded, x)
        return folded

    def train(self, mode=True):
        """Set the mode of the perturbation; the network stays in eval mode."""
        self.training = mode
        self.perturbation.train(mode)
        for part in (self.logits, self.views, self.output):
            if isinstance(part, nn.Module):
                part.eval()
        return self
