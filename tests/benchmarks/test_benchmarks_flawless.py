"""The benchmark of networks that make hardly a mistake."""

import pytest

import flawless


@pytest.mark.filterwarnings("ignore:temperature_ can't be learned:sklearn.exceptions.ConvergenceWarning")
def test_the_prior_costs_little_and_the_bound_everything(capsys):
    for name in flawless.PROBLEMS:
        draws = flawless.run(name, 4)
        assert draws.flawless.any()
        means = draws[draws.flawless].mean(numeric_only=True)
        assert means["skclamp"] < means["T = 1"] + 0.005 < means["smoothed"] + 0.005 < means["at the bound"]
    flawless.main(["--draws", "2"])
    assert "99.8 %, n = 500  all: 2" in capsys.readouterr().out
