"""The settings for a real table, by its size: what `plumbline start` writes, and `benchmarks/tables.py` tries."""

SMALL = 10_000  # up to so many rows many epochs pay, as measured on 27 tables (docs/settings.md)
LARGE = 50_000  # from so many rows on time is what counts
WORK = 1e8  # rows x columns x epochs of one network: some ten seconds of one core
FEWEST = 100  # of fewer rows a tenth is too few to choose anything by
ENOUGH = 500  # of fewer rows a fifth is too few for a test part


def settings_for(rows: int, classes: int, columns: int, can_fold: bool = True) -> dict[str, object]:
    """Parameters by name for a table of so many rows, classes, and columns beside the target.

    Up to SMALL rows every training row also judges (cross-fitting), if folds can be cut, and a fifth of the rows is the
    test part, for a last look. A larger table has a tenth of its rows as validation part, which no network trains on
    or is stopped by. Each member of a network holds out rows of its own for early stopping. Members see numbers in
    three ways (robust, bins, splines), as many in each. Large tables get larger batches, a learning rate that falls to
    0, fewer epochs, and two or four members of more units.
    """
    if rows <= SMALL:
        steps = {"learning_rate": 0.004, "schedule": "constant", "batch_size": 128, "epochs": 200, "patience": 20}
        members = 12
    elif rows <= LARGE:
        steps = {"learning_rate": 0.004, "schedule": "constant", "batch_size": 128, "epochs": 60, "patience": 8}
        members = 9
    else:
        epochs = int(min(max(WORK / (rows * max(columns + classes, 50)), 5), 30))
        steps = {"learning_rate": 0.004, "schedule": "cosine", "batch_size": 256, "epochs": epochs, "patience": 5}
        members = 4 if rows <= 4 * LARGE else 2
    split = {"train": 0.7, "validation": 0.1 if rows >= FEWEST else 0.0, "folds": 0}
    if rows <= SMALL and can_fold:
        split = {"train": 0.8 if rows >= ENOUGH else 1.0, "validation": 0.0, "folds": 5}
    return {
        **{f"split.{name}": value for name, value in split.items()},
        "split.stratify": True,
        "train.encoding": "mixed",
        "train.hidden_size": 128 if rows <= LARGE else 256,
        "train.weight_decay": 0.1,
        "train.input_rate": 3.0,
        "train.ema_decay": 0.7,
        "train.held_out": 0.125,
        "train.members": members,
        "train.replicas": 3 if split["folds"] else 4,  # the fewest that can tell how seeds differ
        "evaluate.importance": True,
        "evaluate.baselines": True,
    } | {f"train.{name}": value for name, value in steps.items()}


def suited_to(rows: int) -> str:
    """What the settings for so many rows go by, in one line."""
    if rows <= SMALL:
        return f"up to {SMALL:,} rows: as many epochs as the rows that are held out ask for"
    if rows <= LARGE:
        return f"up to {LARGE:,} rows: fewer epochs, for there are more steps in each"
    return f"more than {LARGE:,} rows: large batches and few epochs, for time is what counts"
