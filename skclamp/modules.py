"""The calibrated network as a torch module: perturbation, frozen backbone, temperature.

`ClampedModule` is what a user deploys. `LogitsModule` turns whatever a network returns into logits, `as_module` makes a
network of a scikit-learn classifier, and `frozen` holds a network still while others work around it.
"""

import copy
import threading
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import nn

from ._classifier_modules import as_module
from ._fold import check_the_same, divide_outputs, input_shape, take_on
from ._least_probability import log_of
from ._wrappers import unwrapped

__all__ = ["ClampedModule", "LogitsModule", "as_module", "frozen", "logits_from"]

RESPONSES = ("logits", "probabilities")


@contextmanager
def frozen(module):
    """Hold a network in eval mode with weights that take no gradient; give back every flag as it was.

    Parameters
    ----------
    module : torch.nn.Module
        The user's network. Nothing of it but its flags is touched, and these are restored even when the body raises.

    Yields
    ------
    torch.nn.Module
        The network itself.

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import frozen
    >>> network = torch.nn.Linear(3, 4)
    >>> with frozen(network):
    ...     network.training, network.weight.requires_grad
    (False, False)
    >>> network.training, network.weight.requires_grad
    (True, True)
    """
    network = module.module if isinstance(module, LogitsModule) else module
    held = _hold(network)
    try:
        yield module
    finally:
        _release(held)


@dataclass
class _Held:
    """A part of a network, or a parameter, that is held still; its flag before, and how many hold it."""

    thing: nn.Module | nn.Parameter
    flag: bool
    n_holders: int = 0


# Threads whose networks have parts in common hold these together: the last to leave gives their flags back.
_HELD: dict[int, _Held] = {}
_LOCK = threading.RLock()


def _hold(network):
    """Have each part in eval mode and each parameter without gradient; the list of them."""
    # What torch.jit.freeze made has no mode.
    parts = [part for part in network.modules() if hasattr(part, "training")]
    parameters = list(network.parameters())
    with _LOCK:
        for thing, flag in [*((p, p.training) for p in parts), *((p, p.requires_grad) for p in parameters)]:
            _HELD.setdefault(id(thing), _Held(thing, flag)).n_holders += 1
        if parts:
            _set_mode(network, False)
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.requires_grad_(False)
    return [*parts, *parameters]


def _release(things):
    """Give back the flags of what nobody else holds."""
    with _LOCK:
        for thing in things:
            held = _HELD[id(thing)]
            held.n_holders -= 1
            if not held.n_holders:
                del _HELD[id(thing)]
                if isinstance(thing, nn.Module):
                    thing.training = held.flag
                elif held.flag:
                    thing.requires_grad_(True)


def _private_copy(head):
    """A copy of a head around a copy of its network in eval mode, whose weights take gradients as nobody held them."""
    network = unwrapped(head.module)
    with _LOCK:
        copied = copy.deepcopy(network)
        for twin, parameter in zip(copied.parameters(), network.parameters(), strict=True):
            if id(parameter) in _HELD:
                twin.requires_grad_(_HELD[id(parameter)].flag)
    return LogitsModule(copied, **head.reading).eval()


def _set_mode(network, mode):
    """As the network's own ``train``; one that torch.export made stays in the mode that it was exported in."""
    with suppress(NotImplementedError):
        network.train(mode)


class LogitsModule(nn.Module):
    """A network whose output is a matrix of logits, whatever the wrapped one returns.

    Parameters
    ----------
    module : torch.nn.Module
        Returns a tensor, an object or mapping with ``logits``, or a tuple, list or mapping of which `output_key` says
        what to take. A column or a vector is a sigmoid head: the second of two classes.
    response : {"logits", "probabilities"}, default="logits"
        What the tensor holds, after the nonlinearity.
    nonlinearity : callable, default=None
        Applied to the network's output first, as skorch's ``predict_nonlinearity``.
    input_key : str, default=None
        The name under which the network takes the input that comes without one; None is its first argument.
    output_key : int or str, default=None
        The item of a tuple or list, by its place, or of a mapping or object, by its name, that holds the logits. None
        is ``logits`` where there are such, else the first item; where others could be meant, ``fit`` warns.

    Attributes
    ----------
    guessed : str or None
        What was taken in the last ``forward`` of what the network returned, where others could be meant.

    Raises
    ------
    TypeError
        In ``forward``, if the output, or the item of it that is taken, is no floating-point tensor.
    ValueError
        In ``forward``, if that tensor is neither (n_samples, n_classes), (n_samples, 1) nor (n_samples,).

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import LogitsModule
    >>> head = LogitsModule(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Sigmoid()), response="probabilities")
    >>> head(torch.zeros(2, 3)).shape
    torch.Size([2, 2])

    Of a network that returns features and logits, the second item:

    >>> class Returns(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x, x[:, :2]
    >>> LogitsModule(Returns(), output_key=1)(torch.zeros(4, 3)).shape
    torch.Size([4, 2])
    """

    # Of modules that were pickled before.
    guessed = None

    def __init__(self, module, *, response="logits", nonlinearity=None, input_key=None, output_key=None):
        super().__init__()
        self.module = module
        self.response = response
        self.nonlinearity = nonlinearity
        self.input_key = input_key
        self.output_key = output_key
        self.guessed = None

    @property
    def reading(self):
        """How the network is read: the arguments beside it, a dict."""
        return {name: getattr(self, name) for name in ("response", "nonlinearity", "input_key", "output_key")}

    def train(self, mode=True):
        """Set the mode, of the network as well where it can be set."""
        self.training = mode
        _set_mode(self.module, mode)
        return self

    def forward(self, x=None, /, **others):
        """Logits of shape (n_samples, n_classes); `others` go to the network by name, "x" among them."""
        first = [] if x is None else [x]
        if first and self.input_key is not None:
            first, others = [], {self.input_key: x, **others}
        one = next(iter([*first, *others.values()]))
        output = self.module(*map(_copied, first), **{name: _copied(each) for name, each in others.items()})
        output = self._taken_from(output)
        if self.nonlinearity is not None:
            output = self.nonlinearity(output)
        # An exporter traces a shape where it takes a length for a constant.
        return logits_from(output, self.response, n_samples=one.shape[0])

    def _taken_from(self, output):
        if self.output_key is not None:
            return check_floating(_item(output, self.output_key))
        taken, guess = _tensor_in(output)
        # Compilers and exporters record what happens to tensors, and nothing else.
        if guess != self.guessed and not torch.compiler.is_compiling():
            self.guessed = guess
        return taken


def _item(output, key):
    """An item by its place, or one by its name."""
    try:
        return getattr(output, key) if isinstance(key, str) and hasattr(output, key) else output[key]
    except (LookupError, TypeError) as error:
        raise TypeError(
            f"output_key must be an item of what the network returns; got {key!r}, but it returns {_shown(output)}"
        ) from error


def _copied(value):
    """What a network may overwrite: its first operation may work in place, on the user's own memory or on a leaf."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def _tensor_in(output):
    """The tensor that is taken where nobody said which, and what it is where others could be meant, else None."""
    guess = None
    if isinstance(output, torch.Tensor):
        taken = output
    elif isinstance(output, Mapping) and "logits" in output:
        taken = output["logits"]
    elif hasattr(output, "logits"):
        taken = output.logits
    elif isinstance(output, Mapping) and output:
        name, taken = next(iter(output.items()))
        guess = f"the entry {name!r} of {_shown(output)}"
    elif isinstance(output, (tuple, list)) and output:
        taken = output[0]
        if sum(isinstance(item, torch.Tensor) and item.is_floating_point() for item in output) > 1:
            guess = f"item 0 of {_shown(output)}"
    else:
        taken = output
    return check_floating(taken), guess


def _shown(output):
    if isinstance(output, Mapping):
        return f"a mapping with {', '.join(map(repr, output))}"
    sized = isinstance(output, (tuple, list))
    return f"a {type(output).__name__} of {len(output)} items" if sized else f"a {type(output).__name__}"


def check_floating(output):
    """Raise unless what is taken for a network's logits is a floating-point tensor."""
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        found = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise TypeError(
            "the network must return floating-point logits: a tensor, an object or mapping with `logits`, or a tuple "
            f"or mapping whose first item is one, unless LogitsModule's output_key names another; got {found}"
        )
    return output


def logits_from(scores, response, *, n_samples):
    """Logits of shape (n, K) from logits or probabilities of shape (n, K), (n, 1) or (n,).

    Parameters
    ----------
    scores : torch.Tensor
        One row a sample; a vector or single column speaks of the second of two classes.
    response : {"logits", "probabilities"}
        What `scores` holds. A probability below 2.2e-16, float64's epsilon, counts as that.
    n_samples : int
        How many rows there must be.

    Returns
    -------
    torch.Tensor of shape (n_samples, n_classes)
        One column a class, two where the scores had one.

    Raises
    ------
    ValueError
        If the shape is another.

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import logits_from
    >>> logits_from(torch.tensor([2.0, -1.0]), "logits", n_samples=2)
    tensor([[ 0.,  2.],
            [ 0., -1.]])
    """
    if scores.ndim not in (1, 2) or scores.shape[0] != n_samples:
        raise ValueError(
            f"the network must return one row of class scores a sample, shape ({n_samples}, n_classes); got shape "
            f"{tuple(scores.shape)}. Segmentation and other dense outputs aren't supported"
        )
    if scores.ndim == 1 or scores.shape[1] == 1:
        score = scores.reshape(n_samples)
        other = torch.zeros_like(score) if response == "logits" else 1 - score
        scores = torch.stack((other, score), 1)
    return scores if response == "logits" else log_of(scores)


class ClampedModule(nn.Module):
    """Neural clamping: ``f(perturbation(x)) / T``, with f frozen.

    An ordinary module that yields calibrated logits; softmax turns them into calibrated probabilities. It shares the
    weights of the network it is given. Call ``eval`` before use, as with any module: the shared network goes into eval
    mode with it. ``train`` leaves the network there, since a batch norm that learns or a dropout that draws would undo
    the calibration.

    Parameters
    ----------
    backbone : torch.nn.Module
        The network f, which takes a batch of inputs and yields logits (as `LogitsModule` understands them).
    perturbation : torch.nn.Module, default=None
        Transform of a batch of inputs; None leaves them as they are.
    temperature : float, default=1.0
        T > 0, which divides the logits.
    response : {"logits", "probabilities"}, default="logits"
        What the network yields. Probabilities become logits by their logarithm; each below 2.2e-16 counts as that.
    output : callable, default=None
        Takes the logits, in float64, to calibrated ones in place of the temperature.
    input_key : str, default=None
        Of a network that takes several inputs by name, the one that is perturbed. The module takes them as the network
        does, ``module(**inputs)``, or this one without its name.

    Attributes
    ----------
    temperature : torch.nn.Parameter
        The scalar T.

    Raises
    ------
    ValueError
        If `temperature` isn't positive or `response` is unknown.

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

    def __init__(self, backbone, perturbation=None, *, temperature=1.0, response="logits", output=None, input_key=None):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        if response not in RESPONSES:
            raise ValueError(f"response must be one of {RESPONSES}; got {response!r}")
        if not isinstance(backbone, LogitsModule):
            backbone = LogitsModule(backbone, response=response, input_key=input_key)
        self.logits = backbone
        self.perturbation = nn.Identity() if perturbation is None else perturbation
        self.output = output
        place = next((p for p in backbone.parameters() if p.is_floating_point()), torch.empty(0))
        dtype = torch.promote_types(place.dtype, torch.float32)
        self.temperature = nn.Parameter(torch.tensor(float(temperature), dtype=dtype, device=place.device))

    def forward(self, x=None, /, **others):
        """Calibrated logits of shape (n_samples, n_classes); `others` go to the network by name."""
        # Without a name of the network's, the input that comes first may be called x.
        key = self.logits.input_key or "x"
        if x is None and key not in others:
            raise TypeError(f"the input that is perturbed must come first, or by its name, input_key={key!r}")
        x = others.pop(key) if x is None else x
        logits = self.logits(self.perturbation(x).to(x.dtype), **others)
        if self.output is not None:
            return self.output(logits.double()).to(torch.promote_types(logits.dtype, torch.float32))
        # With an axis of its own, a float32 T promotes logits of half precision; a scalar would be rounded to theirs.
        return logits / self.temperature.reshape(1)

    def fold(self):
        """An equivalent network that needs no more time than the original: a copy with other weights.

        The first layer takes on the perturbation, where it can do so exactly: a linear layer any of the families but
        "curve"; a convolution "channel", "affine" and "color", unless it pads with zeros what these shift. The last
        layer takes on the temperature where it is linear; otherwise one division remains.

        Returns
        -------
        torch.nn.Module
            Yields calibrated logits. It is in eval mode and should stay there.

        Raises
        ------
        ValueError
            If no layer can take the perturbation exactly; the message says why.

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
        head, temperature = self.logits, self.temperature.item()
        if head.input_key is not None:
            raise ValueError(f"fold needs a network whose only input has no name; got one that takes {head.input_key}")
        head = _private_copy(head)
        take_on(head, self.perturbation)
        shape = input_shape(self.perturbation)
        plain = head.response == "logits" and head.nonlinearity is None and self.output is None
        # Without a shape there is nothing to check the result on, and without a perturbation little to gain.
        folded: nn.Module
        if plain and shape is not None and divide_outputs(head, temperature, shape):
            folded = LogitsModule(head.module, output_key=head.output_key)
        else:
            folded = ClampedModule(head, temperature=temperature, output=self.output)
        if shape is not None:
            with frozen(self.logits):
                check_the_same(self, folded.eval(), shape)
        return folded.eval()

    def train(self, mode=True):
        """Set the mode of the perturbation; the network stays in eval mode."""
        self.training = mode
        self.perturbation.train(mode)
        self.logits.eval()
        if isinstance(self.output, nn.Module):
            self.output.eval()
        return self
