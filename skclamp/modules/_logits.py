"""LogitsModule: the logits of a network, whatever it returns."""

import inspect
from collections.abc import Mapping
from contextlib import suppress

import torch
from torch import nn

from .._utils.arrays import as_rows
from .._utils.least_probability import log_of
from ._failure import told
from ._unwrap import unwrapped

RESPONSES = ("logits", "probabilities")


def set_mode(network, mode):
    """As the network's own ``train``; one that torch.export made stays in the mode that it was exported in."""
    with suppress(NotImplementedError):
        network.train(mode)


def seen_by_exporters(forward):
    """Show parameters that are positional only as others: torch 2.6 exports none of these."""
    signature = inspect.signature(forward)
    shown = [
        p.replace(kind=p.POSITIONAL_OR_KEYWORD) if p.kind is p.POSITIONAL_ONLY else p
        for p in signature.parameters.values()
    ]
    forward.__signature__ = signature.replace(parameters=shown)
    return forward


class LogitsModule(nn.Module):
    """A network whose output is a matrix of logits, whatever the wrapped one returns.

    Parameters
    ----------
    module : torch.nn.Module
        Returns a tensor, an object or mapping with ``logits``, or a tuple, list or mapping of which `output_key` says
        what to take. A column or a vector is a sigmoid head: the second of two classes. Logits of tokens,
        (n_samples, n_tokens, n_classes), get their classes second where the module's ``config.num_labels`` is the
        length of the last axis, as in Hugging Face's token classification, and no nonlinearity is given.
    response : {"logits", "probabilities"}, default="logits"
        What the tensor holds, after the nonlinearity.
    nonlinearity : callable, default=None
        Applied to the network's output first, as skorch's ``predict_nonlinearity``. It may also move axes: classes
        go second, ``functools.partial(torch.movedim, source=-1, destination=1)``.
    input_key : str, default=None
        The name under which the network takes the input that comes without one; None is its first argument.
    output_key : int or str, default=None
        The item of a tuple or list, by its place, or of a mapping or object, by its name, that holds the logits. None
        is ``logits`` where there are such, else the first item; where others could be meant, ``fit`` warns.
    outputs : {"softmax", "sigmoid"}, default="softmax"
        Whether columns are classes that exclude each other, or labels that don't.
    size : tuple of int, default=None
        The places, such as rows and columns of pixels, that logits at each place of a sample are upsampled to, linearly
        between their centres. None leaves them.
    kept : slice or ndarray of int, default=None
        Of places in one row after the other those that are returned, (n_samples, n_classes, n_kept). None is all, in
        their shape.

    Attributes
    ----------
    guessed : str or None
        What was taken in the last ``forward`` of what the network returned, where others could be meant.
    absent : torch.Tensor of shape (n_classes,), dtype bool, or None
        A mask of classes whose logits become minus infinity, as of samples that can't have them; none by default.

    Raises
    ------
    ForwardError
        In ``forward``, if the network fails on its inputs; see `skclamp.exceptions`.
    TypeError
        In ``forward``, if the output, or the item of it that is taken, is no floating-point tensor; if the network
        takes inputs by other names.
    ValueError
        In ``forward``, if that tensor is neither (n_samples, n_classes), (n_samples, 1) nor (n_samples,), nor dense,
        (n_samples, n_classes, ...).

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

    # How many classes a Hugging Face model says that it has; modules of older files lack it.
    _n_labels = None

    def __init__(
        self,
        module,
        *,
        response="logits",
        nonlinearity=None,
        input_key=None,
        output_key=None,
        outputs="softmax",
        size=None,
        kept=None,
    ):
        super().__init__()
        self.module = module
        self.response = response
        self.nonlinearity = nonlinearity
        self.input_key = input_key
        self.output_key = output_key
        self.outputs = outputs
        self.size = size
        self.kept = kept
        self.guessed = None
        self.absent = None
        self._n_labels = getattr(getattr(unwrapped(module), "config", None), "num_labels", None)

    @property
    def reading(self):
        """The arguments beside the network, a dict."""
        names = "response", "nonlinearity", "input_key", "output_key", "outputs", "size", "kept"
        return {name: getattr(self, name) for name in names}

    def train(self, mode=True):
        """Set the mode, of the network as well where it can be set."""
        self.training = mode
        set_mode(self.module, mode)
        return self

    @seen_by_exporters
    def forward(self, x=None, /, **others):
        """Logits of shape (n_samples, n_classes, ...); `others` go to the network by name, "x" among them."""
        return self.seen_through(None, x, **others)

    def seen_through(self, view, x=None, /, **others):
        """Return logits of a view of x; those at places that the view moves are moved back.

        Parameters
        ----------
        view : callable or None
            Takes x to another of its shape. Of logits at places, its method ``moved_back(logits, x)``, where it has
            one, takes them to the places of x.
        x : torch.Tensor of shape (n_samples, ...), default=None
            The input that is seen; None where all have names, and there is no view.
        **others : torch.Tensor
            What the network takes with it by name.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_classes, ...)
            As of `forward`.
        """
        output, n_samples = self._yielded(x if view is None else view(x), **others)
        return self._logits_of(output, n_samples, view, x)

    def _logits_of(self, output, n_samples, view, x):
        """Return the logits in what `_yielded` has returned, of a view of x."""
        logits = logits_from(output, self.response, n_samples=n_samples, outputs=self.outputs)
        if self.size is not None:
            if logits.ndim != 2 + len(self.size) or logits.ndim == 2:
                raise ValueError(f"size must have an axis for each of the places; got {self.size} for {logits.shape}")
            mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[logits.ndim]
            logits = nn.functional.interpolate(logits, size=tuple(self.size), mode=mode)
        if logits.ndim > 2 and hasattr(view, "moved_back"):
            logits = view.moved_back(logits, x)
        logits = logits if self.kept is None else logits.flatten(2)[:, :, self.kept]
        return logits if self.absent is None else without_absent(logits, self.absent)

    def _yielded(self, x, /, **others):
        """Return the network's output after the nonlinearity, and the number of samples."""
        first = [] if x is None else [x]
        if first and self.input_key is not None:
            first = []
            others = {self.input_key: x, **others}
        given = [*first, *others.values()]
        if not given:
            raise TypeError("LogitsModule takes the network's inputs; got none")
        # Copies: the network's first operation may work in place, on the user's own memory or on a leaf.
        copies = list(map(_copied, first))
        named = {name: _copied(value) for name, value in others.items()}
        if torch.compiler.is_compiling() or isinstance(self.module, LogitsModule):
            output = self.module(*copies, **named)
        else:
            try:
                output = self.module(*copies, **named)
            except Exception as error:
                # An error of its own says which batch it failed on.
                if (failure := told(self.module, error, first, others, self.input_key)) is error:
                    raise
                raise failure from error
        output = self._taken_from(output)
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            got = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else type(output).__name__
            raise TypeError(
                "the network must return floating-point logits: a tensor, an object or mapping with `logits`, or a "
                f"tuple or mapping whose first item is one, unless LogitsModule's output_key names another; got {got}"
            )
        if self.nonlinearity is not None:
            output = self.nonlinearity(output)
        elif output.ndim == 3 and output.shape[-1] == self._n_labels:
            output = output.movedim(-1, 1)
        # An exporter traces a shape where it takes a length for a constant.
        return output, given[0].shape[0]

    def _taken_from(self, output):
        """Return what is taken; where nobody said which, `guessed` names it if others could be meant."""
        if (key := self.output_key) is not None:
            try:
                named = isinstance(key, str) and not isinstance(output, Mapping) and hasattr(output, key)
                return getattr(output, key) if named else output[key]
            except (LookupError, TypeError) as error:
                raise TypeError(
                    f"output_key must be an item of what the network returns; got {key!r}, but it returns "
                    f"{_shown(output)}"
                ) from error
        guess = None
        if isinstance(output, Mapping) and output:
            # As Hugging Face's models and torchvision's of segmentation have it.
            known = [name for name in ("logits", "out") if name in output]
            name = next(iter(known or output))
            guess = None if known else f"the entry {name!r} of {_shown(output)}"
            output = output[name]
        elif hasattr(output, "logits"):
            output = output.logits
        elif isinstance(output, (tuple, list)) and output:
            if sum(isinstance(item, torch.Tensor) and item.is_floating_point() for item in output) > 1:
                guess = f"item 0 of {_shown(output)}"
            output = output[0]
        # Compilers and exporters record what happens to tensors, and nothing else.
        if guess != self.guessed and not torch.compiler.is_compiling():
            self.guessed = guess
        return output


def first_input(x, others):
    """Return one of a network's inputs: the one without a name or, where there is none, the first of the others."""
    return next(iter(others.values())) if x is None else x


def without_absent(logits, absent):
    """Logits (n, K, ...), minus infinity for the classes in a mask."""
    return logits.masked_fill(absent.to(logits.device).view(-1, *[1] * (logits.ndim - 2)), -torch.inf)


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


def _shown(output):
    if isinstance(output, Mapping):
        return f"a mapping with {', '.join(map(repr, output))}"
    sized = isinstance(output, (tuple, list))
    return f"a {type(output).__name__} of {len(output)} items" if sized else f"a {type(output).__name__}"


def logits_from(scores, response, *, n_samples, outputs="softmax"):
    """Logits of shape (n, K) from logits or probabilities of shape (n, K), (n, 1), (n,) or (n, K, 1, 1).

    Of dense outputs, ``(n, K, *places)`` or ``(n, 1, *places)``, they are of shape ``(n, K, *places)``.

    Parameters
    ----------
    scores : torch.Tensor
        One row per sample; a vector or single column speaks of the second of two classes.
    response : {"logits", "probabilities"}
        What `scores` holds. A probability below 2.2e-16, float64's epsilon, counts as that.
    n_samples : int
        How many rows there must be.
    outputs : {"softmax", "sigmoid"}, default="softmax"
        Whether a row is one softmax, or each column a label that excludes no other. Its logit is then log(p / (1 - p)).

    Returns
    -------
    torch.Tensor of shape (n_samples, n_classes)
        One column per class, two where the scores had one.

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
    if scores.ndim > 2:
        scores = as_rows(scores)
    if not scores.ndim or scores.shape[0] != n_samples:
        looks_single = scores.ndim == 2 and len(scores) == 1 and n_samples <= 4
        single = ": X[None] makes a batch of a single image" if looks_single else ""
        raise ValueError(
            f"the network must return one row of class scores per sample, shape ({n_samples}, n_classes), or scores at "
            f"each place, ({n_samples}, n_classes, *places); got shape {tuple(scores.shape)}{single}"
        )
    if outputs == "sigmoid" and scores.ndim >= 2:
        return scores if response == "logits" else log_of(scores) - log_of(1 - scores)
    if scores.ndim == 1 or scores.shape[1] == 1:
        score = scores.reshape(n_samples, *scores.shape[2:])
        other = torch.zeros_like(score) if response == "logits" else 1 - score
        scores = torch.stack((other, score), 1)
    return scores if response == "logits" else log_of(scores)
