"""NeuralClampingCalibrator: a perturbation of the input and a temperature, around a frozen network.

This file holds the parameters and which candidates compete; the work is done in `_clamping` and below.
"""

from numbers import Real

import numpy as np
from sklearn.model_selection import KFold
from torch import nn

from ._clamping import BaseClamping
from ._guard import MIN_SAMPLES, NOTHING_TRIED, logger
from ._validation import Interval, StrOptions
from .perturbations import PERTURBATIONS

REFERENCE_SETTINGS = {
    "perturbation": "full",
    "gamma": 1.0,
    "loss_eps": 1e-7,
    "penalty": 0.01,
    "init": "normal",
    "init_scale": 0.001,
    "init_temperature": 1.0,
    "refit_temperature": False,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "max_epochs": 100,
    "batch_size": 1000,
    "shuffle": True,
    "validation_fraction": None,
    "precision": "float32",
}


AUTO_GAMMAS = (0.0, 0.5, 1.0, 2.0)


GAMMA_RULE = Interval(Real, 0, None, closed="left")


class NeuralClampingCalibrator(BaseClamping):
    """Neural clamping: learns a perturbation of the input and a temperature around a frozen network.

    The calibrated probabilities are ``softmax(f(perturbation(x)) / T)``. Perturbation and T minimise, on the
    calibration set, the mean focal loss plus `penalty` times the distance of the perturbation's parameters from the
    identity. With its defaults it picks the family of the perturbation, proves on held-out folds that it beats
    temperature scaling, and is temperature scaling where it doesn't. `REFERENCE_SETTINGS` are the authors'.

    Parameters
    ----------
    estimator : torch.nn.Module, skorch.NeuralNet or FrozenEstimator, default=None
        The trained network; a skorch net must be initialised. It is shared, never changed. None means that X holds
        logits.
    perturbation : str, torch.nn.Module or None, default="auto"
        "full" is one offset for every entry of the input (the thesis); "channel" an offset a channel; "affine" a gain
        and an offset a channel; "curve" a quadratic tone curve a channel; "color" a matrix across channels; "filter" a
        small filter a channel; "grid" a coarse map of gains and offsets. For X of shape (n_samples, n_features),
        features are channels, and "full", "channel", "affine" and "curve" apply. "auto" appends those that the scores
        ask for, one after another. A module that starts as the identity, keeps shapes and treats each sample alike is
        copied. None is temperature scaling.
    gamma : float or "auto", default=0.0
        Focusing parameter of the focal loss, at least 0. 0 is the NLL; more rewards entropy. "auto" takes the best of
        0, 0.5, 1 and 2 on held-out folds.
    penalty : float, default=0.0
        Lambda, the weight of the 2-norm of (parameters - identity), which isn't squared.
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
    lr : float or "auto", default="auto"
        Learning rate, as in skorch, of a torch optimiser; "auto" is 0.01. With "natural", the length of the first
        trial step in natural steps, which the line search doubles or halves; "auto" is 1.
    momentum : float, default=0.9
        Of the optimisers that have one.
    max_epochs : int, default=10
        Passes of training over the data at the most. Natural-gradient training stops by itself when the scores are no
        larger than chance makes them.
    batch_size : int, default=64
        Samples a pass through the network takes at once, and samples a step of a torch optimiser.
    shuffle : bool, default=True
        Whether a torch optimiser sees the samples in a new order each epoch.
    validation_fraction : float or None, default=0.5
        Part of the samples that each fold of the guard holds out: 0.5 is two folds, 0.2 five. Below 100 samples the
        result is temperature scaling. None trains on all the data without a guard.
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
    ValueError
        If a parameter or the data break a rule, the network's output doesn't depend on its input, or training diverges.
    TypeError
        If the estimator isn't a network, or X isn't floating-point.

    See Also
    --------
    NeuralClampingCalibratorCV : Chooses gamma, penalty, learning rate and family from a grid.
    TemperatureScaling : The same without a perturbation, for any classifier.

    Notes
    -----
    A natural-gradient step solves for the parameters with the second moments of the per-sample scores (the empirical
    Fisher information, shrunk towards its diagonal); one pass over the network serves all families, since their scores
    are contractions of the same input gradients. "auto" takes the family with the largest score statistic less twice
    its degrees of freedom, goes on from there, and stops where no score is larger than chance makes it.

    References
    ----------
    .. [1] Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for
    Neural
       Network Calibration", TMLR 2024, equations 5 to 7.
    .. [2] J. Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_classification
    >>> from skclamp import NeuralClampingCalibrator
    >>> X, y = make_classification(600, n_informative=6, n_classes=3, random_state=0)
    >>> X = X.astype("float32")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> calibrator = NeuralClampingCalibrator(network, random_state=0).fit(X, y)
    >>> calibrator.predict_proba(X).shape
    (600, 3)
    """

    _parameter_constraints: dict = {
        **BaseClamping._parameter_constraints,
        "perturbation": [StrOptions({"auto", *PERTURBATIONS}), nn.Module, None],
        "gamma": [StrOptions({"auto"}), GAMMA_RULE],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        perturbation="auto",
        gamma=0.0,
        loss_eps=0.0,
        penalty=0.0,
        init="zeros",
        init_scale=0.001,
        init_temperature="optimal",
        refit_temperature=True,
        optimizer="auto",
        optimizer_params=None,
        lr="auto",
        momentum=0.9,
        max_epochs=10,
        batch_size=64,
        shuffle=True,
        validation_fraction=0.5,
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
        self.perturbation = perturbation
        self.gamma = gamma
        self.loss_eps = loss_eps
        self.penalty = penalty
        self.init = init
        self.init_scale = init_scale
        self.init_temperature = init_temperature
        self.refit_temperature = refit_temperature
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.momentum = momentum
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.validation_fraction = validation_fraction
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

    def _path(self):
        if self.perturbation is None:
            return []
        if not isinstance(self.gamma, str):
            return [self._settings()]
        return [self._settings(gamma=gamma) for gamma in AUTO_GAMMAS]

    def _unperturbed(self, problem, gamma=0.0):
        """Temperature scaling; with the focal loss where no exact NLL solve comes last."""
        focal = 0.0 if self.refit_temperature or isinstance(self.gamma, str) else self.gamma
        return super()._unperturbed(problem, focal)

    def _compete(self, problem, learner, path):
        """The settings to keep, or None where the guard refuses, and the state to start from."""
        if self.validation_fraction is None and len(path) == 1:
            return path[0], None
        if self.validation_fraction is not None and problem.n_weighted < MIN_SAMPLES:
            logger.info("temperature scaling: %d samples with weight, fewer than %d", problem.n_weighted, MIN_SAMPLES)
            self.verdict_ = NOTHING_TRIED
            return None, None
        n_folds = max(2, round(1 / (self.validation_fraction or 0.5)))
        splits = KFold(n_folds, shuffle=True, random_state=learner.draw_seed()).split(np.empty(len(problem)))
        _, best, start = self._examine(problem, learner, path, splits)
        if self.validation_fraction is not None and not self.verdict_.accepted:
            return None, None
        return path[best], start
