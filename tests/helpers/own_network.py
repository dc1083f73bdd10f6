"""A network of a user's own class."""

from torch import Tensor, nn


class Shallow(nn.Module):
    """Two convolutions: each output depends on 7 x 7 pixels."""

    def __init__(self, classes: int = 1, encoder_weights: str | None = "imagenet") -> None:
        super().__init__()
        if encoder_weights is not None:
            raise FileNotFoundError("no weights here")
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, classes, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
