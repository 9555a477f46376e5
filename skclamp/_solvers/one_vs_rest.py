"""The solver of the one-vs-rest maps: a small logistic regression for each class, many of them at once."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from .._utils.warnings import note_unconverged
from .newton import chunks_of, joined, logistic, newton
from .softmax_regression import Solution

# Too weak to be seen where data speak; keeps the optimum finite where they don't.
_RIDGE = 1e-6
# Of Platt's smoothing beside a ridge, as in the prior of temperature scaling: of flawless samples, which call for ever
# steeper scores, the ridge alone holds too little.
_PART_BESIDE_RIDGE = 0.25
_TOLERANCE = 1e-10


def log_odds_terms(logits):
    """Log p and log(1 - p) of each class's probability, exact where p is next to 1 too."""
    log_p = torch.log_softmax(logits, 1)
    top = log_p.argmax(1, keepdim=True)
    others = log_p.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    return log_p, torch.log1p(-log_p.exp()).scatter_(1, top, others)


def scores_of(parameters, terms):
    """``sum_j coef_jk terms_jk + intercept_k``, of parameters as `fit_one_vs_rest` has them."""
    *coefs, score = (torch.as_tensor(values).to(terms[0]) for values in parameters)
    for coef, term in zip(coefs, terms, strict=True):
        score = torch.addcmul(score, coef, term)
    return score


def fit_one_vs_rest(terms, y, weight, *, ridge, monotone):
    """Coefficients of ``sigmoid(sum_j coef_jk terms_jk + intercept_k)``, the probability that y is class k.

    The targets are those of `smoothed`: Platt's, or beside a ridge a quarter of the way to them.

    Parameters
    ----------
    terms : list of tensors of shape (n_samples, n_classes), float64
        A coefficient of 1 for each, without intercept, is where the search starts.
    y, weight : tensors of shape (n_samples,)
        Column indices of the labels, and non-negative weights with a positive sum.
    ridge : float
        Beside each class's mean loss, the strength of what draws its parameters to the start.
    monotone : bool
        No coefficient of a term below 0.

    Returns
    -------
    Solution
        Its parameters of shape (len(terms) + 1, n_classes), the intercepts last.
    """
    n_samples, n_classes = terms[0].shape
    y = y.to(terms[0].device)
    weight = weight.to(terms[0])

    def fit(classes):
        x = torch.stack([*(term[:, classes].T for term in terms), torch.ones_like(terms[0][:, classes]).T], 1)
        target = smoothed(y == classes.to(y)[:, None], weight, 1.0 if ridge is None else _PART_BESIDE_RIDGE)
        return _fit(x, target, weight / weight.sum(), _RIDGE + (ridge or 0.0), monotone)

    theta, n_evaluations, converged = joined([fit(classes) for classes in chunks_of(n_classes, n_samples)])
    note_unconverged(converged)
    return Solution(theta.T.contiguous().cpu(), n_evaluations, converged)


def out_of_fold_losses(terms, y, weight, folds, ridge):
    """Each fold's share of the log loss of the mean class against the rest, of monotone fits without it."""
    classes = torch.arange(terms[0].shape[1], device=weight.device)
    losses = []
    target = smoothed(y.to(weight.device) == classes[:, None], weight).T
    for inside in folds:
        parameters = fit_one_vs_rest(terms, y, weight * ~inside, ridge=ridge, monotone=True).parameters
        of_terms = binary_cross_entropy_with_logits(scores_of(parameters, terms), target, reduction="none")
        losses.append(((weight * inside) @ of_terms.mean(1)).item())
    return np.array(losses) / (weight * folds).sum().item()


def smoothed(hit, weight, part=_PART_BESIDE_RIDGE):
    """Targets (classes, samples) in place of 0 and 1, as if a part of one sample more had come out either way.

    With a part of 1 they are Platt's: (n+ + 1) / (n+ + 2) for a class's n+ samples, and 1 / (n- + 2) for the others.
    """
    inside = (hit.to(weight) @ weight)[:, None]
    return torch.where(hit, 1 - part / (inside + 2), part / (weight.sum() - inside + 2))


def _fit(x, target, weight, ridge, monotone):
    """Parameters (classes, terms) of some classes; of terms that would be negative, the first is left out and so on.

    Beside them, how often the losses were evaluated and whether the search converged.
    """
    free = torch.ones_like(x[:, :, 0])
    while True:
        start = free.clone()
        start[:, -1] = 0
        losses = logistic(x * free[:, :, None], target, weight, start, torch.full_like(start, 2 * ridge))
        # Log-odds at a temperature at its bound are so large that Newton's method would see no curvature.
        begin = start
        least = losses(start)[0]
        while (better := (halved := losses(begin / 2)[0]) < least).any():
            begin = torch.where(better[:, None], begin / 2, begin)
            least = torch.where(better, halved, least)
        theta, n_evaluations, converged = newton(losses, begin, _TOLERANCE)
        negative = (theta < 0) & (free > 0)
        negative[:, -1] = False
        if not monotone or not negative.any():
            return theta, n_evaluations, converged
        rows = negative.any(1).nonzero()[:, 0]
        free[rows, negative[rows].to(torch.int8).argmax(1)] = 0
