"""Watch: what monitors share, from samples before the watch to alarms, files and pictures."""

import copy
import math
from numbers import Real

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.utils.data import Dataset

from .._backbones.opening import check_samples
from .._judging.near_duplicates import units_of
from .._judging.paired import numbered
from .._looks import words
from .._utils.arrays import to_numpy
from .._utils.labels import check_groups, group_keys, names_in_order
from .._utils.sklearn_private import Interval
from .._utils.warnings import note, one_warning
from ..base._around import AroundEstimator, arguments_of
from ..display import MonitorDisplay
from ..exceptions import CalibrationSetWarning
from ..persistence import write

UNSEEN = "This %(name)s instance has seen no samples yet: it is not fitted. Call 'partial_fit' with samples and labels."


class Watch(AroundEstimator):
    """A stream of samples, the evidence in it, and the first alarm.

    Nobody may choose the parameters in view of the samples, nor change them between these.
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "average_run_length": [Interval(Real, 1, None, closed="left"), None],
        "by": ["array-like", None],
    }
    _not_saved = frozenset({"_backbone", "_watched"})
    __metadata_request__fit = {"groups": True, "by": True}
    __metadata_request__partial_fit = {"groups": True, "by": True}

    classes_: np.ndarray

    @property
    def _unit(self):
        """Return what counts, in words."""
        return "group" if hasattr(self, "_groups") else "label"

    def fit(self, X, y=None, *, groups=None, by=None, **params):
        """Forget what was seen, and say of held-out samples whether all is well before the watch.

        All is well where the probabilities are true or, to a `RiskMonitor`, where the risk is within the target. Those
        that the estimator was fitted to flatter it: give others. What was never well is so told from what changes
        later. `never_true_` and a warning say it at once, by the test of the watch, with false
        alarms in a part of `alpha` at most. The first `partial_fit` then begins the watch anew, which knows that all
        was well before where these have shown it. Until then all attributes speak of these samples.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `partial_fit`.
        y : array-like of shape (n_samples,), default=None
            As in `partial_fit`.
        groups : array-like of shape (n_samples,), default=None
            As in `partial_fit`.
        by : array-like of shape (n_samples,), default=None
            As in `partial_fit`.
        **params : dict
            None: weights are refused.

        Returns
        -------
        self : object
            The monitor.

        Raises
        ------
        ValueError, TypeError
            As `partial_fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skclamp import CalibrationMonitor
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(scale=3.0, size=(500, 3))
        >>> y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> monitor = CalibrationMonitor().fit(logits[:400], y[:400])
        >>> monitor.never_true_, monitor.n_samples_
        (False, 400)
        >>> monitor.partial_fit(logits[400:], y[400:]).n_samples_
        100
        """
        with self._kept_on_error(), one_warning():
            for name in {*self._learned(), *self._not_saved}:
                self.__dict__.pop(name, None)
            self.partial_fit(X, y, groups=groups, by=by, **params)
            self._begins = True
            self.never_true_ = self.alarm_
            if self.never_true_:
                names = [repr(name) for name, part in getattr(self, "parts_", {}).items() if part["alarm"]]
                by_part = f". By part there is an alarm of {', '.join(names)}" if names else ""
                note(self._never_true() + by_part, CalibrationSetWarning)
        return self

    def partial_fit(self, X, y=None, *, groups=None, by=None, **params):
        """Watch some more samples; how they are cut into calls makes no difference, but to duplicates without groups.

        Within a call, samples of equal inputs count as one. So does each cluster of near-duplicates, such as frames of
        a video, of 100 samples or more without groups; a warning asks for these then. Duplicates and clips that go on
        in the next call count anew there: give their names in groups.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs, as the estimator's ``predict_proba`` takes them; or, of a `CalibrationMonitor` without an estimator,
            logits (probabilities, if `response` says so) of shape (n_samples, n_classes).
        y : array-like of shape (n_samples,), default=None
            Class labels, in the order in which they came. None or NaN stands for one that is missing: its sample is
            skipped, and may come again once the label is there. A `CalibrationMonitor` takes labels that X brings where
            there are no others, several labels a sample that don't exclude each other, of shape (n_samples, n_labels),
            each 0, 1 or NaN, and a class at each place of a sample, of shape (n_samples, ...).
        groups : array-like of shape (n_samples,), default=None
            Of samples that depend on each other beyond what the classifier knows, such as frames of a video or visits
            of a patient: a name for each of what it belongs to. A group counts as one sample, by the mean over its own.
            It adds nothing when it comes back in a later call, so give it whole. None takes labels, given their inputs,
            as independent.
        by : array-like of shape (n_samples,), default=None
            Names or numbers of the parts that samples come from, such as sites or scanners: each is watched by itself,
            beside all together. Parts are those of the parameter `by` or else of the first call, here or of `fit`. A
            sample of another one is refused, as `alpha` is divided among them.
        **params : dict
            None: weights are refused.

        Returns
        -------
        self : object
            The monitor.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X or y breaks a rule; the message says which. What was seen before is then kept.
        """
        with self._kept_on_error(), one_warning():
            self._validate_params()
            # Whether these are the first samples of a watch.
            self.__dict__.setdefault("_begins", True)
            if given := [name for name, value in params.items() if value is not None]:
                raise TypeError(f"a monitor takes X, y, groups and by alone, each sample once; got {given[0]!r}")
            check_samples(X, type(self).__name__, "partial_fit")
            self._understand(X, y)
            self._backbone = self._open_backbone()
            if not isinstance(X, Dataset) and np.ndim(X) == 2:
                # A table has the columns of the first one.
                validate_data(self, X, reset=not hasattr(self, "_evidence"), skip_check_array=True)
            self._watch(X, y, groups, by)
        return self

    def summary(self):
        """Tell what was never true or has changed, since when, and what would mend it.

        Returns
        -------
        str
            For reading; its words may change.

        Raises
        ------
        NotFittedError
            Before `partial_fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skclamp import CalibrationMonitor
        >>> rng = np.random.default_rng(5)
        >>> logits = rng.normal(scale=3.0, size=(1000, 3))
        >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> print(CalibrationMonitor().partial_fit(logits, y).summary())
        Alarm after 155 of 1,000 labels: the p value is 1.6e-32, alpha 0.01. The probabilities were never true, or
        changed before labels could tell: the classifier has been over-confident from the first label on. A refit of T
        on all of them, to 1.9, would win 0.11 nats a label. Other class frequencies would explain no more than T
        alone; other changes aren't tested.
        """
        check_is_fitted(self, msg=UNSEEN)
        return " ".join(self._sentences())

    def plot(self, *, ax=None, name=None, **kwargs):
        """Draw the evidence over samples.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name in the legend; None takes that of the estimator's class.
        **kwargs
            Of the line, as for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        MonitorDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            Before `partial_fit`.
        ImportError
            If matplotlib isn't installed: ``pip install "skclamp[plot]"``.
        """
        check_is_fitted(self, msg=UNSEEN)
        return MonitorDisplay.from_estimator(self, ax=ax, name=name, **kwargs)

    def save(self, path):
        """Write what was seen to a file, without the estimator; `skclamp.load` reads it, and the watch goes on.

        Parameters
        ----------
        path : str or path-like
            The safetensors file to write. One that is there is replaced once the new one is complete.

        Raises
        ------
        NotFittedError
            Before `partial_fit`.
        FileNotFoundError
            If there is no such folder.
        ImportError
            If safetensors isn't installed: ``pip install "skclamp[save]"``.
        """
        check_is_fitted(self, msg=UNSEEN)
        write(self, path)

    def _validate_params(self):
        super()._validate_params()
        for name, value in getattr(self, "_rules", {}).items():
            if not np.array_equal(getattr(self, name), value):
                raise ValueError(
                    f"{name} must stay {value}, with which the samples so far were watched; got "
                    f"{getattr(self, name)}. fit starts anew"
                )
        if hasattr(self, "_watched") and self._watched is not self._frozen_part():
            raise ValueError(
                "estimator must stay the one that was watched so far; got another "
                f"{type(self._frozen_part()).__name__}. fit starts a new watch"
            )

    def _routed_to(self, groups=None):
        # A monitor fits nothing.
        return {}

    def _understand(self, X, y):
        """Hook: go by what y is, before the estimator is opened."""

    def _start(self, evidence, parts):
        """Start a watch with the parameters, and the estimator, as they are; held-out samples may have come before.

        `evidence` is that before the first sample, of all and of each of the parts; these are as of `_numbered`.
        """
        names = () if parts is None else parts[0]
        former = getattr(self, "_parts", {})
        self._parts = {name: _following(former.get(name), evidence) for name in names}
        self._evidence = _following(getattr(self, "_evidence", None), evidence)
        self._rules = arguments_of(self)
        self._watched = self._frozen_part()
        self._begins = False

    def _new_units(self, X, prints, y, there, groups, logits=None, labels=None):
        """Rows of samples that are `there`, unit after unit in the order of their first ones, and the units' sizes.

        Samples whose groups came in an earlier call are left out. Units are found among the samples whose `y` isn't -1.
        Other arguments are as of `units_of`.
        """
        keys = None if groups is None else group_keys(groups, len(y))
        told = None if groups is None else numbered(keys)
        weight = torch.from_numpy((y >= 0).astype(float))
        units = numbered(units_of(X, prints, y, weight, logits, told, labels=labels).numbers, len(y))
        new = there.copy()
        if keys is not None:
            seen = getattr(self, "_groups", keys[:0])
            self._groups = np.union1d(seen, keys[new])
            again = new & np.isin(keys, seen)
            if 2 * again.sum() > new.sum():
                note(words.GROUPS_AGAIN.format(again.sum(), new.sum()), CalibrationSetWarning)
            new &= ~again
        rows = np.flatnonzero(new)
        _, first, unit, sizes = np.unique(units[rows], return_index=True, return_inverse=True, return_counts=True)
        return rows[first[unit].argsort(kind="stable")], sizes[first.argsort()]

    def _numbered(self, by, n_samples):
        """Names of the parts, and which of them each sample is of; None where nothing is watched by part."""
        names = list(self._parts) if hasattr(self, "_parts") else _names_of_parts(self.by)
        if by is None:
            if names:
                raise ValueError(f"by must name the part of each sample, one of {names}; got None")
            return None
        by = check_groups(by, n_samples, "by")
        if names == []:
            raise ValueError("by must be given from the first samples on; got it later. fit starts anew")
        if names is None:
            names = names_in_order(by)
        places = {name: place for place, name in enumerate(names)}
        unknown = [name for name in dict.fromkeys(by.tolist()) if name not in places]
        if unknown:
            raise ValueError(
                f"by must name parts that were known when alpha was divided among them, {names}; got {unknown[0]!r}. "
                f"Name all there will be: {type(self).__name__}(by=[...])"
            )
        return names, np.array([places[name] for name in by.tolist()])

    @property
    def _level(self):
        """Level of the test of all samples together, and of that of each part: `alpha` divided."""
        alpha = self._rules["alpha"]
        return (alpha / 2, alpha / 2 / len(self._parts)) if self._parts else (alpha, alpha)

    def _take_on(self, rows, sizes, parts, bets):
        """Take on units of so many rows each, all together and by part; set what users see of the evidence.

        `bets` takes rows, sizes and the evidence before, and yields log e-values, sums and the memory after these.
        """
        rules = self._rules
        level, of_part = self._level
        restart = math.log(rules["average_run_length"] or math.inf)
        # Log e-value, and logarithm of the restarting test's sum, at which there are alarms.
        self._evidence = _later(self._evidence, bets, rows, sizes, (-math.log(level), restart))
        if parts is not None:
            unit = np.arange(len(sizes)).repeat(sizes)
            later = {}
            for place, (name, evidence) in enumerate(self._parts.items()):
                own = parts[1][rows] == place
                _, own_sizes = np.unique(unit[own], return_counts=True)
                later[name] = _later(evidence, bets, rows[own], own_sizes, (-math.log(of_part), math.inf))
            self._parts = later
        evidence = self._evidence
        self.n_samples_ = evidence.n_samples
        self.trajectory_ = np.array(evidence.trail)
        self.log_e_value_ = evidence.log_e_value
        told = [self._told_of(name, own) for name, own in self._parts.items()]
        told.sort(key=lambda own: (own[1]["p_value"], -own[1]["log_e_value"]))
        if self._parts:
            self.parts_ = dict(told)
        self.p_value_ = min([self._p_value(), *(own["p_value"] for _, own in told)])
        self.alarm_ = evidence.alarms[0] is not None or any(own["alarm"] for _, own in told)
        if rules["average_run_length"] is not None:
            self.change_alarm_ = evidence.alarms[1] is not None
        self.since_ = evidence.since

    def _p_value(self):
        """That of all samples together, at most alpha where these alarm."""
        return min(1.0, math.exp(-self._evidence.peak) * self._rules["alpha"] / self._level[0])

    def _told_of(self, name, evidence):
        """Name of a part, and what users see of its evidence."""
        return name, {
            "n_samples": evidence.n_samples,
            "log_e_value": evidence.log_e_value,
            "p_value": min(1.0, math.exp(-evidence.peak) * self._rules["alpha"] / self._level[1]),
            "alarm": evidence.alarms[0] is not None,
            "since": evidence.since,
            **self._values_of(evidence),
        }

    def _values_of(self, evidence):
        """Hook: what else is told of evidence, by name."""
        raise NotImplementedError

    def _alarms(self, others):
        """Sentences on the alarms; `others` tells of other samples."""
        rules = self._rules
        at, change_at = self._evidence.alarms
        if change_at is not None:
            length = rules["average_run_length"]
            yield f"Change alarm, one in {length:,.15g} {self._unit}s by chance, after {change_at:,}."
        which = "No alarm after" if at is None else f"Alarm after {at:,} of"
        together = " of all parts together" if self._parts else ""
        yield (
            f"{which} {in_labels(self.n_samples_, self._unit)}{together}{others}: the p value is "
            f"{self._p_value():.2g}, alpha {rules['alpha']:g}."
        )
        for name, own in getattr(self, "parts_", {}).items():
            if own["alarm"]:
                at = self._parts[name].alarms[0]
                since = f", since about {self._unit} {own['since']:,} of its own" if own["since"] else ""
                yield (
                    f"Alarm of {name!r} after {at:,} of {in_labels(own['n_samples'], self._unit)}{since}: the p value "
                    f"is {own['p_value']:.2g}, {self._part_in_words(own)}."
                )
        if self._parts and not any(own["alarm"] for own in self.parts_.values()):
            yield f"No alarm of any of {len(self._parts):,} parts by itself."

    def _restore(self, learned, backbone=None):
        super()._restore(learned, backbone)
        self._watched = self._frozen_part()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def in_labels(number, unit="label"):
    """Return a number of labels in words."""
    return f"{number:,} {unit}{'s' * (number != 1)}"


def _names_of_parts(by):
    """Names of parts that are known beforehand, or None."""
    if by is None:
        return None
    names = to_numpy(by, "by")
    if names.ndim != 1 or not len(names):
        raise ValueError(
            f"by must hold the names of the parts; got {by!r}. Which of them a sample is of goes beside it: "
            "partial_fit(X, y, by=...)"
        )
    names = check_groups(by, len(names), "by").tolist()
    again = [name for name in names if names.count(name) > 1]
    if again:
        raise ValueError(f"by must hold each name once; got {again[0]!r} more than once")
    return names


def _following(before, evidence):
    """Evidence before the first sample of a watch, after held-out samples if there were any without an alarm."""
    evidence = copy.copy(evidence)
    if before is not None and before.alarms[0] is None:
        evidence.n_before = before.n_samples
        evidence.won_before = before.won
    return evidence


def _later(evidence, bets, rows, sizes, limits):
    """Evidence once more units are in."""
    for log_e_values, sums, memory in bets(rows, sizes, evidence):
        evidence = evidence.after(log_e_values, sums, limits, memory)
    return evidence
