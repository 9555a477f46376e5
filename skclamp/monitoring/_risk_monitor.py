"""RiskMonitor: whether the samples that a deployed selective classifier answers are wrong as seldom as promised."""

from dataclasses import dataclass

import numpy as np

from .._backbones.inputs import dataset_behind
from .._backbones.opening import is_frozen
from .._backbones.rows import prints_of
from .._looks import words
from .._utils.arrays import to_numpy
from .._utils.labels import check_same_length, encode_labels, split_missing
from .._utils.parameters import FINITE
from ._evidence import Evidence
from ._watch import Watch, in_labels

# How many times the odds of a loss are those at the target. The last bet has half of the stake.
_ODDS = np.array([1.25, 1.5, 3.0, 5.0, 2.0])
# Of rare errors some hundred labels tell nothing: little is lost where a bet starts earlier or later.
_PATIENCE = 100.0


@dataclass(eq=False, repr=False, kw_only=True)
class RiskMonitor(Watch):
    """Tells, label by label, whether the risk of the samples that a selective classifier answers keeps to its target.

    The null hypothesis is that, given the past, the expected loss of each answered sample is at most the target. A
    mixture of larger risks bets against it, from every label on: a change is seen after a long quiet past too. What the
    mixture has won is an e-value: however often one looks, the probability of a false alarm, ever, is at most `alpha`.
    Samples that abstain have no loss, and are counted alone. Labels may come late, or never, as long as whether and
    when they come doesn't depend on what they are.

    Parameters
    ----------
    estimator : fitted SelectiveClassifier, default=None
        Whose answers are watched; shared by reference. A loss is 1 for a wrong label or, with its ``costs``, the cost.
    target_risk : float, default=None
        Largest mean loss that is no alarm, above the least loss and below the largest one. None takes that of the
        estimator.
    alpha : float, default=0.01
        Bound on the probability that `alarm_` is ever raised while the null hypothesis holds.
    average_run_length : float, default=None
        Mean number of labels between false alarms of a second test, such as 10,000. It raises `change_alarm_`, sooner
        than `alarm_` after a long past, and some time by chance. None leaves it out.
    by : array-like of shape (n_parts,), default=None
        Names of the parts to watch each by itself, as of `CalibrationMonitor`.

    Attributes
    ----------
    log_e_value_ : float
        Logarithm of the e-value, the present evidence against the null hypothesis.
    p_value_ : float
        One over the largest e-value so far, at most 1: a p value whenever one looks. By part the least of them all,
        each over its share of `alpha`.
    alarm_ : bool
        Whether it has been at most `alpha`.
    parts_ : dict
        Of each part, the strongest evidence first, a dict of `n_samples`, `log_e_value`, `p_value`, over its share of
        alpha, `alarm`, `since` and `risk`, as the attributes of these names are of all samples together. It is set only
        where samples came with their parts.
    never_true_ : bool
        Whether there was an alarm of the held-out samples that `fit` was given; only after `fit`.
    change_alarm_ : bool
        Whether the second test has alarmed; only with `average_run_length`.
    risk_ : float
        Mean loss of the answered labels so far, or of the groups' means; NaN before the first one.
    n_samples_ : int
        Labels of answered samples so far, here and below; those of a group count as one.
    n_abstained_ : int
        Samples so far that weren't answered, with a label or without.
    n_missing_ : int
        Answered samples so far that had no label.
    since_ : int or None
        Number of labels before the start of what the first alarm speaks of, as estimated when it was raised. 0 where
        they don't show that the risk was within the target before. None without an alarm.
    trajectory_ : ndarray of shape (n_points, 3)
        Number of labels, log e-value, and the logarithm of the second test's sum; up to 1,025 points, the last label
        always among them.
    classes_ : ndarray of shape (n_classes,)
        The estimator's.
    n_features_in_ : int
        Second dimension of X; not set where X has more than two, or is a dict or a Dataset.

    See Also
    --------
    CalibrationMonitor : Watches whether probabilities stay true, abstained samples included.
    skclamp.display.MonitorDisplay : Draws the evidence over samples.

    Notes
    -----
    With the loss l and the target tau on a scale from the least loss, 0, to the largest one, 1, a bet's e-value is
    ``(1 + (m - 1) l) / (1 + (m - 1) tau)``, which is ``1 + lambda (l - tau)`` with ``lambda = (m - 1) / (1 + (m - 1)
    tau)``: its expectation is at most 1 where that of l is at most tau ([1]_). Of losses 0 and 1 it is the likelihood
    ratio of a risk whose odds are m times those of the target. Odds are 1.25, 1.5, 2, 3 and 5 times those; half of the
    stake is on 2.

    With ``W(t) = 1 / (1 + ln(1 + (t - 1) / 100))``, a part W(t) - W(t + 1) of the stake is put on each bet before label
    t, as in `CalibrationMonitor`. By Ville's inequality the mixture ever reaches 1 / alpha with a probability of at
    most alpha. The second test is the same sum with parts of 1, a Shiryaev-Roberts e-detector ([2]_).

    Of a group the mean of its samples' e-values counts, which is one however dependent they are.

    References
    ----------
    .. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the
       Royal Statistical Society B 86, 2024.
    .. [2] J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection",
       New England Journal of Statistics in Data Science 2, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skclamp import RiskMonitor, SelectiveClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(4000, 2))
    >>> y = (X[:, 0] + 0.5 * rng.normal(size=4000) > 0).astype(int)
    >>> classifier = LogisticRegression().fit(X[:500], y[:500])
    >>> selective = SelectiveClassifier(classifier, target_risk=0.05).fit(X[500:2000], y[500:2000])
    >>> monitor = RiskMonitor(selective).partial_fit(X[2000:3000], y[2000:3000])
    >>> monitor.alarm_
    False
    >>> now_at_random = rng.integers(2, size=1000)
    >>> monitor.partial_fit(X[3000:], now_at_random).alarm_
    True
    """

    target_risk: float | None = None
    alpha: float = 0.01
    average_run_length: float | None = None
    by: object = None

    _parameter_constraints = {"target_risk": [FINITE, None]}

    def _open_backbone(self):
        selective = self._frozen_part()
        if not hasattr(selective, "_answers"):
            raise TypeError(
                f"estimator must be a fitted SelectiveClassifier, whose answers are watched; got "
                f"{type(selective).__name__}"
            )
        if not is_frozen(selective):
            raise ValueError(f"estimator must be fitted: a monitor fits none; got {type(selective).__name__}")
        return selective._backbone

    def _watch(self, X, y, groups, by):
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None: labels are taken from y alone")
        labels, missing = split_missing(y)
        selective = self._frozen_part()
        columns, answered = selective._answers(X)
        check_same_length(missing, len(answered), "y")
        # What it was fitted with, whatever its parameters are by now.
        scale = selective._scale(selective.verdict_.target_risk if self.target_risk is None else self.target_risk)
        answered_by = float(selective.threshold_), *scale
        before = getattr(self, "_answered_by", answered_by)
        if before != answered_by:
            raise ValueError(
                "estimator must keep its threshold_, target_risk and costs, with which the samples so far were "
                f"watched, a threshold of {before[0]:g}; got one of {answered_by[0]:g}: it was fitted "
                "again. fit starts a new watch"
            )
        parts = self._numbered(by, len(answered))
        if self._begins:
            self.classes_ = to_numpy(selective.classes_)
            self._answered_by = answered_by
            self.n_abstained_ = self.n_missing_ = 0
            self._start(Evidence(totals=np.zeros(1), patience=_PATIENCE, learns=False), parts)
        self.n_abstained_ += int((~answered).sum())
        self.n_missing_ += int((answered & missing).sum())
        there = answered & ~missing
        y_encoded = np.full(len(there), -1)
        known = ~missing
        if selective.others == "wrong":
            # A number of none: no answer to these is right.
            in_class = np.isin(labels, self.classes_)
            y_encoded[known] = len(self.classes_)
            known[known] = in_class
            labels = labels[in_class]
        y_encoded[known] = encode_labels(labels, self.classes_)
        X = dataset_behind(X, any_order=True)
        rows, sizes = self._new_units(X, prints_of(X, [], len(there)), y_encoded, there, groups)
        target, low, span = scale
        losses = selective._losses(y_encoded, columns, low, span)

        def bets(rows, sizes, evidence):
            # An e-value is linear in the loss: the mean of those of a group is that of the mean.
            unit = np.arange(len(sizes)).repeat(sizes)
            means = np.bincount(unit, losses[rows])[:, None] / sizes[:, None]
            yield np.log1p((_ODDS - 1) * means) - np.log1p((_ODDS - 1) * target), means, None

        self._take_on(rows, sizes, parts, bets)
        self.risk_ = self._values_of(self._evidence)["risk"]

    def _values_of(self, evidence):
        n_samples = evidence.n_samples
        return {"risk": self._risk(evidence.totals[0] / n_samples) if n_samples else np.nan}

    def _part_in_words(self, told):
        return f"the risk {told['risk']:.3g}"

    def _risk(self, mean_loss):
        """The user's word for a mean of losses from 0 to 1."""
        _, _, low, span = self._answered_by
        return float(low + span * mean_loss)

    def _never_true(self):
        target = self._risk(self._answered_by[1])
        return words.NEVER_WITHIN.format(n=self.n_samples_, p_value=self.p_value_, risk=self.risk_, target=target)

    def _sentences(self):
        n = self.n_samples_
        evidence = self._evidence
        others = f"({self.n_abstained_:,} abstained, {self.n_missing_:,} without a label)"
        if not n:
            yield f"No label of an answered sample has come yet {others}."
            return
        yield from self._alarms(f" of answered samples {others}")
        yield f"The risk so far is {self.risk_:.3g}, the target {self._risk(self._answered_by[1]):.3g}."
        if evidence.since:
            before = self._risk(evidence.before[0] / evidence.since)
            since = self._risk((evidence.totals[0] - evidence.before[0]) / (n - evidence.since))
            yield f"It was {before:.3g} at first, and has been {since:.3g} since about {self._unit} {evidence.since:,}."
        elif evidence.changed:
            yield f"It was within the target on {in_labels(evidence.n_before, self._unit)} before the watch."
        elif evidence.since is not None:
            known = getattr(self, "never_true_", False)
            doubt = "as held-out labels say" if known else "or left it before labels could tell"
            yield f"It was never within the target, {doubt}."
