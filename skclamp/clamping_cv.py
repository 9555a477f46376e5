"""NeuralClampingCalibratorCV: neural clamping over a grid, in the manner of scikit-learn's LogisticRegressionCV.

This file holds the grid and its results; the work is done in `_clamping` and below.
"""

import itertools
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import check_cv

from ._clamping import BaseClamping
from ._guard import MIN_SAMPLES
from ._validation import check_grid
from .clamping import GAMMA_RULE, NeuralClampingCalibrator

# Parameters of the CV form, and what each of their values is to a single calibrator.
_GRIDS = {"perturbations": "perturbation", "penalties": "penalty", "lrs": "lr", "gammas": "gamma"}


class NeuralClampingCalibratorCV(BaseClamping):
    """Neural clamping with gamma, penalty, learning rate and family chosen by cross-validation.

    Does what a `GridSearchCV` over `NeuralClampingCalibrator` does, and shares what its candidates have in common:
    logits, the accelerated network, and the way to the optimum, on which candidates of one family go on from each
    other. The best candidate's held-out losses also serve as the guard: it must beat temperature scaling, and the more
    candidates there were the more clearly.

    Parameters
    ----------
    estimator : torch.nn.Module, skorch.NeuralNet or FrozenEstimator, default=None
        The trained network; a skorch net must be initialised. It is shared, never changed. None means that X holds
        logits.
    perturbations : sequence of str, torch.nn.Module or None, default=("auto",)
        Families, see `NeuralClampingCalibrator`.
    gammas : sequence of float, default=(0.0, 0.5, 1.0, 2.0)
        Focusing parameters of the focal loss.
    penalties : sequence of float, default=(0.0,)
        Weights of the perturbation's norm.
    lrs : sequence of float or "auto", default=("auto",)
        Learning rates, see `NeuralClampingCalibrator`.
    cv : int, cross-validation generator or iterable, default=3
        Folds, stratified where an int is given; each sample must be held out once.
    loss_eps : float, default=0.0
        The training loss clips a label's probability to [loss_eps, 1 - loss_eps], below 0.5. The authors' toolkit does
        so at 1e-7; 0 is the exact loss.
    init : {"zeros", "normal", "gradient"} or array-like, default="zeros"
        Where the perturbation starts: at the identity; at the identity plus normal noise of standard deviation
        `init_scale` on each parameter; for "full", at the mean gradient of the summed logits over T with respect to the
        input; or at an array of the parameter's shape, such as a delta.
    init_scale : float, default=0.001
        Standard deviation of "normal", in units of the input.
    init_temperature : "optimal" or float, default="optimal"
        Where T starts; "optimal" is temperature scaling's.
    refit_temperature : bool, default=True
        Whether T is solved for exactly at the end: for the NLL, in float32 logits, the perturbation held.
    optimizer : {"auto", "natural", "sgd", "adam"} or class, default="auto"
        "natural" takes full-batch natural-gradient steps with a line search, for perturbations of few parameters;
        "auto" is "natural" up to 512 parameters and Adam beyond. A subclass of torch.optim.Optimizer runs in skorch's
        loop.
    optimizer_params : dict, default=None
        Further arguments of a torch optimiser.
    momentum : float, default=0.9
        Of the optimisers that have one.
    max_epochs : int, default=10
        Passes of training over the data at the most. Natural-gradient training stops by itself when the scores are no
        larger than chance makes them.
    batch_size : int, default=64
        Samples a pass through the network takes at once, and samples a step of a torch optimiser.
    shuffle : bool, default=True
        Whether a torch optimiser sees the samples in a new order each epoch.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic of the network while training. "auto" is bfloat16 autocast where the device multiplies it in
        hardware. The last temperature, and all that is predicted, come from the network's own precision.
    compile : bool, default=False
        Whether training runs a `torch.compile`d copy of the network.
    num_workers : int, default=0
        Processes that load a Dataset, as in torch's DataLoader.
    pin_memory : bool, default=False
        As in torch's DataLoader.
    device : str or torch.device, default=None
        Where to compute. None is where the network is, and shares its weights; elsewhere a copy is used.
    random_state : int, RandomState instance or None, default=None
        Of noise, folds, the order of samples, and the samples that steps are tried on.
    callbacks : list of skorch.callbacks.Callback, default=None
        Called in the final training.
    verbose : int, default=0
        At 1, the final training prints a line an epoch, as skorch does.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the network yields, or X without one. "auto" follows what is known: logits of a module or an array; of a
        skorch net what its criterion and nonlinearity say.
    classes : array-like of shape (n_classes,), default=None
        Names of the columns. Needed unless the labels are 0 ... K-1, the estimator has ``classes_``, or there are
        exactly K distinct labels.

    Attributes
    ----------
    cv_results_ : dict
        As GridSearchCV's: ``params``, ``param_*``, ``split*_test_score``, ``mean_test_score``, ``std_test_score`` and
        ``rank_test_score``; scores are negative mean NLLs. Candidates share their work, so there are no times.
    best_index_ : int
        The row with the best mean score.
    best_params_ : dict
        Its parameters.
    best_score_ : float
        Its mean score.
    temperature_ : float
        T.
    perturbation_ : torch.nn.Module
        The fitted input transform; without parameters where none was kept.
    delta_ : ndarray of one input's shape
        What is added to every input; only where the perturbation does nothing else ("full", "channel", or none).
    accepted_ : bool
        Whether a perturbation was kept.
    verdict_ : Verdict
        The guard's ``difference`` of held-out NLL to temperature scaling, in nats, its ``standard_error`` and
        ``p_value``; only where candidates were compared.
    module_ : ClampedModule
        Perturbation, network and temperature as one torch module that yields calibrated logits. It shares the network's
        weights.
    classes_ : ndarray of shape (n_classes,)
        Names of the columns.
    n_features_in_ : int
        ``X.shape[1]``.
    history_ : skorch.history.History
        Of the final training: a row an epoch.
    n_iter_ : int
        Epochs of the final training.
    cost_ : dict
        Passes "forward" and "backward": how often each sample went through the network during `fit`, on average.

    Raises
    ------
    ValueError, TypeError
        As `NeuralClampingCalibrator`; and where a grid is empty or holds a value that breaks a rule.

    See Also
    --------
    NeuralClampingCalibrator : One setting.

    References
    ----------
    .. [1] Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for
    Neural
       Network Calibration", TMLR 2024.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_classification
    >>> from skclamp import NeuralClampingCalibratorCV
    >>> X, y = make_classification(600, n_informative=6, n_classes=3, random_state=0)
    >>> X = X.astype("float32")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> search = NeuralClampingCalibratorCV(network, perturbations=["affine"], gammas=[0, 1], random_state=0).fit(X, y)
    >>> sorted(search.best_params_)
    ['gamma', 'lr', 'penalty', 'perturbation']
    """

    _parameter_constraints: dict = {
        **BaseClamping._parameter_constraints,
        **{name: ["array-like"] for name in _GRIDS},
        "cv": ["cv_object"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        perturbations=("auto",),
        gammas=(0.0, 0.5, 1.0, 2.0),
        penalties=(0.0,),
        lrs=("auto",),
        cv=3,
        loss_eps=0.0,
        init="zeros",
        init_scale=0.001,
        init_temperature="optimal",
        refit_temperature=True,
        optimizer="auto",
        optimizer_params=None,
        momentum=0.9,
        max_epochs=10,
        batch_size=64,
        shuffle=True,
        precision="auto",
        compile=False,
        num_workers=0,
        pin_memory=False,
        device=None,
        random_state=None,
        callbacks=None,
        verbose=0,
        response="auto",
        classes=None,
    ):
        self.estimator = estimator
        self.perturbations = perturbations
        self.gammas = gammas
        self.penalties = penalties
        self.lrs = lrs
        self.cv = cv
        self.loss_eps = loss_eps
        self.init = init
        self.init_scale = init_scale
        self.init_temperature = init_temperature
        self.refit_temperature = refit_temperature
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.momentum = momentum
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.precision = precision
        self.compile = compile
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.device = device
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.response = response
        self.classes = classes

    def _validate_params(self):
        super()._validate_params()
        rules = {**NeuralClampingCalibrator._parameter_constraints, "gamma": [GAMMA_RULE]}
        for grid, name in _GRIDS.items():
            check_grid(getattr(self, grid), grid, rules[name])

    def _path(self):
        """The grid, in an order in which neighbours resemble each other."""
        grid = itertools.product(*(getattr(self, name) for name in _GRIDS))
        return [self._settings(**dict(zip(_GRIDS.values(), values, strict=True))) for values in grid]

    def _compete(self, problem, learner, path):
        """The settings to keep, or None where the guard refuses, and the state to start from."""
        codes = problem.codes.cpu().numpy()
        folds = check_cv(self.cv, codes, classifier=True)
        evidence, best, start = self._examine(problem, learner, path, folds.split(codes, codes))
        self.cv_results_ = _results(path, evidence)
        self.best_index_ = best
        self.best_params_ = self.cv_results_["params"][best]
        self.best_score_ = float(self.cv_results_["mean_test_score"][best])
        if problem.n_weighted < MIN_SAMPLES:
            self.verdict_ = replace(self.verdict_, accepted=False)
        if not self.verdict_.accepted:
            return None, None
        return path[best], start


def _results(path, evidence):
    """Held-out scores of a grid in the form of GridSearchCV's ``cv_results_``."""
    params = [{name: getattr(settings, name) for name in _GRIDS.values()} for settings in path]
    scores = -evidence.fold_losses()
    results = {f"param_{name}": _column([row[name] for row in params]) for name in _GRIDS.values()}
    results["params"] = params
    results.update({f"split{k}_test_score": scores[:, k] for k in range(scores.shape[1])})
    results["mean_test_score"] = scores.mean(1)
    results["std_test_score"] = scores.std(1)
    results["rank_test_score"] = rankdata(-scores.mean(1), method="min").astype(np.int32)
    return results


def _column(values):
    """A masked array of objects; numpy itself would take an nn.Sequential apart."""
    column = np.ma.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        column[k] = value
    return column
