"""The focal loss of logits, as a function and as a module; cross-entropy is its case gamma=0."""

import math

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["FocalLoss", "focal_loss"]

REDUCTIONS = ("mean", "sum", "none")

# Places of a sample, such as the pixels of an image, agree with their neighbours: more of them tell as much as so many.
_MOST_PLACES = 16
# A mean over samples without a label would count them: they are refused at any gamma.
_NONE = torch.iinfo(torch.int64).min


def share_of_places(n_places):
    """Return what a place counts as, of so many of a sample: neighbours agree, and a sample is no more than 16 of them.

    A constant: a weight that the samples themselves told would follow their noise.
    """
    return min(1.0, _MOST_PLACES / n_places)


def focal_loss(logits, target, *, gamma=0.0, eps=0.0, sample_weight=None, reduction="mean"):
    """Focal loss ``-(1 - p_y)^gamma * log p_y`` with ``p = softmax(logits)``.

    It is computed from the margin between a sample's own logit and the log-sum-exp of the others, so that both factors
    and all gradients stay finite where ``p_y`` rounds to 0 or 1, fractional ``gamma`` included.

    Parameters
    ----------
    logits : torch.Tensor of shape (n_samples, n_classes)
        Unnormalised log-probabilities of a floating-point dtype, at least two classes. Or (n_samples, n_classes,
        n_places), a softmax at each place of a sample.
    target : torch.Tensor of shape (n_samples,), (n_samples, n_labels) or (n_samples, n_places), dtype int64
        Column index of each sample's class. Or 0, 1, or -1 where it isn't known, for each of several labels that don't
        exclude each other. ``p_y`` is then that of all labels of a sample together, by independent sigmoids. Or the
        column index, or -1, at each place. More than 16 places count as 16 together. Of labels there, of the shape of
        the logits.
    gamma : float, default=0.0
        Focusing parameter, at least 0. At 0 the loss is exactly the cross-entropy.
    eps : float, default=0.0
        Clip ``p_y`` to [eps, 1 - eps], beyond which there is no gradient. The reference implementation of neural
        clamping does so at 1e-7; 0 is exact.
    sample_weight : torch.Tensor of shape (n_samples,), default=None
        Weights; the mean is then ``sum(w * loss) / sum(w)``.
    reduction : {"mean", "sum", "none"}, default="mean"
        How the samples' losses are put together.

    Returns
    -------
    torch.Tensor
        A scalar, or shape (n_samples,) with ``reduction="none"``.

    Raises
    ------
    ValueError
        If `gamma` is negative or not finite, `eps` outside [0, 0.5), `reduction` unknown, `logits` not of shape
        (n_samples, n_classes >= 2), or if `target` or `sample_weight` doesn't have one value per sample.

    References
    ----------
    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4; J. Mukhoti et al., "Calibrating
    Deep Neural Networks using Focal Loss", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from skclamp.losses import focal_loss
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> target = torch.tensor([0, 0])
    >>> round(focal_loss(logits, target).item(), 4)
    0.7201
    >>> round(focal_loss(logits, target, gamma=2.0).item(), 4)
    0.3518
    """
    _check_parameters(gamma, eps, reduction)
    _check_shapes(logits, target, sample_weight)
    if gamma == eps == 0 and target.ndim > 1:
        loss = -log_likelihood_of_sample(logits, target)
    elif gamma == eps == 0:
        loss = F.cross_entropy(logits, target, reduction="none", ignore_index=_NONE)
    else:
        loss = focal_of_margin(margin_of(logits, target), gamma, eps)
    if sample_weight is not None:
        loss = loss * sample_weight
    if reduction == "mean":
        return loss.sum() / (len(loss) if sample_weight is None else sample_weight.sum())
    return loss.sum() if reduction == "sum" else loss


def log_likelihood_of_sample(logits, target):
    """Log-probability of all known labels, or classes of places, of each sample together, as if they were independent.

    More than 16 places count as 16.
    """
    if target.ndim < logits.ndim:
        target = target.masked_fill(target < 0, _NONE)
        of_rows = -F.cross_entropy(logits, target, reduction="none", ignore_index=_NONE)
    else:
        of_rows = F.logsigmoid((2 * target - 1).to(logits) * logits)
    together = (of_rows * (target >= 0)).flatten(1).sum(1)
    return together if logits.ndim == 2 else together * share_of_places(logits.shape[2])


def margin_of(logits, target):
    """Log-odds of each sample's own class, its logit less the log-sum-exp of all the others; or of all that it has."""
    if target.ndim > 1:
        # A sample without a label, or a sure one, has next to no loss.
        together = log_likelihood_of_sample(logits, target).clamp(max=-torch.finfo(logits.dtype).tiny)
        return together - torch.log(-torch.expm1(together))
    column = target.unsqueeze(1)
    own = logits.gather(1, column).squeeze(1)
    rest = logits.scatter(1, column, -torch.inf)
    # Where the others are all of -inf, as those of classes that a sample doesn't have, nothing has a gradient.
    alone = torch.isneginf(rest.detach().amax(1, keepdim=True))
    return own - rest.masked_fill(alone, torch.finfo(rest.dtype).min).logsumexp(1)


def focal_of_margin(margin, gamma, eps=0.0):
    """Focal loss of samples whose label has the probability ``sigmoid(margin)``."""
    if eps:
        bound = math.log1p(-eps) - math.log(eps)
        margin = margin.clamp(-bound, bound)
    return -torch.exp(gamma * F.logsigmoid(-margin)) * F.logsigmoid(margin)


class FocalLoss(nn.Module):
    """Focal loss as a criterion for training loops, skorch's among them.

    Parameters
    ----------
    gamma : float, default=0.0
        Focusing parameter, at least 0. At 0 the loss is exactly the cross-entropy.
    reduction : {"mean", "sum", "none"}, default="mean"
        How the samples' losses are put together.
    eps : float, default=0.0
        Clip ``p_y`` to [eps, 1 - eps]; 0 is exact.

    Raises
    ------
    ValueError
        If `gamma` is negative or not finite, `eps` outside [0, 0.5), or `reduction` unknown.

    See Also
    --------
    focal_loss : The function, with sample weights and the sources.

    Examples
    --------
    >>> import torch
    >>> from skclamp.losses import FocalLoss
    >>> criterion = FocalLoss(gamma=1.0)
    >>> criterion
    FocalLoss(gamma=1.0, reduction='mean', eps=0.0)
    >>> round(criterion(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.0151
    """

    def __init__(self, gamma=0.0, reduction="mean", eps=0.0):
        super().__init__()
        _check_parameters(gamma, eps, reduction)
        self.gamma = gamma
        self.reduction = reduction
        self.eps = eps

    def forward(self, logits, target, sample_weight=None):
        """Loss of `logits` (n_samples, n_classes) for `target` (n_samples,); see :func:`focal_loss`."""
        return focal_loss(
            logits, target, gamma=self.gamma, eps=self.eps, sample_weight=sample_weight, reduction=self.reduction
        )

    def extra_repr(self):
        """Parameters shown by ``repr``."""
        return f"gamma={self.gamma}, reduction={self.reduction!r}, eps={self.eps}"


def _check_parameters(gamma, eps, reduction):
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma must be a finite number >= 0, got {gamma!r}")
    if not 0 <= eps < 0.5:
        raise ValueError(f"eps must be in [0, 0.5), got {eps!r}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}")


def _check_shapes(logits, target, sample_weight):
    if logits.ndim not in (2, 3) or logits.shape[1] < 2:
        raise ValueError(f"logits must have shape (n_samples, n_classes >= 2), got {tuple(logits.shape)}")
    # Of labels the target has the logits' own shape.
    of_target = logits.shape if target.shape == logits.shape else logits.shape[::2]
    for name, values, shape in (("target", target, of_target), ("sample_weight", sample_weight, logits.shape[:1])):
        if values is not None and values.shape != shape:
            each = "sample" if len(shape) == 1 else "place"
            raise ValueError(f"{name} must have shape {tuple(shape)}, one value per {each}, got {tuple(values.shape)}")
