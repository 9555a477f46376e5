"""Constructors: their signatures, docstrings and the reference agree, and users' subclasses have any kind they like."""

import ast
import copy
import inspect
import pickle
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from _output_maps import PUBLIC
from _small_networks import labels_of, logits
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from test_docs import reference

import skclamp
from skclamp import CalibrationMonitor, NeuralClampingCalibrator, RiskMonitor, TemperatureScaling
from skclamp.base import BaseCalibrator, Map

X = logits(300)
Y = labels_of(X)


@pytest.mark.parametrize("cls", [BaseCalibrator, CalibrationMonitor, RiskMonitor, *PUBLIC.values()])
def test_signature_docstring_and_reference_agree(cls):
    docscrape, documented = pytest.importorskip("numpydoc.docscrape"), {}
    doc = docscrape.ClassDoc(cls)
    for names, kind, _ in [*doc["Parameters"], *doc["Other Parameters"]]:
        defaults = map(ast.literal_eval, re.findall(r"default=(.+?)(?=, and|$)", kind))
        documented.update(zip(names.split(", "), defaults, strict=True))
    signature = inspect.signature(cls)
    assert {name: parameter.default for name, parameter in signature.parameters.items()} == documented
    assert list(signature.parameters) == list(documented)
    kinds = [parameter.kind.name for parameter in signature.parameters.values()]
    assert kinds == ["POSITIONAL_OR_KEYWORD", *["KEYWORD_ONLY"] * (len(kinds) - 1)]
    assert cls().get_params(deep=False) == documented
    assert cls in reference()[1].values()


def _with_defaults(objects):
    """Functions, classes and their methods that have a default."""
    found = []
    for name, each in objects.items():
        methods = {f"{name}.{k}": v for k, v in vars(each).items() if k[0] != "_"} if inspect.isclass(each) else {}
        for path, function in {name: each, **methods}.items():
            function = getattr(function, "__func__", function)
            if callable(function) and re.search(r"^ +[\w, ]+ : .*default=", function.__doc__ or "", re.MULTILINE):
                found.append(pytest.param(function, id=path))
    return found


@pytest.mark.parametrize("function", _with_defaults(reference()[1]))
def test_the_defaults_of_functions_are_those_of_their_docstrings(function):
    found = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    for names, kind in re.findall(r"^ +(\w[\w, ]*) : (.*default=.*)", function.__doc__, re.MULTILINE):
        defaults = map(ast.literal_eval, re.findall(r"default=(.+?)(?=, and|$)", kind))
        documented = dict(zip(names.split(", "), defaults, strict=True))
        assert documented.items() <= found.items()


def test_parameters_are_few():
    assert len(inspect.signature(NeuralClampingCalibrator).parameters) <= 20


@pytest.mark.parametrize(
    "removed", ["precision", "least_probability", "views", "cv", *inspect.signature(skclamp.TorchTraining).parameters]
)
def test_parameters_that_are_gone_are_unknown(removed):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{removed}'"):
        NeuralClampingCalibrator(torch.nn.Linear(2, 2), **{removed: None})


def test_only_the_estimator_may_be_given_by_its_place():
    network = torch.nn.Linear(2, 2)
    assert NeuralClampingCalibrator(network).estimator is network
    with pytest.raises(TypeError, match="positional argument"):
        TemperatureScaling(network, 1.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        NeuralClampingCalibrator(network, momentum=0.9)


class TemperingMap(Map):
    def transform(self, logits):
        return logits / self.temperature_ / self.factor


class Tempering(TemperatureScaling):
    """Whose temperature is multiplied by a factor; subclasses say how they come by it."""

    _parameter_constraints: ClassVar[dict] = {"factor": [float]}

    def _fit_logits(self, logits, y, sample_weight):
        learned = super()._fit_logits(logits, y, sample_weight).learned()
        return TemperingMap(**learned, factor=self.factor)


class OwnConstructor(Tempering):
    def __init__(self, estimator=None, *, factor=2.0, gamma=0.0, cv=None):
        super().__init__(estimator, gamma=gamma, cv=cv)
        self.factor = factor


@dataclass(eq=False, repr=False, kw_only=True)
class LikeOurs(Tempering):
    factor: float = 2.0


@dataclass
class BareDataclass(Tempering):
    factor: float = 2.0


SUBCLASSES = [OwnConstructor, LikeOurs, BareDataclass]


@pytest.mark.parametrize("cls", SUBCLASSES)
def test_subclasses_of_users(cls, tmp_path):
    calibrator = cls(factor=4.0, gamma=1.0).set_params(gamma=0.5)
    assert calibrator.get_params().items() >= {"estimator": None, "factor": 4.0, "gamma": 0.5}.items()
    assert "factor=4.0" in repr(calibrator)
    twin = clone(calibrator)
    proba = calibrator.fit(X, Y).predict_proba(X)
    plain = TemperatureScaling(gamma=0.5).fit(X, Y)
    assert calibrator.temperature_ == plain.temperature_
    assert proba.max() < plain.predict_proba(X).max()
    calibrator.save(tmp_path / "saved")
    others = [twin.fit(X, Y), copy.deepcopy(calibrator), pickle.loads(pickle.dumps(calibrator))]
    for other in [*others, skclamp.load(tmp_path / "saved")]:
        assert other.factor == 4.0
        np.testing.assert_array_equal(other.predict_proba(X), proba)


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:all labels are of one class:UserWarning")
def test_subclasses_of_users_pass_scikit_learns_checks():
    check_estimator(OwnConstructor(LogisticRegression()))


@pytest.mark.parametrize("training", [torch.optim.SGD, None, {"optimizer": "sgd"}, "adam"])
def test_a_wrong_training_is_refused_by_name_wherever_it_is(training):
    calibrator = NeuralClampingCalibrator(torch.nn.Linear(2, 2), perturbation="full", training=training)
    assert get_tags(calibrator).estimator_type == "classifier"
    with pytest.raises(ValueError, match="training must be a TorchTraining where training__init is set; got"):
        calibrator.set_params(training__init="normal")
    X, y = np.zeros((20, 2), dtype=np.float32), np.arange(20) % 2
    with pytest.raises(ValueError, match="The 'training' parameter of .* must be"):
        cross_val_score(calibrator, X, y, cv=2, error_score="raise")
