"""Third stage: train the network, and its replicas, on the training part. Nothing here sees the test part.

Reads stages/network.py, data/train.parquet and data/validation.parquet. Writes models/model.safetensors (all networks),
models/epochs.safetensors (network 0 after every epoch), models/folds.safetensors (with split.folds: the networks of the
folds), metrics/train.json, metrics/history.csv and metrics/columns.csv (what was seen in each column, and is odd).

The plain loop, `loss.backward()` and `optimizer.step()`, is `run_epoch` in plumbline/training/autograd.py. For the
network as it is shipped a compiled kernel stands in, which does the same mathematics.

    python -m stages.train
"""

from plumbline.basics import files, formats, params
from plumbline.model import folds, model, network
from plumbline.profiling import profile, warnings
from plumbline.tables import encoding, store
from plumbline.training import cross_fitting, loop, networks, snapshot, workers


def main(group: workers.Group = workers.ALONE) -> None:
    # Setup of the notebook: seed and device are parameters
    settings = params.read("seed", "train")
    net = network.read("stages/network.py")
    train = loop.with_engine(settings.train, net)

    # Step 2, load the training rows: columns become numbers, by what these rows alone say
    part, watched = store.open("data/train.parquet"), store.open("data/validation.parquet")
    facts, fitted = part.facts, encoding.fit(part, train.encoding)
    profile.tell(part, fitted)
    seen = warnings.judge(part, profile.profile(part, facts.target, fitted), fitted)
    warnings.tell(seen)
    x, y = encoding.encode(fitted, part, trained=True), part.classes()
    watch = encoding.encode(fitted, watched), watched.classes()
    counts = networks.class_counts(y, len(facts.classes)).tolist()
    rows = networks.rows_trained(y, len(counts), train.held_out)

    # Step 3, the 2-layer network: each draws its initial weights, network 0 where the notebook does
    drawn = networks.draw(settings, facts, fitted, net)
    many = f"{train.replicas} network" + "s" * (train.replicas > 1)
    many += f" of {train.members} members" if train.members > 1 else ""
    print(f"{rows} rows, {fitted.width} features, {drawn.parameters} parameters, {many}")

    # With split.folds, one more network a fold, trained without the fold's rows, which it will score
    keeper = snapshot.Keeper(settings.train, settings.seed)
    cross_fitted = cross_fitting.cross_fit(part, settings.seed, train, net, keeper, group)

    # Steps 4 and 5, loss, optimizer and training: prints network 0's loss and accuracy, epoch by epoch
    trained = loop.train(drawn, (x, y), watch, train, net, keeper, group)

    # All networks go into the model file; the figures are network 0's, at the epoch that it kept
    whole, history = networks.whole(trained, drawn, net), networks.history(trained)
    card = model.Card(
        target=facts.target,
        classes=facts.classes,
        train_counts=counts,
        encoding=fitted,
        network=net.tree,
        hidden_size=whole.hidden_size,
        members=whole.members,
        watched=train.patience > 0 and train.held_out == 0,
        positive=facts.positive,
        every=drawn.every,
    )
    with files.together():
        seal = model.save(whole.weights, card, "models/model.safetensors")
        model.save(whole.by_epoch, card, "models/epochs.safetensors", seal)
        folds.save(cross_fitted, "models/folds.safetensors", seal)
        formats.write_csv(history[0], (row.values() for row in history), "metrics/history.csv")
        formats.write_csv(profile.Column._fields, seen, "metrics/columns.csv")
        formats.write_json(networks.figures(trained, drawn, rows, facts, train), "metrics/train.json")
    keeper.drop()


if __name__ == "__main__":
    workers.run(main, "stages.train")
