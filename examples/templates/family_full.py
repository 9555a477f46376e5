"""A family of perturbations with all that is known of one of the package, such as where "auto" may try it.

In the package it is a class of ``skclamp/perturbations/_families.py``, listed in ``PERTURBATIONS`` there; its tests
are a row in ``tests/test_perturbations.py``.
"""

import torch

from skclamp.perturbations._families import Perturbation


class GammaPerturbation(Perturbation):
    """Gain and exponent of each channel: ``gain * x ** gamma``; values below 0 keep their exponent.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first.

    Attributes
    ----------
    gain, gamma : torch.nn.Parameter of shape (n_channels, 1, ...)
        Start at one.

    References
    ----------
    C. Poynton, "Digital Video and HD", 2012, chapter 27.

    Examples
    --------
    >>> import torch
    >>> GammaPerturbation((3, 2, 2))(torch.full((1, 3, 2, 2), 0.5)).mean().item()
    0.5
    """

    name = "gamma"
    tried_on_signals = True
    # It does the same at every place, and isn't affine: no layer absorbs it.
    pointwise = True
    starts = {"gain": 1.0, "gamma": 1.0}
    pictures = {"gain": ("bars", 1.0), "gamma": ("bars", 1.0)}

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        # The power of 0 has no gradient by gamma.
        return self.gain * torch.where(x > 0, x.clamp(min=1e-6) ** self.gamma, x)
