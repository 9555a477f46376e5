"""Which family natural steps go on with: the smaller of as probable ones, and what is worth a look where none is."""

import torch

from skclamp.clamping._evidence_step import Step
from skclamp.clamping._natural_gradient import most_probable, worth_a_look


def step(n_parameters, gain=0.0, evidence=0.0):
    """A step whose parameters are all determined by the data."""
    return Step(torch.zeros(n_parameters), gain, evidence, torch.eye(n_parameters), float(n_parameters), 100.0)


def test_of_as_probable_families_the_smaller_one_goes_first():
    steps = {"grid": step(90, evidence=20.0), "filter": step(27, evidence=19.2), "affine": step(6, evidence=18.9)}
    assert most_probable(steps, 3.0) == "filter"


def test_none_is_probable_below_the_threshold():
    assert most_probable({"affine": step(6, evidence=2.9)}, 3.0) is None
    assert most_probable({}, 3.0) is None


def test_steps_that_gain_a_nat_for_each_parameter_or_nearly_are_worth_a_look():
    steps = {"affine": step(6, gain=4.1), "color": step(12, gain=9.9), "filter": step(27, gain=40.0)}
    assert [*worth_a_look(steps)] == ["filter", "affine"]


def test_what_has_a_name_is_always_worth_a_look():
    assert [*worth_a_look({None: step(6)})] == [None]
    assert worth_a_look({"affine": step(6)}) == {}
