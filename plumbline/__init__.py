"""The library behind the stages, in layers that only look down: basics, bits, tables, and so on up to commands."""

from plumbline.basics.errors import UserError as UserError


def load(path, *, ensemble: bool = False, network=None):
    """A model file as a classifier: predict_proba, predict, warnings, classes_ and feature_names_in_ (docs/model.md).

    ensemble: the mean of all networks answers, not network 0 alone. network: the file that defines an edited network.
    A UserError says in one line what is wrong with the file, and later with a table.
    """
    from plumbline.commands.classifier import Classifier  # here, so that importing this package costs nothing

    return Classifier(path, ensemble, network)
