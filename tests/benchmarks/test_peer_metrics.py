"""The comparison with the peers' metrics: it runs without them, and agrees where one is there."""

import pytest

import peer_metrics

pytestmark = pytest.mark.slow


def test_peers_that_are_missing_are_left_out(monkeypatch, capsys):
    def missing(y, proba):
        raise ImportError("No module named 'peer'")
        yield

    monkeypatch.setattr(peer_metrics, "PEERS", {"peer": missing})
    peer_metrics.main(["--n-samples", "150"])
    assert "peer: left out (No module named 'peer')" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("peer", "module"),
    [
        ("torchmetrics", "torchmetrics"),
        ("netcal", "netcal"),
        ("uncertainty-calibration", "calibration"),
        ("relplot", "relplot"),
    ],
)
def test_agrees_with_a_peer_that_is_there(monkeypatch, peer, module):
    pytest.importorskip(module)
    monkeypatch.setattr(peer_metrics, "PEERS", {peer: peer_metrics.PEERS[peer]})
    for row in peer_metrics.rows(15_000, 5):
        assert row["difference"] < (1e-3 if "chance" in row["what"] or "as it comes" in row["what"] else 1e-6)
