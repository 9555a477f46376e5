"""Sums of losses of chunks, minimised by scipy's L-BFGS with the gradients of autograd."""

import torch
from scipy.optimize import minimize
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def minimise_by_gradient(loss, parameters, chunks, *, penalty=0.0, bounds=None, callback=None, **options):
    """Set parameters to where the sum of chunks' losses is least, and return scipy's result.

    Parameters
    ----------
    loss : callable
        Takes what a chunk holds to a tensor, of the parameters as they are.
    parameters : list of torch.Tensor
        Those that are set; where they are is where the search starts.
    chunks : list of tuple
        What the losses are of.
    penalty : float, default=0.0
        Half of it, times the squared norm of the parameters, is added.
    bounds, callback, **options
        As scipy's L-BFGS-B takes them.
    """
    start = parameters_to_vector(parameters).detach()

    @torch.enable_grad()
    def objective(vector):
        vector_to_parameters(torch.from_numpy(vector).to(start), parameters)
        total = 0.0
        gradient = torch.zeros_like(start)
        for chunk in chunks:
            value = loss(*chunk)
            total += value.item()
            # A network may have parameters that it doesn't use.
            gradient += parameters_to_vector(torch.autograd.grad(value, parameters, materialize_grads=True))
        return total + penalty / 2 * vector @ vector, gradient.cpu().numpy() + penalty * vector

    found = minimize(
        objective, start.cpu().numpy(), jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options
    )
    vector_to_parameters(torch.from_numpy(found.x).to(start), parameters)
    return found
