"""The solver of the one-vs-rest maps: a small logistic regression for each class, many of them at once.

Newton's method on arrays (terms, classes, samples): a step costs a few passes, whatever the number of classes.
"""

import torch

from .._utils.warnings import note_unconverged
from .softmax_regression import Solution

# Too weak to be seen where data speak; keeps the optimum finite where they don't.
_RIDGE = 1e-6
# Of Platt's smoothing beside a ridge, as in the prior of temperature scaling: of flawless samples, which call for ever
# steeper scores, the ridge alone holds too little.
_PART_BESIDE_RIDGE = 0.25
# The terms of so many classes at a time stay near the processor.
_CHUNK_SIZE = 2**16
_MAX_STEPS = 50
_MAX_HALVINGS = 30
# Newton decrement, twice the loss still to be gained.
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


def fit_one_vs_rest(
    terms, y, sample_weight, *, ridge=None, monotone=False, chunk_size=_CHUNK_SIZE, max_steps=_MAX_STEPS
):
    """Coefficients of ``sigmoid(sum_j coef_jk terms_jk + intercept_k)``, the probability that y is class k.

    The targets are those of `smoothed`: Platt's, or beside a ridge a quarter of the way to them.

    Parameters
    ----------
    terms : list of tensors of shape (n_samples, n_classes), float64
        A coefficient of 1 for each, without intercept, is where the search starts.
    y, sample_weight : tensors of shape (n_samples,)
        Column indices of the labels, and non-negative weights with a positive sum.
    ridge : float, default=None
        Beside each class's mean loss, the strength of what draws its parameters to the start.
    monotone : bool, default=False
        No coefficient of a term below 0.
    chunk_size : int, default=2**16
        How many entries of a term are treated at a time; a class's are not parted.
    max_steps : int, default=50
        Newton steps after which a search ends early.

    Returns
    -------
    Solution
        Its parameters of shape (len(terms) + 1, n_classes), the intercepts last.
    """
    n_samples, n_classes = terms[0].shape
    y = y.to(terms[0].device)
    weight = sample_weight.to(terms[0])
    fits = []
    for classes in torch.arange(n_classes, device=y.device).split(max(1, chunk_size // n_samples)):
        x = torch.stack([term[:, classes].T for term in terms])
        x = torch.cat([x, torch.ones_like(x[:1])])
        target = smoothed(y == classes[:, None], weight, 1.0 if ridge is None else _PART_BESIDE_RIDGE)
        fits.append(_fit(x, target, weight / weight.sum(), _RIDGE + (ridge or 0.0), monotone, max_steps))
    parameters = torch.cat([theta for theta, _, _ in fits]).T.contiguous().cpu().numpy()
    converged = all(fine for _, _, fine in fits)
    note_unconverged(converged)
    return Solution(parameters, max(n_steps for _, n_steps, _ in fits), converged)


def smoothed(hit, weight, part=_PART_BESIDE_RIDGE):
    """Targets (classes, samples) in place of 0 and 1, as if a part of one sample more had come out either way.

    With a part of 1 they are Platt's: (n+ + 1) / (n+ + 2) for a class's n+ samples, and 1 / (n- + 2) for the others.
    """
    inside = (hit.to(weight) @ weight)[:, None]
    return torch.where(hit, 1 - part / (inside + 2), part / (weight.sum() - inside + 2))


def _fit(x, target, weight, ridge, monotone, max_steps):
    """Parameters (classes, terms) of some classes; of terms that would be negative, the first is left out and so on."""
    free = torch.ones_like(x[:, :, 0].T)
    while True:
        theta, n_steps, converged = _newton(x, target, weight, ridge, free, max_steps)
        negative = (theta < 0) & (free > 0)
        negative[:, -1] = False
        if not monotone or not negative.any():
            return theta, n_steps, converged
        rows = negative.any(1).nonzero()[:, 0]
        free[rows, negative[rows].to(torch.int8).argmax(1)] = 0


def _newton(x, target, weight, ridge, free, max_steps):
    """Minima of mean log losses, one per class, over their free parameters; a step that goes too far is halved."""
    start = free.clone()
    start[:, -1] = 0
    theta, loss, score = _shrunk(start, x, target, weight, ridge)
    for step_number in range(max_steps):
        step, decrement = _newton_step(theta - start, score, x, target, weight, ridge, free)
        if decrement.max() < _TOLERANCE:
            return theta, step_number, True
        length = torch.ones_like(decrement)
        for _ in range(_MAX_HALVINGS):
            trial = theta - length[:, None] * step
            trial_loss, trial_score = _losses(trial, start, x, target, weight, ridge)
            too_far = trial_loss > loss - 0.1 * length * decrement + _TOLERANCE
            if not too_far.any():
                break
            length = torch.where(too_far, length / 2, length)
        else:
            return theta, step_number, False
        theta, loss, score = trial, trial_loss, trial_score
    return theta, max_steps, False


def _shrunk(start, x, target, weight, ridge):
    """The start, of each class halved as long as that helps, with its losses and scores.

    Log-odds at a temperature at its bound are so large that Newton's method would see no curvature.
    """
    theta, (loss, score) = start, _losses(start, start, x, target, weight, ridge)
    while True:
        trial_loss, trial_score = _losses(theta / 2, start, x, target, weight, ridge)
        better = trial_loss < loss
        if not better.any():
            return theta, loss, score
        theta = torch.where(better[:, None], theta / 2, theta)
        loss, score = torch.where(better, trial_loss, loss), torch.where(better[:, None], trial_score, score)


def _losses(theta, start, x, target, weight, ridge):
    score = (theta.T[:, :, None] * x).sum(0)
    # log(1 + exp(score)) - target * score
    losses = torch.exp(-score.abs()).log1p_().add_(score.clamp(min=0)).addcmul_(target, score, value=-1)
    return losses @ weight + ridge * ((theta - start) ** 2).sum(1), score


def _newton_step(offset, score, x, target, weight, ridge, free):
    """Step to subtract, and the Newton decrement of each class; 0 for what isn't free."""
    proba = torch.sigmoid(score)
    residual, variance = (proba - target) * weight, proba * (1 - proba) * weight
    gradient = (torch.stack([(residual * term).sum(1) for term in x], 1) + 2 * ridge * offset) * free
    weighted = variance * x
    hessian = torch.stack([torch.stack([(term * w).sum(1) for term in x], 1) for w in weighted], 1)
    hessian = hessian * free[:, :, None] * free[:, None, :]
    hessian.diagonal(dim1=1, dim2=2).add_(2 * ridge + 1 - free)
    step, failed = torch.linalg.solve_ex(hessian, gradient)
    if failed.any():
        # Terms that are far apart in size leave the ridge of the smaller ones no digit.
        step = (torch.linalg.pinv(hessian, hermitian=True) @ gradient[..., None])[..., 0]
    return step, (step * gradient).sum(1)
