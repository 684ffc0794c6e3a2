"""The two-layer network of the notebook."""

from torch import nn


class TwoLayerNN(nn.Module):
    """Linear, ReLU, Linear; gives logits."""

    def __init__(self, input_dim, hidden_dim=32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 1))

    def forward(self, x):
        """Logits of the rows x."""
        return self.net(x)
