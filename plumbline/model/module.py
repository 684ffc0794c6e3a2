"""The trained network as a PyTorch module.

from plumbline.model import module
network = module.load("models/model.safetensors")
logits = network(torch.tensor(x))  # x (n, d): rows.expand(x, layout) of encoded rows and their encoding's layout
"""

from pathlib import Path

from plumbline.basics.errors import UserError
from plumbline.model import model
from plumbline.model import network as networks


def load(path: str | Path, replica: int = 0, network: str | Path | None = None):
    """Network `replica` of a model file, a torch.nn.Module in eval(). Where members are stored apart it is their mean.

    network: the file that defines the network. None: stages/network.py. A UserError where there is no such replica.
    """
    saved = model.load(path, network or networks.PATH)
    if not 0 <= replica < saved.networks:
        raise UserError(f"{path} holds {saved.networks} networks, from 0 to {saved.networks - 1}, not {replica}")
    return networks.scorer(saved.network, saved.card.sizes, saved.weights, replica)
