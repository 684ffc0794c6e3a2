import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.early_stopping import Best


def weights_of(networks, epoch):
    """Weights that tell which network and epoch they are of."""
    return {"net.0.bias": np.array([[r + epoch / 1000] for r in networks])}


@given(
    losses=st.integers(1, 5).flatmap(
        lambda networks: st.lists(
            st.lists(st.integers(0, 9), min_size=networks, max_size=networks), min_size=1, max_size=30
        )
    ),
    patience=st.integers(1, 6),
)
def test_each_network_keeps_its_best_epoch_and_stops_as_if_alone(losses, patience):
    best = Best.start(patience, weights_of(range(len(losses[0])), 0))
    stopped = {}
    for epoch, row in enumerate(losses, start=1):
        before = best.running
        going_on = best.update(epoch, weights_of(before, epoch), np.array(row, float)[before])
        assert before[going_on].tolist() == best.running.tolist()
        stopped |= dict.fromkeys(before[~going_on], epoch)
        if not len(best.running):
            break
    for r in range(len(losses[0])):
        kept, lowest, last = 0, np.inf, None  # one network's story, told by itself
        for epoch, row in enumerate(losses, start=1):
            if row[r] < lowest:
                kept, lowest = epoch, row[r]
            elif epoch - kept >= patience:
                last = epoch
                break
        assert best.epoch[r] == kept
        assert best.weights["net.0.bias"][r, 0] == r + kept / 1000
        assert stopped.get(r) == last


def test_without_patience_the_last_epoch_is_kept():
    best = Best.start(0, weights_of(range(3), 0))
    for epoch in (1, 2):
        assert best.update(epoch, weights_of(range(3), epoch), None).all()
    assert best.epoch.tolist() == [2, 2, 2]
    assert best.weights["net.0.bias"][2, 0] == 2.002
