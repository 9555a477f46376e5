"""Gains and offsets that depend on covariates: blocks of terms, drawn to nothing by empirical Bayes."""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit, log_softmax

# Precisions of the shared gain and offset around the classifier's own, 1 and 0, and those that terms start from.
_HELD = 4.0, 0.25
_START = 4.0, 1.0
# Of terms that nothing but the samples holds.
_FREE = 1e-3
_LEAST_VARIANCE = 1e-5
_ROUNDS = 12
# So many terms of a block more that are 0: without them, terms that mean nothing fade only as one over the rounds.
_EMPTY = 2.0
# Of more numbers the Hessian's diagonal stands for its inverse, and conjugate gradients solve for a step.
_MOST_INVERTED = 500
_MOST_STEPS = 50
# In nats of all samples.
_TOLERANCE = 1e-6


class Learned(NamedTuple):
    """A shared gain and offset, and what each feature adds to both.

    Attributes
    ----------
    gains : ndarray of shape (1 + n_features,)
        The shared one first.
    offsets : ndarray of shape (1 + n_features, n_outputs)
        One output of two classes, the log-odds.
    variances : ndarray of shape (2, 1 + n_features)
        Of the posterior, of gains and of offsets; of several outputs the mean.
    precisions : ndarray of shape (2, n_blocks)
        Of each block's gains and offsets.
    """

    gains: np.ndarray
    offsets: np.ndarray
    variances: np.ndarray
    precisions: np.ndarray


class Problem:
    """Logits, labels and features of samples.

    Parameters
    ----------
    z : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Of two classes the log-odds, of more the logits.
    y : ndarray of shape (n_samples,), int
    weight : ndarray of shape (n_samples,)
        Counts as repetitions.
    features : scipy.sparse array of shape (n_samples, n_features)
    block : ndarray of shape (n_features,), int
    pooling : {"partial", "none"}, default="partial"
    held : tuple of two floats, default=(4.0, 0.25)
        Precisions of the shared gain and offset around 1 and 0.
    centre : float, default=None
        Features' gains act on log-odds less this, so that their prior doesn't depend on where zero is: their mean.
    """

    def __init__(self, z, y, weight, features, block, pooling="partial", held=_HELD, centre=None):
        self.z, self.y, self.weight, self.features = z, y, weight, features
        self.block, self.pooling, self.held = block, pooling, held
        self.centre = centre
        if z.ndim == 1 and centre is None:
            self.centre = np.average(z, weights=weight)

    def take(self, rows=slice(None), blocks=None):
        """Return some samples, or some blocks of features; a centre is theirs."""
        chosen = slice(None) if blocks is None else np.flatnonzero(np.isin(self.block, blocks))
        samples = self.z[rows], self.y[rows], self.weight[rows], self.features[rows][:, chosen]
        return type(self)(*samples, self.block[chosen], self.pooling, self.held)

    @property
    def members(self):
        """Numbers of each block's features."""
        return [np.flatnonzero(self.block == number) for number in np.unique(self.block)]


def learn(problem, begin=None):
    """Return what is `Learned` of a problem: precisions by expectation maximisation, then the greatest posterior.

    `begin`, learned of more samples of the same problem, lends its precisions.
    """
    fit = _two_classes if problem.z.ndim == 1 else _many_classes
    return fit(problem, begin)


def predict(problem, learned):
    """Return the logarithms of probabilities of samples, (n_samples, n_classes)."""
    gains, offsets = learned.gains, learned.offsets
    X = problem.features
    by_gain, by_offset = X @ gains[1:], offsets[0] + X @ offsets[1:]
    if problem.z.ndim == 1:
        score = gains[0] * problem.z + by_gain * (problem.z - problem.centre) + by_offset[:, 0]
        return -np.logaddexp(0, np.stack([score, -score], 1))
    return log_softmax((gains[0] + by_gain)[:, None] * problem.z + by_offset, axis=1)


def free_gain(problem):
    """Return the gain that all samples share where next to nothing holds it."""
    size = np.sqrt(np.average((problem.z**2).reshape(len(problem.z), -1).mean(1), weights=problem.weight))
    if not 0 < size < np.inf:
        return 1.0
    alone = Problem(
        problem.z / size, problem.y, problem.weight, problem.features[:, :0], problem.block[:0], "none", (_FREE, _FREE)
    )
    return float(learn(alone).gains[0] / size)


def losses(problem, learned):
    """Return the NLL of each sample."""
    return -predict(problem, learned)[np.arange(len(problem.y)), problem.y]


def losses_out_of_fold(problem, learned, fold):
    """Return the NLL of each sample as learned from the other folds, with the precisions `learned` from all."""
    found = np.empty(len(problem.y))
    for number in np.unique(fold):
        rest, own = problem.take(np.flatnonzero(fold != number)), problem.take(np.flatnonzero(fold == number))
        own.centre = rest.centre
        found[fold == number] = losses(own, learn(rest, learned))
    return found


def _drawn(means, variances, n_outputs=1):
    """Return the precision of a block's terms around 0."""
    total = (means**2 + variances).sum()
    return 1 / max(total / (means.size + _EMPTY * n_outputs), _LEAST_VARIANCE)


def _two_classes(problem, begin):
    z, X = problem.z[:, None], problem.features
    one = np.ones_like(z)
    width = 1 + X.shape[1]
    A = sparse.hstack([z, X.multiply(z - problem.centre), one, X]).tocsr()
    if A.shape[1] <= _MOST_INVERTED and A.nnz > A.shape[0] * A.shape[1] / 4:
        A = A.toarray()
    signs = 2.0 * problem.y - 1
    members = problem.members
    blocks = [[half * width + 1 + each for each in members] for half in (0, 1)]
    centre = np.eye(1, 2 * width)[0]
    precision = np.repeat(_START if problem.pooling == "partial" else (_FREE, _FREE), width)
    precision[[0, width]] = problem.held
    rounds = _ROUNDS if members and problem.pooling == "partial" else 0
    w = centre
    if begin is not None:
        w = np.concatenate([begin.gains, begin.offsets[:, 0]])
        rounds = 0
        for half, given in zip(blocks, begin.precisions, strict=True):
            for each, own in zip(half, given, strict=True):
                precision[each] = own
    newton = _Newton(A, signs, problem.weight, centre)
    for _ in range(rounds):
        w = newton.solve(w, precision, 1e-3)
        variance = newton.variances(w, precision)
        for each in blocks[0] + blocks[1]:
            precision[each] = _drawn(w[each], variance[each])
    w = newton.solve(w, precision, _TOLERANCE)
    variance = newton.variances(w, precision) if begin is None else np.zeros_like(w)
    found = np.array([[precision[each[0]] for each in half] for half in blocks])
    return Learned(w[:width], w[width:, None], variance.reshape(2, -1), found)


class _Newton:
    """Logistic regression with a normal prior, by Newton's method."""

    def __init__(self, A, signs, weight, centre):
        self.A, self.signs, self.weight, self.centre = A, signs, weight, centre
        self.dense = A.shape[1] <= _MOST_INVERTED
        self.AT = A.T.tocsr() if sparse.issparse(A) else A.T
        self.squares = None if self.dense else A.power(2).T.tocsr()

    def loss(self, scores, w, precision):
        return self.weight @ np.logaddexp(0, -self.signs * scores) + precision @ (w - self.centre) ** 2 / 2

    def curvature(self, scores):
        p = expit(scores)
        return self.weight * p * (1 - p)

    def hessian(self, curvature, precision):
        A = self.A
        scaled = A.multiply(curvature[:, None]).tocsr() if sparse.issparse(A) else A * curvature[:, None]
        H = self.AT @ scaled
        H = H.toarray() if sparse.issparse(H) else H
        H[np.diag_indices_from(H)] += precision
        return H

    def solve(self, w, precision, tolerance):
        """Return the numbers of greatest posterior."""
        scores = self.A @ w
        now = self.loss(scores, w, precision)
        for _ in range(_MOST_STEPS):
            slope = self.AT @ (-self.weight * self.signs * expit(-self.signs * scores)) + precision * (w - self.centre)
            step = self._step(self.curvature(scores), slope, precision)
            along, length = self.A @ step, 1.0
            while (then := self.loss(scores - length * along, w - length * step, precision)) > now + 1e-12:
                length /= 2
                if length < 1e-6:
                    return w
            w = w - length * step
            scores = scores - length * along
            gain, now = now - then, then
            if gain < tolerance:
                break
        return w

    def _step(self, curvature, slope, precision):
        if self.dense:
            return cho_solve(cho_factor(self.hessian(curvature, precision)), slope)
        diagonal = self.squares @ curvature + precision
        shape = (len(slope),) * 2
        hessian = LinearOperator(shape, lambda v: self.AT @ (curvature * (self.A @ v)) + precision * v, dtype=float)
        inverse = LinearOperator(shape, lambda v: v / diagonal, dtype=float)
        return cg(hessian, slope, rtol=1e-3, maxiter=50, M=inverse)[0]

    def variances(self, w, precision):
        """Return the posterior's, by the inverse of the Hessian or, of many numbers, of its diagonal."""
        curvature = self.curvature(self.A @ w)
        if not self.dense:
            return 1 / (self.squares @ curvature + precision)
        return np.linalg.inv(self.hessian(curvature, precision)).diagonal()


def _many_classes(problem, begin):
    z, y, weight = problem.z, problem.y, problem.weight
    X = sparse.hstack([np.ones((len(z), 1)), problem.features]).tocsr()
    XT = X.T.tocsr()
    squares = XT.power(2)
    width, n_classes = X.shape[1], z.shape[1]
    own = np.arange(len(y)), y
    centre = np.zeros((width, 1 + n_classes))
    centre[0, 0] = 1.0
    precision = np.empty_like(centre)
    precision[:, 0], precision[:, 1:] = (_FREE, _FREE) if problem.pooling == "none" else (_START[0], 4 * _START[1])
    precision[0, 0] = problem.held[0]
    members = [1 + each for each in problem.members]

    def log_proba(w):
        XW = X @ w
        return log_softmax(XW[:, :1] * z + XW[:, 1:], axis=1)

    def loss(flat):
        w = flat.reshape(centre.shape)
        log_p = log_proba(w)
        away = precision * (w - centre)
        value = -(weight @ log_p[own]) + (away * (w - centre)).sum() / 2
        slope = np.exp(log_p)
        slope[own] -= 1
        slope *= weight[:, None]
        slopes = np.column_stack([(slope * z).sum(1), slope])
        return value, (XT @ slopes + away).ravel()

    def variances(w):
        p = np.exp(log_proba(w))
        of_gain = (p * z**2).sum(1) - (p * z).sum(1) ** 2
        curvature = np.column_stack([of_gain, p * (1 - p)]) * weight[:, None]
        return 1 / (squares @ curvature + precision)

    w = centre
    rounds = _ROUNDS - 1
    if begin is not None:
        w = np.column_stack([begin.gains, begin.offsets])
        precision = _precisions_of(begin, precision, members)
        rounds = 0
    elif problem.pooling == "none" or not members:
        rounds = 0

    def solve(w, rtol):
        found = minimize(loss, w.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": rtol})
        return found.x.reshape(centre.shape)

    for _ in range(rounds):
        w = solve(w, 1e-9)
        variance = variances(w)
        for each in members:
            precision[each, :1] = _drawn(w[each, 0], variance[each, 0])
            precision[each, 1:] = _drawn(w[each, 1:], variance[each, 1:])
    w = solve(w, 1e-9)
    variance = variances(w)
    found = np.array([[precision[each[0], column] for each in members] for column in (0, 1)])
    return Learned(w[:, 0], w[:, 1:], np.stack([variance[:, 0], variance[:, 1:].mean(1)]), found)


def _precisions_of(begin, precision, members):
    """Those of blocks, spread over their terms."""
    precision = precision.copy()
    for number, each in enumerate(members):
        precision[each, 0], precision[each, 1:] = begin.precisions[0, number], begin.precisions[1, number, None]
    return precision
