"""SeenClasses: the classes that the calibration set has samples of; nothing is learned of the others."""

import numpy as np
import torch

from .._solvers.temperature import solve_temperature
from ._map import Map

# A class is missing by chance where as few samples as are expected of it are none more often than this.
_LEVEL = 1e-3
_ROWS = 4096


class SeenClasses(Map):
    """The classes with samples, whose map is learned among them, and the temperature that sets what the others have.

    Attributes
    ----------
    columns : torch.Tensor of shape (n_seen,), dtype int64
        Columns of the classes with samples.
    places : torch.Tensor of shape (n_classes,), dtype int64
        Where each class stands in a row of the n_seen mapped and then all the temperature-scaled log-probabilities.
    temperature : torch.Tensor of shape ()
        That of temperature scaling of all columns.
    """

    # The map that is learned among them counts alone.
    n_parameters = 0

    @classmethod
    def of(cls, logits, y, weight):
        """The classes that samples with weight are of; None where none is missing."""
        counts = torch.bincount(y[(weight > 0).to(y.device)], minlength=logits.shape[1]).cpu()
        if counts.all():
            return None
        columns = counts.nonzero()[:, 0]
        places = len(columns) + torch.arange(len(counts))
        places[columns] = torch.arange(len(columns))
        temperature = solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
        return cls(columns=columns, places=places, temperature=np.array(temperature))

    @property
    def mask(self):
        """Return whether each class has samples, as an array."""
        return (self.places < len(self.columns)).cpu().numpy()

    def among(self, logits, y, weight):
        """Samples with weight as they were without the other classes; of a single class, which needs no map, as given.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes)
        y : torch.Tensor of shape (n_samples,), dtype int64
        weight : torch.Tensor of shape (n_samples,)
        """
        if len(self.columns) == 1:
            return logits, y, weight
        rows = weight > 0
        there = rows.to(y.device)
        return logits[there][:, self.columns.to(y.device)], self.places.to(y.device)[y[there]], weight[rows]

    def mapped(self, transform, logits):
        """Log-probabilities: the others' by temperature, and the map's among those with samples in what they leave."""
        log_proba = torch.log_softmax(logits / self.temperature.to(logits), 1)
        if len(self.columns) == 1:
            return log_proba
        columns, places = self.columns.to(logits.device), self.places.to(logits.device)
        # By index_select: torch.export of torch 2.6 takes a slice of all rows for a bound on their number.
        together = log_proba.index_select(1, columns).logsumexp(1, keepdim=True)
        among = torch.log_softmax(transform(logits.index_select(1, columns)), 1) + together
        # A sample may have none of these classes.
        among = torch.where(together == -torch.inf, together, among)
        return torch.cat([among, log_proba], 1).index_select(1, places)

    def are_missing_by_chance(self, logits, weight):
        """Return whether none of the missing classes is so probable among these samples that chance leaves it some."""
        n_expected = torch.zeros(len(self.places), dtype=torch.float64, device=logits.device)
        for part, of_part in zip(logits.split(_ROWS), weight.to(logits.device).split(_ROWS), strict=True):
            n_expected += of_part @ torch.softmax(part.double() / self.temperature, 1)
        most = n_expected.cpu().numpy()[~self.mask].max()
        return bool(np.exp(-most) * len(self.places) >= _LEVEL)
