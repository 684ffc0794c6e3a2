"""The two-layer network, a plain PyTorch module: edit it, and what you write is what is trained and scored.

Keep the class's name and its three arguments, and let `forward` return logits. The file as it is shipped is trained by
a compiled kernel, which knows this one network. Any other is trained by plumbline/training/autograd.py.
"""

import torch
from torch import nn


class TwoLayerNet(nn.Module):
    """Linear, ReLU, Linear; logits come out, (n, 1) for two classes and (n, k) for more.

    There is no sigmoid or softmax here: BCEWithLogitsLoss and CrossEntropyLoss apply theirs, and one in the network
    as well would squash the logits twice and starve the gradients.
    """

    def __init__(self, features: int, hidden_size: int, outputs: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(features, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, outputs) of the rows x (n, features)."""
        return self.net(x)
