"""The natural-gradient step of a perturbation of many parameters, from the gradients of the samples themselves.

With a diagonal prior precision the step is a ridge regression on whitened gradients. One eigendecomposition, of their
smaller Gram matrix, tells the strength of the prior, the evidence and the direction.
"""

import torch

from ._posterior import ITERATIONS, SETTLED, Step, first_strength, infinite_curvature, strength_of

# Gradients that are in float64 at a time: 32 MB.
_BLOCK = 2**22


def wide_step(gradients, displacement, prior_precision):
    """Step to the mode of the posterior of the quadratic model that the gradients make.

    It is that of `natural_step` for a single block.

    Parameters
    ----------
    gradients : WideGradients
        At the present parameters.
    displacement : torch.Tensor of shape (n_parameters,)
        The present parameters minus the identity.
    prior_precision : torch.Tensor of shape (n_parameters,)
        The diagonal of the prior precision up to a factor; see `prior_diagonal_of`.
    """
    design = _Design(gradients, prior_precision)
    displacement = design.width * displacement.double().to(design.width.device)
    target = design.times(displacement) - design.slope
    values, coordinates = design.values, design.coordinates_of(target)
    start = first_strength(design.trace(), prior_precision.sum())
    strength, n_effective_parameters = _fit_strength(values, coordinates, start)
    mode = coordinates / (values + strength)
    evidence = 0.5 * (coordinates @ mode - torch.log1p(values / strength).sum()).item()
    way = design.parameters_of(mode) - displacement
    gain = 0.5 * (design.times(way).square().sum() + strength * way.square().sum()).item()
    return Step(
        way / design.width, gain, evidence, strength * prior_precision, n_effective_parameters, gradients.n_effective
    )


class _Design:
    """Gradients as a regression has its inputs: weighted, log T projected out, whitened by the prior.

    Their inner products are the curvature of the loss summed over samples, with T at its optimum for any parameters.
    """

    def __init__(self, gradients, prior_precision):
        weight = gradients.weight
        root = (weight * (gradients.n_effective / weight.sum())).sqrt()
        slope = root * gradients.temperature
        self.rows = gradients.rows
        self.dual = len(self.rows) < self.rows.shape[1]
        self.width = prior_precision.sqrt()
        self.scale = root * gradients.factor
        size = slope.norm()
        self.along = slope / size if size > 0 else slope
        self.slope = root - self.along * (self.along @ root)
        self.projected = torch.zeros_like(self.width)
        self.projected = self.transposed_times(self.along)
        self.values, self.vectors = _eigen(self._gram())

    def _block(self, rows=slice(None), columns=slice(None)):
        own = self.rows[rows, columns].double() * self.scale[rows, None] / self.width[columns]
        return own.addr_(self.along[rows], self.projected[columns], alpha=-1)

    def _pieces(self, axis):
        """Slices of the rows or columns, such that a block of these and all of the others is small."""
        size, others = self.rows.shape[axis], self.rows.shape[1 - axis]
        step = max(1, _BLOCK // max(1, others))
        return [slice(start, start + step) for start in range(0, size, step)]

    def times(self, vector):
        """Product with a vector."""
        return torch.cat([self._block(rows=piece) @ vector for piece in self._pieces(0)])

    def transposed_times(self, vector):
        """Product of the transpose with a vector."""
        return sum(vector[piece] @ self._block(rows=piece) for piece in self._pieces(0))

    def coordinates_of(self, target):
        """Product of the transpose with a vector, along the eigenvectors of the curvature."""
        if self.dual:
            return self.values.sqrt() * (target @ self.vectors)
        return self.transposed_times(target) @ self.vectors

    def parameters_of(self, coordinates):
        """The whitened parameters with such coordinates."""
        if self.dual:
            return self.transposed_times(self.vectors @ (coordinates / self.values.sqrt()))
        return self.vectors @ coordinates

    def _gram(self):
        """Inner products of the rows, or of the columns, where these are fewer."""
        total = 0.0
        for piece in self._pieces(1 if self.dual else 0):
            block = self._block(columns=piece) if self.dual else self._block(rows=piece).T
            total = total + block @ block.T
        return total

    def trace(self):
        """Of the curvature in the units of the parameters."""
        return sum((self._block(rows=piece) * self.width).square().sum() for piece in self._pieces(0))


def _eigen(gram):
    """Eigenvalues that aren't rounding errors, and their vectors."""
    if not gram.isfinite().all():
        raise infinite_curvature(gram)
    values, vectors = torch.linalg.eigh(gram)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return values[kept], vectors[:, kept]


def _fit_strength(values, coordinates, start):
    """MacKay's fixed point: the factor of the prior precision, and the number of parameters that it leaves free."""
    strength = start
    for _ in range(ITERATIONS):
        before = strength
        n_effective_parameters = (values / (values + strength)).sum().item()
        distance = (coordinates / (values + strength)).square().sum().item()
        strength = strength_of(n_effective_parameters, distance)
        if abs(strength / before - 1) < SETTLED:
            break
    return before, n_effective_parameters
