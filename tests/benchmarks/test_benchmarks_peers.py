"""The comparison with peers on made-up logits, with scikit-learn for the peer that is always there."""

import numpy as np
import pytest
from _result_rows import rows_of
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

pytest.importorskip("sklearn", minversion="1.8", reason="needs scikit-learn's own temperature scaling")

import peers
from _peer_tables import compare, read_records
from _peers import PEERS, OneVsRest, log_odds, log_p
from _records import load_record

pytestmark = pytest.mark.slow


@pytest.fixture
def record(monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4.0, size=(600, 4)).astype(np.float32)
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    monkeypatch.setattr(peers, "load_record", lambda name, data_dir: (logits, y))
    return logits, y


def test_each_method_has_a_file_and_the_table_pairs_them(record, tmp_path, capsys):
    methods = ["TemperatureScaling", "PlattScaling", "MatrixScaling"]
    arguments = ["--methods", *methods, "--records", "cifar100_lenet-5"]
    arguments += ["--peers", "scikit-learn temperature", "scikit-learn sigmoid of log p", "VectorScaling"]
    arguments += ["--sizes", "100", "300", "--seeds", "2", "--repeats", "1", "--out", str(tmp_path)]
    peers.main(arguments)
    assert "PlattScaling" in capsys.readouterr().out
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(files) == {
        *(f"{method}.csv" for method in (*methods, "VectorScaling")),
        "scikit-learn_temperature.csv",
        "scikit-learn_sigmoid_of_log_p.csv",
    }
    for name in files:
        rows = rows_of(tmp_path / name)
        assert [(row["n"], row["seed"]) for row in rows] == [("100", "0"), ("100", "1"), ("300", "0"), ("300", "1")]
        assert all(float(row["seconds"]) > 0 for row in rows)

    records = read_records(tmp_path)
    same = compare(records, peers.Comparison("TemperatureScaling", "scikit-learn temperature"))
    assert list(same.n) == [100, 300]
    assert (same.difference.abs() < 1e-5).all()
    platt = compare(records, peers.Comparison("PlattScaling", "scikit-learn sigmoid of log p"))
    np.testing.assert_allclose(platt.difference, platt.nll - platt.peer_nll, atol=1e-12)
    assert (platt.ratio > 0).all()

    peers.main(arguments)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files, "what the files hold is left out"
    peers.main(["--summary", "--out", str(tmp_path)])
    assert "MatrixScaling" in capsys.readouterr().out


def test_a_smaller_calibration_set_is_judged_on_the_same_half(record, tmp_path):
    arguments = ["--methods", "TemperatureScaling", "--records", "cifar100_lenet-5", "--seeds", "1", "--repeats", "1"]
    peers.main([*arguments, "--sizes", "100", "300", "--out", str(tmp_path)])
    few, many = rows_of(tmp_path / "TemperatureScaling.csv")
    assert few["accuracy"] == many["accuracy"], "temperature scaling changes no prediction"
    assert few["nll"] != many["nll"]


def test_a_long_fit_is_not_repeated(monkeypatch):
    fits = []

    def fitting(name):
        return lambda split: (fits.append(name), peers.Outcome(1.0, 0.0, 1.0, {"long": 2.0, "short": 0.1}[name]))[1]

    monkeypatch.setattr(peers, "run_of", fitting)
    assert set(peers.run_in_turns(["long", "short"], None, repeats=3)) == {"long", "short"}
    assert fits == ["long", "short", "short", "short"]


def test_peers_that_are_missing_are_left_out(record, monkeypatch, tmp_path, capsys):
    def missing():
        raise ImportError("No module named 'nowhere'")

    monkeypatch.setitem(PEERS, "scikit-learn temperature", missing)
    arguments = ["--methods", "TemperatureScaling", "--records", "cifar100_lenet-5", "--sizes", "100", "--seeds", "1"]
    peers.main([*arguments, "--out", str(tmp_path)])
    assert "scikit-learn temperature is left out: No module named 'nowhere'" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["TemperatureScaling.csv"]


def test_every_comparison_names_what_there_is():
    for comparison in peers.COMPARISONS:
        assert comparison.method in peers.OURS
        assert comparison.peer in PEERS or comparison.peer in peers.OURS


@pytest.mark.parametrize(
    ("name", "method", "scores"),
    [
        ("temperature", "temperature", log_p),
        ("sigmoid of log p", "sigmoid", log_p),
        ("sigmoid of log-odds", "sigmoid", log_odds),
        ("isotonic", "isotonic", np.asarray),
    ],
)
def test_scikit_learns_maps_are_those_of_calibrated_classifier_cv(record, name, method, scores):
    logits, y = record
    proba = softmax(logits.astype(float), axis=1)
    classifier = LogisticRegression()
    # Hands its inputs on as scores.
    classifier.classes_, classifier.coef_, classifier.intercept_ = np.unique(y), np.eye(proba.shape[1]), 0.0
    whole = CalibratedClassifierCV(FrozenEstimator(classifier), method=method, ensemble=False).fit(scores(proba), y)
    alone = PEERS[f"scikit-learn {name}"]().fit(proba, y).predict_proba(proba)
    np.testing.assert_allclose(alone, whole.predict_proba(scores(proba)), atol=1e-12)


def test_scores_of_the_peers():
    np.testing.assert_allclose(log_odds(np.array([0.25, 0.5])), [-np.log(3), 0])
    np.testing.assert_allclose(log_p(np.array([0.25, 0.0])), np.log([0.25, 1e-300]))


def test_one_vs_rest_renormalises():
    class Half:
        def fit(self, p, y):
            self.share = y.mean()
            return self

        def predict(self, p):
            return np.full(len(p), self.share)

    y = np.repeat([0, 1, 2], [5, 3, 2])
    proba = OneVsRest(Half).fit(np.full((10, 3), 1 / 3), y).predict_proba(np.full((4, 3), 1 / 3))
    np.testing.assert_allclose(proba, np.tile([0.5, 0.3, 0.2], (4, 1)))


def test_records_are_known_by_name():
    with pytest.raises(ValueError, match="name must be one of .* got 'mnist'"):
        load_record("mnist")
    with pytest.raises(ValueError, match="the probabilities of 'cifar100_lenet-5' aren't public: give data_dir"):
        load_record("cifar100_lenet-5")


def test_the_records_are_as_accurate_as_recorded(data_dir):
    logits, y = load_record("cifar100_wideresnet-16-4", data_dir)
    assert logits.shape == (10_000, 100)
    assert (logits.argmax(1) == y).mean() == pytest.approx(0.7556, abs=0.003)
