"""Third stage: train the network, and its replicas, on the training part. Nothing here sees the test part.

Reads stages/network.py, data/train.parquet and data/validation.parquet; writes models/model.safetensors (all networks),
models/epochs.safetensors (network 0 after every epoch), models/folds.safetensors (with split.folds: the networks that
judge), metrics/train.json, metrics/history.csv and metrics/columns.csv (what was seen in each column of the training
rows, what becomes of it, and a warning where it is odd).

The plain loop, `loss.backward()` and `optimizer.step()`, is `run_epoch` in plumbline/training/autograd.py. For the
network as it is shipped a compiled kernel stands in, which does the same mathematics.

    python -m stages.train
"""

import sys
from pathlib import Path

from plumbline.basics import files, formats, params
from plumbline.model import folds, model, network
from plumbline.profiling import profile, warnings
from plumbline.tables import encoding, store
from plumbline.training import cross_fitting, loop, networks, snapshot, workers

TRAIN, VALIDATION = Path("data/train.parquet"), Path("data/validation.parquet")


def main(group: workers.Group = workers.ALONE) -> None:
    # Setup of the notebook: seed and device are parameters
    settings = params.read("seed", "train")
    net = network.read("stages/network.py")
    train = loop.with_engine(settings.train, net)

    # Step 2, load the training rows: columns become numbers, as these rows alone say
    part, watched = store.open(TRAIN), store.open(VALIDATION)
    facts, fitted = part.facts, encoding.fit(part, train.encoding)
    for line in profile.left_out_or_pooled(part, fitted):
        print(line)
    seen = warnings.judge(part, profile.profile(part, facts.target, fitted), fitted)
    for warning in warnings.lines(seen):
        print(warning, file=sys.stderr)
    data = encoding.encode(fitted, part, trained=True), part.classes()
    watch = encoding.encode(fitted, watched), watched.classes()
    counts = networks.class_counts(data[1], len(facts.classes)).tolist()
    rows = networks.rows_trained(data[1], len(counts), train.held_out)

    # Step 3, the 2-layer network: each draws its initial weights, network 0 where the notebook does
    drawn = networks.draw(settings, facts, fitted, net)
    of = f" of {train.members} members" if train.members > 1 else ""
    print(f"{rows} rows, {fitted.width} features, {drawn.parameters} parameters, {train.replicas} networks{of}")

    # With split.folds, networks that judge: each trained without the rows that it is going to score
    keeper = snapshot.Keeper(settings.train, settings.seed)
    cross_fitted = cross_fitting.cross_fit(part, settings.seed, train, net, keeper, group)

    # Steps 4 and 5, loss, optimizer and training: prints network 0's loss and accuracy, epoch by epoch
    trained = loop.train(drawn, data, watch, train, net, keeper, group)

    # All networks into the model file; the figures are network 0's as it was kept
    whole, history = networks.whole(trained, drawn, net), networks.history(trained)
    sizes, watches = (whole.hidden_size, whole.members), train.patience > 0 and train.held_out == 0
    card = model.Card(
        facts.target, facts.classes, counts, fitted, net.tree, *sizes, watches, facts.positive, drawn.every
    )
    with files.together():
        seal = model.save(whole.weights, card, "models/model.safetensors")
        model.save(whole.by_epoch, card, "models/epochs.safetensors", seal)
        folds.save(cross_fitted, of=seal)
        formats.write_csv(history[0], (row.values() for row in history), "metrics/history.csv")
        formats.write_csv(profile.Column._fields, seen, "metrics/columns.csv")
        formats.write_json(networks.figures(trained, drawn, rows, facts, train), "metrics/train.json")
    keeper.drop()


if __name__ == "__main__":
    workers.run(main, "stages.train")
