"""Sums of losses over samples, minimised by scipy's L-BFGS with the gradients of autograd."""

from itertools import repeat

import torch
from scipy.optimize import minimize
from torch.nn.utils import parameters_to_vector, vector_to_parameters

# Entries of a chunk: its intermediate results stay in the cache, forward and backward.
_CHUNK_SIZE = 2**17


def minimise_by_gradient(loss, parameters, data, *, penalty=0.0, bounds=None, callback=None, **options):
    """Set parameters to where the sum of the samples' losses is least, and return scipy's result.

    Parameters
    ----------
    loss : callable
        Takes a chunk of the data to the sum of its losses, of the parameters as they are.
    parameters : list of torch.Tensor
        Those that are set; where they are is where the search starts.
    data : sequence of torch.Tensor or None
        What the losses are of, first axis the samples; of the first the second one is the classes.
    penalty : float, default=0.0
        Half of it, times the squared norm of the parameters, is added.
    bounds, callback, **options
        As scipy's L-BFGS-B takes them.
    """
    size = max(1, _CHUNK_SIZE // data[0].shape[1])
    parts = [repeat(None) if values is None else values.split(size) for values in data]
    chunks = list(zip(*parts, strict=False))
    start = parameters_to_vector(parameters).detach()

    @torch.enable_grad()
    def objective(vector):
        vector_to_parameters(torch.from_numpy(vector).to(start), parameters)
        total = 0.0
        gradient = torch.zeros_like(start)
        for chunk in chunks:
            value = loss(*chunk)
            total += value.item()
            # A network may have parameters that it doesn't use; older torches want gradients of their zeros.
            gradient += parameters_to_vector(torch.autograd.grad(value, parameters, materialize_grads=True)).detach()
        return total + penalty / 2 * vector @ vector, gradient.cpu().numpy() + penalty * vector

    found = minimize(
        objective, start.cpu().numpy(), jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options
    )
    vector_to_parameters(torch.from_numpy(found.x).to(start), parameters)
    return found
