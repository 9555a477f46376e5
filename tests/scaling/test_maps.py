"""Every parametric map but the one temperature: its optimum against scipy's or scikit-learn's, the map by hand."""

import numpy as np
import pytest
from _output_maps import draw
from scipy.integrate import trapezoid
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, softmax

from skclamp import (
    BetaCalibration,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    IsotonicCalibration,
    MatrixScaling,
    PlattScaling,
    QuadraticScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning

ODIR = [MatrixScaling, DirichletCalibration]
FREE_OF_FOLDS = {"off_diagonal_penalty": 0.3, "intercept_penalty": 0.2}
AFFINE = [
    VectorScaling(),
    VectorScaling(prior_strength=0),
    StructuredVectorScaling(),
    StructuredMatrixScaling(),
    *(kind(**FREE_OF_FOLDS) for kind in ODIR),
    MatrixScaling(off_diagonal_penalty=0, intercept_penalty=0),
]


def named(calibrators):
    return [type(calibrator).__name__ for calibrator in calibrators]


def mean_nll(scores, y, weight=None):
    return np.average(-log_softmax(scores, axis=1)[np.arange(len(y)), y], weights=weight)


def smoothed(logits, temperature, n):
    mixed = n / (n + 1) * softmax(logits / temperature, axis=1) + 1 / (n + 1) / logits.shape[1]
    return np.log(mixed)


def features(fitted, logits, n):
    if isinstance(fitted, (StructuredVectorScaling, StructuredMatrixScaling)):
        return smoothed(logits, fitted.temperature_, n)
    return logits - logits.mean(1, keepdims=True) if isinstance(fitted, MatrixScaling) else log_softmax(logits, axis=1)


def penalty(fitted, matrix, intercept, n):
    """What is added to the mean NLL, as the docstrings say."""
    diagonal, n_classes = matrix.diagonal(), len(matrix)
    off = (matrix**2).sum() - (diagonal**2).sum()
    if isinstance(fitted, VectorScaling):
        gains = ((fitted.temperature_ * diagonal - 1) ** 2).sum()
        return fitted.prior_strength * (gains / 4 + (intercept**2).sum() / 8) / n
    if isinstance(fitted, tuple(ODIR)):
        mean_off = off / (n_classes * (n_classes - 1))
        return fitted.off_diagonal_penalty * mean_off + fitted.intercept_penalty * (intercept**2).mean()
    ridge = fitted.diagonal_penalty * ((diagonal - 1) ** 2).sum() + fitted.intercept_penalty * (intercept**2).sum()
    if isinstance(fitted, StructuredMatrixScaling):
        ridge += fitted.off_diagonal_penalty * (n_classes - 1) * off
    return n_classes / n * ridge


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("calibrator", AFFINE, ids=named(AFFINE))
def test_an_affine_map_is_what_it_says_and_its_objective_at_its_least(calibrator, weighted):
    """scipy's BFGS by numerical gradients finds nothing lower."""
    logits, y = draw(600, 3)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted, n = calibrator.fit(logits, y, sample_weight=weight), len(y) if weight is None else weight.sum()
    x, shape = features(fitted, logits, n), fitted.coef_.shape

    def objective(flat):
        coef, intercept = flat[:-3].reshape(shape), flat[-3:]
        matrix = np.diag(coef) if coef.ndim == 1 else coef
        return mean_nll(x @ matrix.T + intercept, y, weight) + penalty(fitted, matrix, intercept, n)

    start = np.ones(3) if len(shape) == 1 else np.eye(3).ravel()
    least = minimize(objective, np.r_[start, np.zeros(3)], options={"gtol": 1e-6}).fun
    assert objective(np.r_[fitted.coef_.ravel(), fitted.intercept_]) == pytest.approx(least, abs=2e-6)
    matrix = np.diag(fitted.coef_) if len(shape) == 1 else fitted.coef_
    expected = log_softmax(x @ matrix.T + fitted.intercept_, axis=1)
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, rtol=1e-10)


@pytest.mark.parametrize("calibrator", [StructuredVectorScaling, StructuredMatrixScaling, DirichletCalibration])
def test_strong_penalties_leave_temperature_scaling_or_gains_alone(calibrator):
    logits, y = draw(600)
    names = [name for name in calibrator().get_params() if name.endswith("penalty")]
    fitted = calibrator(**dict.fromkeys(names, 1e9)).fit(logits, y)
    np.testing.assert_allclose(fitted.intercept_, 0, atol=1e-6)
    if calibrator is DirichletCalibration:
        np.testing.assert_allclose(fitted.coef_ - np.diag(fitted.coef_.diagonal()), 0, atol=1e-6)
        return
    expected = smoothed(logits, TemperatureScaling().fit(logits, y).temperature_, len(y))
    np.testing.assert_allclose(fitted.predict_log_proba(logits), expected, atol=1e-5)


@pytest.mark.parametrize("calibrator", [VectorScaling, StructuredVectorScaling, StructuredMatrixScaling])
def test_constant_logits_leave_the_frequencies(calibrator):
    y = np.repeat([0, 1, 2], [500, 300, 200])
    proba = calibrator().fit(np.zeros((1000, 3)), y).predict_proba(np.zeros((1, 3)))
    np.testing.assert_allclose(proba, [[0.5, 0.3, 0.2]], atol=0.01)


# Matrix scaling and Dirichlet calibration


def mixed(n_samples=600, n_classes=3, *, mixing=0.1):
    """Logits, and labels from an affine map of them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3.0, size=(n_samples, n_classes))
    matrix = (np.eye(n_classes) + rng.normal(scale=mixing, size=(n_classes, n_classes))) / 2
    scores = logits @ matrix.T + rng.normal(scale=0.5, size=n_classes)
    return logits, (scores + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("calibrator", ODIR)
def test_the_strengths_chosen_give_the_same_again(calibrator):
    logits, y = mixed()
    chosen = calibrator().fit(logits, y)
    penalties = {name: getattr(chosen, f"{name}_") for name in FREE_OF_FOLDS}
    again = calibrator(**penalties).fit(logits, y)
    np.testing.assert_allclose(again.predict_proba(logits), chosen.predict_proba(logits), atol=1e-10)
    for name in penalties:
        half = calibrator(**{name: penalties[name]}).fit(logits, y)
        assert getattr(half, f"{name}_") == pytest.approx(penalties[name])


@pytest.mark.parametrize("calibrator", ODIR)
def test_no_collapse_where_coefficients_outnumber_samples(calibrator):
    """Labels from a softmax of the logits: 40 x 40 coefficients on 500 samples can't help, and must not harm."""
    logits, y = mixed(4500, 40, mixing=0.0)
    losses = [
        mean_nll(kind(classes=range(40)).fit(logits[:500], y[:500]).predict_log_proba(logits[500:]), y[500:])
        for kind in (calibrator, VectorScaling, TemperatureScaling)
    ]
    assert losses[0] < losses[1] + 0.0005
    assert losses[0] < losses[2] + 0.05


# Platt scaling and beta calibration


def targets(hit, weight, part=1.0):
    """Platt's, or a part of the way there from 0 and 1."""
    n_hits = weight @ hit
    return np.where(hit, 1 - part / (n_hits + 2), part / (weight.sum() - n_hits + 2))


def class_loss(x, target, weight, parameters, prior=0.0):
    """Mean log loss of a class, and a prior that draws gains to 1 and the offset to 0."""
    *gains, offset = parameters
    score = x @ gains + offset
    losses = -(target * log_expit(score) + (1 - target) * log_expit(-score))
    return np.average(losses, weights=weight) + prior * (((np.array(gains) - 1) ** 2).sum() + offset**2) / weight.sum()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("calibrator", [PlattScaling, BetaCalibration])
def test_a_map_by_class_is_a_logistic_regression_a_class(calibrator, weighted):
    """SciPy's BFGS finds nothing lower on Platt's targets; of Platt scaling a quarter, beside a weak prior."""
    logits, y = draw(1500)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else np.ones(len(y))
    fitted = calibrator().fit(logits, y, sample_weight=weight if weighted else None)
    proba = softmax(logits / fitted.temperature_, axis=1)
    log_p, log_rest = np.log(proba), np.log1p(-proba)
    by_platt = calibrator is PlattScaling
    # On the scale of log-odds at the temperature.
    ours = [fitted.temperature_ * fitted.coef_] if by_platt else [fitted.a_, fitted.b_]
    columns = []
    for k in range(4):
        x = np.stack([log_p[:, k] - log_rest[:, k]] if by_platt else [log_p[:, k], -log_rest[:, k]], 1)
        target = targets(y == k, weight, 0.25 if by_platt else 1.0)

        def loss(parameters, x=x, target=target):
            return class_loss(x, target, weight, parameters, by_platt / 8)

        found = np.array([*(gains[k] for gains in ours), fitted.intercept_[k]])
        assert (found[:-1] > 0).all()
        start = np.r_[np.ones(len(found) - 1), 0.0]
        assert loss(found) <= minimize(loss, start, options={"gtol": 1e-9}).fun + 1e-7
        columns.append(expit(x @ found[:-1] + found[-1]))
    np.testing.assert_allclose(
        fitted.predict_proba(logits), np.transpose(columns) / np.sum(columns, axis=0)[:, None], atol=1e-10
    )


def test_beta_gains_are_never_negative():
    """Labels that shun the confident: the free optimum has negative gains; no others that aren't do better."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(800, 3))
    y = (-np.abs(logits) + rng.gumbel(size=logits.shape)).argmax(1)
    fitted = BetaCalibration().fit(logits, y)
    proba, lowest = softmax(logits / fitted.temperature_, axis=1), []
    for k in range(3):
        x, target = np.stack([np.log(proba[:, k]), -np.log1p(-proba[:, k])], 1), targets(y == k, np.ones(800))

        def loss(parameters, x=x, target=target):
            return class_loss(x, target, np.ones(800), parameters)

        ours = fitted.a_[k], fitted.b_[k], fitted.intercept_[k]
        bounds = [(0, None), (0, None), (None, None)]
        assert loss(ours) <= minimize(loss, [0.5, 0.5, 0.0], bounds=bounds, tol=1e-12).fun + 1e-5
        lowest.append(minimize(loss, [0.5, 0.5, 0.0], tol=1e-9).x[:2].min())
    assert min(lowest) < 0 <= min(*fitted.a_, *fitted.b_)


# Quadratic scaling


def curved(n_samples, seed=0, curvature=0.15):
    """Logits of the second of two classes, and labels whose log-odds are a quadratic of them."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(scale=2.0, size=n_samples)
    return margin, (margin + curvature * margin**2 - 0.5 + rng.logistic(size=n_samples) > 0).astype(int)


def quadratic_score(fitted, z):
    """Its slope is linear over the range of the samples, and constant on either side."""
    low, high = fitted.range_[:, 1]
    steps = np.linspace(0, z, 20_001)
    share = np.clip((steps - low) / (high - low), 0, 1)
    slope = (1 - share) * fitted.slope_low_[1] + share * fitted.slope_high_[1]
    return fitted.intercept_[1] + trapezoid(slope, steps, axis=0)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_quadratic_is_at_the_penalised_optimum(weighted):
    margin, y = curved(400)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else np.ones(len(y))
    fitted = QuadraticScaling(penalty=0.5).fit(margin, y, sample_weight=weight if weighted else None)
    z = margin / fitted.temperature_
    low, high = z.min(), z.max()
    np.testing.assert_allclose(fitted.range_, [[-high, low], [-low, high]])
    rising = np.clip(z - low, 0, high - low) ** 2 / (2 * (high - low))
    rising -= low**2 / (2 * (high - low))
    terms = np.stack([z - rising, rising, np.ones_like(z)])
    n_hits, n = weight @ y, weight.sum()
    target = np.where(y == 1, 1 - 0.25 / (n_hits + 2), 0.25 / (n - n_hits + 2))

    def loss(parameters):
        score = parameters @ terms
        ridge = 2 * 0.5 / weight.sum() * np.sum((parameters - [1, 1, 0]) ** 2)
        losses = target * log_expit(score) + (1 - target) * log_expit(-score)
        return -weight @ losses / weight.sum() + ridge

    ours = np.array([fitted.slope_low_[1], fitted.slope_high_[1], fitted.intercept_[1]])
    least = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)], tol=1e-12)
    assert loss(ours) <= least.fun + 1e-7
    np.testing.assert_allclose(ours, least.x, atol=2e-3)
    new = np.array([-30.0, -1.0, 0.0, 2.0, 30.0])
    expected = quadratic_score(fitted, new / fitted.temperature_)
    np.testing.assert_allclose(np.diff(fitted.predict_log_proba(new))[:, 0], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.parametrize("curvature", [-1.0, -0.3, 0.15, 0.5])
def test_the_quadratic_never_turns_over(curvature):
    """The free one has its extremum among these samples, or not far from them."""
    margin, y = curved(2000, curvature=curvature)
    fitted = QuadraticScaling().fit(margin, y)
    assert min(*fitted.slope_low_, *fitted.slope_high_) >= 0
    log_proba = fitted.predict_log_proba(np.r_[-1e30, np.linspace(-50, 50, 2001), 1e30])
    assert np.isfinite(log_proba).all()
    assert (np.diff(log_proba[:, 1]) >= -1e-12).all()
    assert (np.diff(log_proba[:, 0]) <= 1e-12).all()


# Ensemble temperature scaling


def mixture(weights, logits, temperature):
    parts = [softmax(logits / temperature, axis=1), softmax(logits, axis=1), np.full(logits.shape, 1 / logits.shape[1])]
    return np.tensordot(weights, parts, 1)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_ensemble_is_at_the_optimum(weighted):
    """Of a grid of temperatures and its own, each with SLSQP's weights, none does better."""
    logits, y = draw(500)
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(y)) if weighted else None
    fitted = EnsembleTemperatureScaling().fit(logits, y, sample_weight=weight)
    assert fitted.weights_.sum() == pytest.approx(1)
    assert (fitted.weights_ >= 0).all()
    log_proba = np.log(mixture(fitted.weights_, logits, fitted.temperature_))
    np.testing.assert_allclose(fitted.predict_log_proba(logits), log_proba, atol=1e-12)
    constraint = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    for temperature in [fitted.temperature_, *np.geomspace(0.3, 10, 20)]:

        def objective(weights, temperature=temperature):
            return mean_nll(np.log(mixture(weights, logits, temperature)), y, weight)

        options = {"bounds": [(1e-9, 1)] * 3, "constraints": constraint, "method": "SLSQP", "tol": 1e-12}
        assert mean_nll(log_proba, y, weight) < minimize(objective, np.full(3, 1 / 3), **options).fun + 1e-6


def test_the_uniform_part_bounds_the_loss_of_confident_mistakes():
    """One sample in ten thousand is wrong with a logit of 1000: temperature scaling has to bow to it alone."""
    y = np.arange(10_000) % 3
    logits = 8.0 * np.eye(3)[y]
    logits[0] = [0.0, 1000.0, 0.0]
    alone, ensemble = (
        mean_nll(kind().fit(logits, y).predict_log_proba(logits), y)
        for kind in (TemperatureScaling, EnsembleTemperatureScaling)
    )
    assert ensemble < alone - 0.001


# Parameters that constraints don't describe, see tests/test_common_maps.py for the others


@pytest.mark.parametrize("bounds", [(0, 1), (2.0, 1.0), (0.1, np.inf), (np.nan, 1.0), (1.0,), (1, 2, 3), ("a", "b")])
def test_bad_bounds(bounds):
    with pytest.raises(ValueError, match="bounds must be two finite temperatures, 0 < lowest <="):
        TemperatureScaling(bounds=bounds).fit(*draw(50))


def test_too_few_classes():
    with pytest.raises(ValueError, match="classes must name the 4 columns of the logits"):
        TemperatureScaling(classes=["a", "b"]).fit(*draw(50))


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((), ValueError, "must hold at least one width; got none"),
        ((0,), ValueError, "must be a whole number of at least 1"),
        ((2.5,), TypeError, "each of .* must be a whole number"),
    ],
)
def test_bad_widths(sizes, error, message):
    with pytest.raises(error, match=message):
        IntraOrderPreservingCalibration(hidden_layer_sizes=sizes).fit(*draw(50))


# Few samples


def drawn_truly(n_samples, n_classes, seed):
    """Logits whose softmax is the truth, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.5, size=(n_samples, n_classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize(("kind", "most"), [(VectorScaling, 0.6), (PlattScaling, 0.25), (IsotonicCalibration, 0.8)])
def test_maps_of_few_samples_stay_near_the_truth_and_name_the_mend(kind, most, n_classes):
    """Separable samples among them, of which a map without a prior is several nats away."""
    new = drawn_truly(1000, n_classes, 99)[0]
    log_truth = log_softmax(new, axis=1)
    found = []
    # Platt's map of two classes has two parameters, for which 40 samples would do.
    for n_samples in (10, 20, 39):
        for seed in range(4):
            with pytest.warns(CalibrationSetWarning, match="TemperatureScaling"):
                calibrator = kind(classes=np.arange(n_classes)).fit(*drawn_truly(n_samples, n_classes, seed))
            lost = np.exp(log_truth) * (log_truth - calibrator.predict_log_proba(new))
            found.append(lost.sum(1).mean())
    assert max(found) < most
