"""Switches for the mechanisms of clamping: each takes one out of the package while a fit runs.

A `Switch` replaces private functions and constants. It watches functions whose calls tell whether the fit would have
been another without the mechanism: where none does, there is no need to run it.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import wraps
from pkgutil import resolve_name
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from skclamp._judging.verdict import Reason
from skclamp.clamping import _natural_gradient, _search


class Switch(NamedTuple):
    """What takes a mechanism out, and what tells whether it acts."""

    # What is replaced, by its place in the package, and how: a function of the original.
    replaced: dict[str, Any]
    # Functions, and whether a call of one of them shows that the mechanism acts: by the original, the result and the
    # arguments.
    watched: dict[str, Any]


@contextmanager
def without(switch):
    """Take a mechanism out."""
    with ExitStack() as stack:
        for place, made in switch.replaced.items():
            stack.enter_context(_replaced(place, made))
        yield


@contextmanager
def watching(switches):
    """Yield the set of names of those switches, a dict, whose mechanisms act meanwhile."""
    acting: set[str] = set()
    with ExitStack() as stack:
        for name, switch in switches.items():
            for place, acts in switch.watched.items():
                stack.enter_context(_replaced(place, _watched(name, acts, acting)))
        yield acting


def _replaced(place, made):
    owner, _, name = place.rpartition(".")
    owner = resolve_name(f"skclamp.{owner}")
    return mock.patch.object(owner, name, made(getattr(owner, name)))


def _watched(name, acts, acting):
    def watch(original):
        @wraps(original)
        def called(*args, **options):
            result = original(*args, **options)
            if name not in acting and acts(original, result, *args, **options):
                acting.add(name)
            return result

        return called

    return watch


def constant(value):
    """What takes a constant's place, or a function of nothing that matters."""
    return lambda _: value


def returning(value):
    """What returns the same, whatever it is asked."""
    return lambda _: lambda *args, **options: value


def told(original, result, *args, **options):
    """Something was returned."""
    return result is not None


def called(*args, **options):
    """It was asked at all."""
    return True


def _first(original):
    return lambda *args, **options: original(*args, **options)[:1]


def _weak(original, result, descent, *args, fitted=True, **options):
    return not (fitted or descent.settings.weak_prior)


def _by_score(*args, by_score=False, **options):
    return by_score


def _ended_early(original, evidence, problem, splits, *args, **options):
    return len(evidence.folds) < len(splits)


def _with(**settings):
    """Of a method that goes by `self.settings`: as if these were others."""

    def made(original):
        def method(self, *args, **options):
            known = self.settings
            self.settings = replace(known, **settings)
            try:
                return original(self, *args, **options)
            finally:
                self.settings = known

        return method

    return made


def _by_temperature_alone(original, decision, *args, **options):
    return [why.reason for why in decision.objections] == [Reason.ANY_TEMPERATURE]


def _always_last(original):
    """Folds look like halves, from whose mean some steps follow."""

    def fit(clamp, *args, **options):
        half = len(clamp.searched) // 2
        short = [(train[:half], rows) for train, rows in clamp.splits]
        fitted = original(replace(clamp, splits=short), *args, **options)
        return replace(fitted, splits=clamp.splits, before=clamp)

    return fit


def _kept_as_it_is(original, result, clamp, *args, **options):
    most = min((len(train) for train, _ in clamp.splits), default=0)
    kept = result.state.identity and not result.state.history
    return bool(kept) and 2 * most > len(clamp.searched)


def _many_steps(original, evidence, *args, screened=False, **options):
    most = _search._MOST_STEPS
    return screened and any(len(seen.learned.history) >= most for fold in evidence.held_out for seen in fold)


def _below(original, chosen, steps, least):
    return original(steps, least - _natural_gradient._MIN_EVIDENCE) != chosen


def _tied(original, chosen, steps, least):
    return chosen is not None and steps[chosen].evidence < max(step.evidence for step in steps.values())


def _solved(**off):
    return lambda original: lambda *args, **options: original(*args, **{**options, **off})


CHOOSE = "clamping._natural_gradient._Descent.choose"
FORESEES = "clamping._natural_gradient.foresees_too_little"
DECIDE = dict.fromkeys(
    [f"clamping.{room}.decide" for room in ("_search", "_unlabelled", "_views")], _by_temperature_alone
)
SWITCHES = {
    "second start": Switch(
        {"clamping._calibrator.learn_unlabelled": _first},
        {"clamping._calibrator.learn_unlabelled": lambda original, starts, *args, **options: len(starts) > 1},
    ),
    "weak prior of scores": Switch({CHOOSE: _with(weak_prior=False)}, {"clamping._search._hold_out_on": _by_score}),
    "weak first step": Switch({CHOOSE: _with(for_guard=False)}, {"clamping._natural_gradient._Descent.solve": _weak}),
    "too little foreseen": Switch({FORESEES: returning(None)}, {FORESEES: told}),
    "strayed": Switch({"clamping._clamp.Clamp.strayed": returning(None)}, {"clamping._clamp.Clamp.strayed": told}),
    # The search.
    "passed over for maps": Switch(
        {"clamping._clamp.Clamp.passed_over_for": returning(None)}, {"clamping._clamp.Clamp.passed_over_for": told}
    ),
    "score test": Switch(
        {"clamping._search.scores_of": returning({})},
        {"clamping._search.look_at_identity": lambda original, found, *args: found[0] is not None},
    ),
    "screen": Switch(
        {"_judging.screen.Screen.may_be_chance": constant(False), "_judging.screen.Screen.objection": constant(None)},
        {"clamping._search.screen_of": lambda original, found, *args: found.objection is not None},
    ),
    "end of lost folds": Switch(
        {"clamping._search.MIN_SAMPLES": constant(np.inf)}, {"clamping._search._hold_out_on": _ended_early}
    ),
    "universal inference": Switch({"_judging.out_of_fold.Evidence.log_likelihood_ratio": returning(np.inf)}, DECIDE),
    "mean of folds": Switch(
        {"clamping._calibrator.fit_to_all": _always_last}, {"clamping._calibrator.fit_to_all": _kept_as_it_is}
    ),
    "few steps": Switch({"clamping._search._MOST_STEPS": constant(10)}, {"clamping._search._hold_out_on": _many_steps}),
    "evidence": Switch(
        {"clamping._natural_gradient._MIN_EVIDENCE": constant(0.0)},
        {"clamping._natural_gradient.most_probable": _below},
    ),
    "tie of a nat": Switch(
        {"clamping._natural_gradient._AS_MUCH_EVIDENCE": constant(1e-9)},
        {"clamping._natural_gradient.most_probable": _tied},
    ),
    "early stop": Switch(
        {"clamping._natural_gradient._LAST_PART": constant(0.0)}, {"clamping._search._hold_out_on": called}
    ),
    "prior of T": Switch(
        {"clamping._problem.solve_temperature": _solved(prior=False)},
        {"clamping._problem.solve_temperature": lambda original, found, *args, **options: found.prior_strength > 0},
    ),
    "smoothing": Switch(
        {"clamping._problem.solve_temperature": _solved(smooth=False)},
        {"clamping._problem.solve_temperature": lambda original, found, *args, **options: options.get("smooth")},
    ),
    "pool": Switch(
        {"clamping._calibrator.suits_pool": returning(False)},
        {
            "clamping._calibrator.judge_output": lambda original, judged, *args: judged[0] is not None,
            "clamping._clamp.Clamp.passed_over_for": called,
        },
    ),
    "last layer": Switch(
        {"clamping._calibrator.NeuralClampingCalibrator._tries_last_layer": returning(False)},
        {
            "clamping._calibrator.with_other_last_layer": lambda original, found, clamp, *args, **options: (
                found[0] is not clamp
            )
        },
    ),
    # What protects.
    "merged duplicates": Switch(
        {"clamping._calibrator.merged": lambda _: lambda problem: problem},
        {"clamping._calibrator.merged": lambda original, found, problem: found is not problem},
    ),
    "duplicates": Switch(
        {"_backbones.samples.Samples.copies": returning(None)}, {"_backbones.samples.Samples.copies": told}
    ),
    "groups": Switch(
        {"clamping._problem.Problem.units": constant(None)},
        {"clamping._calibrator.merged": lambda original, found, problem: found.units is not None},
    ),
    "missing classes": Switch(
        {"base._seen_classes.SeenClasses.are_missing_by_chance": returning(True)},
        {"base._seen_classes.SeenClasses.are_missing_by_chance": lambda original, found, *args: not found},
    ),
    "worse among all": Switch(
        {"clamping._search.worse_among_all": returning(None)}, {"clamping._search.worse_among_all": told}
    ),
    # Views.
    "views tried on few": Switch(
        {"clamping._views._FEW_SAMPLES": constant(10**9)}, {"clamping._views.choose_views": called}
    ),
    "views by two errors": Switch({"clamping._views._ERRORS": constant(0.0)}, {"clamping._views.choose_views": called}),
}
# What the package could do without, in nodes of its syntax trees without docstrings: by deletions that were tried. What
# has no switch is gone: it brought little, and that in one setting, or nothing.
NODES = {
    "second start": 343,
    "follower": 353,
    "shrinkage of the pool": 307,
    "second try": 270,
    "share of features": 47,
    "weak prior of scores": 22,
    "weak first step": 202,
    "too little foreseen": 147,
    "strayed": 416,
    "passed over for maps": 95,
    "score test": 1901,
    "universal inference": 227,
    "end of lost folds": 65,
    "parts": 931,
    "mean of folds": 54,
    "few steps": 40,
    "tie of a nat": 60,
    "evidence": 8,
    "promise beside losses": 248,
    "early stop": 64,
    "screen": 921,
    "pool": 2662,
    "merged duplicates": 149,
    "worse among all": 341,
    "views tried on few": 119,
}
