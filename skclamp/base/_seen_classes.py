"""SeenClasses: the classes that the calibration set has samples of; nothing is learned of the others."""

import math

import numpy as np
import torch

from .._solvers.temperature import log_likelihoods, solve_temperature
from ._map import Map

# Classes are missing, and labels of one value, by chance where it leaves out as much more often than this.
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
    def of(cls, rows):
        """The classes that rows with weight are of; None where none is missing."""
        logits, y, weight, _ = rows
        counts = torch.bincount(y[(weight > 0).to(y.device)], minlength=logits.shape[1]).cpu()
        if counts.all():
            return None
        columns = counts.nonzero()[:, 0]
        places = len(columns) + torch.arange(len(counts))
        places[columns] = torch.arange(len(columns))
        temperature = solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
        return cls(columns=columns, places=places, temperature=np.array(temperature))

    @classmethod
    def beyond_chance(cls, rows):
        """The same where chance leaves so many expected samples out too rarely; else None."""
        seen = cls.of(rows)
        return None if seen is None or seen.are_missing_by_chance(rows) else seen

    @property
    def mask(self):
        """Return whether each class has samples, as an array."""
        return (self.places < len(self.columns)).cpu().numpy()

    def among(self, rows):
        """`Rows` with weight as they were without the other classes; of one class, which needs no map, as given."""
        if len(self.columns) == 1:
            return rows
        rows = rows.take(rows.weight > 0)
        device = rows.y.device
        return rows._replace(logits=rows.logits[:, self.columns.to(device)], y=self.places.to(device)[rows.y])

    def mapped(self, transform, logits):
        """Log-probabilities: the others' by temperature, and the map's among those with samples in what they leave."""
        log_proba = (logits / self.temperature.to(logits)).log_softmax(1)
        if len(self.columns) == 1:
            return log_proba
        return self.beside(transform(logits.index_select(1, self.columns.to(logits.device))), log_proba)

    def beside(self, mapped, log_proba):
        """Log-probabilities of all classes: those without samples as they are, mapped logits in what they leave."""
        # By index_select: torch.export of torch 2.6 takes a slice of all rows for a bound on their number.
        together = log_proba.index_select(1, self.columns.to(log_proba.device)).logsumexp(1, keepdim=True)
        among = mapped.log_softmax(1) + together
        # A sample may have none of these classes.
        among = torch.where(together == -torch.inf, together, among)
        return torch.cat([among, log_proba], 1).index_select(1, self.places.to(log_proba.device))

    def are_missing_by_chance(self, rows):
        """Return whether chance may leave out as many expected samples as the classes that are missing have.

        Classes of n expected samples together are left out with a probability of at most exp(-n), where weights that
        aren't 0 count as samples of their own. As many classes could have been any of all.
        """
        missing = (self.places >= len(self.columns)).to(rows.logits.device)
        there = (rows.weight > 0).to(rows.logits.device).double()
        n_expected = 0.0
        for part, counted in zip(rows.logits.split(_ROWS), there.split(_ROWS), strict=True):
            proba = (part.double() / self.temperature).softmax(1)
            n_expected += float(counted @ proba[:, missing].sum(1))
        n_ways = math.comb(len(missing), int(missing.sum()))
        return math.log(n_ways) - n_expected >= math.log(_LEVEL)


def labels_that_teach(rows, n_labels):
    """Which of several labels vary, which teach what all share, the rows' weights for that, and a temperature of these.

    A label teaches nothing where it is 0, or 1, in all samples, and chance hardly makes it so.
    """
    logits, y, weight, _ = rows
    temperature = solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
    log_likelihood = log_likelihoods(logits, y, temperature)
    values = weight.to(log_likelihood) * torch.stack([y, 1 - y, log_likelihood])
    hits, misses, log_chance = values.view(3, -1, n_labels).sum(1).to(weight.device)
    varies = hits * misses > 0
    teach = varies | (log_chance > np.log(_LEVEL))
    # Where none does, all do.
    teach |= ~teach.any()
    weight = (weight.view(-1, n_labels) * teach).ravel()
    return varies, teach, weight, solve_temperature(logits, y, sample_weight=weight, prior=True).temperature
