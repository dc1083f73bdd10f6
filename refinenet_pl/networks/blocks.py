"""The blocks of the paper's figure 3, one class each (Lin et al., CVPR 2017, section 3.2).

Feature maps are float tensors [N, C, h, w]. No block has batch norm. Only convolutions that have a bias in the authors'
code have one here.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["original", "improved"]
InitialWeights = Literal["authors", "identity"]

FEATURE_GAIN = 2.0
"""Factor that brings encoders' feature maps to about unit scale: MobileNet-v2's have an RMS of 0.2 to 0.7."""


def conv(in_channels: int, out_channels: int, kernel_size: int, bias: bool = False) -> nn.Conv2d:
    """Make a convolution that keeps the size; 3x3 in the paper, 1x1 in the light-weight network."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)


class StartsAsIdentity(nn.Module):
    """A block that can start as the identity: the paper's residual connections, with branches that start at zero."""

    def start_as_identity(self) -> None:
        """Set the branches' last weights to zero, and draw those of the main path so that it keeps the scale."""
        raise NotImplementedError


def keep_scale(conv: nn.Module, summands: int = 1, gain: float = 1.0) -> None:
    """Draw a convolution's weights so that the sum of `summands` such convolutions has `gain` times the input's scale.

    Args:
        conv: The convolution.
        summands: Number of paths in the sum.
        gain: sqrt(2) after a ReLU, which halves the mean square.
    """
    assert isinstance(conv, nn.Conv2d)
    nn.init.normal_(conv.weight, std=gain / math.sqrt(conv.weight[0].numel() * summands))


class ResidualConvUnit(StartsAsIdentity):
    """Residual convolution unit (RCU): x + conv(relu(conv(relu(x)))).

    The identity is x before its ReLU, and no activation follows the sum. So gradients reach the encoder directly.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, kernel_size=3, bias=True)
        self.conv2 = conv(channels, channels, kernel_size=3)

    def start_as_identity(self) -> None:
        """Set the second convolution to zero."""
        keep_scale(self.conv1, gain=math.sqrt(2))
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Refine features [N, C, h, w]; the shape stays the same."""
        # The ReLU is not in place, because the sum needs x.
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class MultiResolutionFusion(StartsAsIdentity):
    """Multi-resolution fusion: convolve each path, upsample it to the largest path's size, and sum all paths.

    Args:
        in_channels: Channels of each path.
        kernel_size: Kernel size of the convolutions.
    """

    def __init__(self, in_channels: list[int], kernel_size: int = 3) -> None:
        super().__init__()
        self.out_channels = min(in_channels)
        self.convs = nn.ModuleList(conv(channels, self.out_channels, kernel_size) for channels in in_channels)

    def start_as_identity(self) -> None:
        """Let the sum of all paths have the scale of one."""
        for convolve in self.convs:
            keep_scale(convolve, summands=len(self.convs))

    def forward(self, paths: list[Tensor]) -> Tensor:
        """Fuse paths [N, in_channels[i], h_i, w_i] into [N, min(in_channels), max h, max w]."""
        height, width = paths[0].shape[-2:]
        for path in paths:
            height, width = max(height, path.shape[-2]), max(width, path.shape[-1])
        resized = [upsample(convolve(paths[i]), height, width) for i, convolve in enumerate(self.convs)]
        fused = resized[0]
        for path in resized[1:]:  # TorchScript has no sum() of tensors
            fused = fused + path
        return fused


def upsample(x: Tensor, height: int, width: int) -> Tensor:
    """Resize features bilinearly with aligned corners, as the published networks do.

    Features that have the size already are returned as they are.
    """
    if x.shape[-2] == height and x.shape[-1] == width:
        return x
    return F.interpolate(x, size=[height, width], mode="bilinear", align_corners=True)


class MaxPool(nn.Module):
    """Max-pooling over 5x5 pixels with stride 1. The border has no padding values: windows are cut to the features."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool features [N, C, h, w]; the shape stays the same."""
        if torch.is_grad_enabled():
            return F.max_pool2d(x, kernel_size=5, stride=1, padding=2)
        # The same maxima, along rows and then columns: fewer comparisons. With gradients it is slower on CPUs, because
        # the indices of two maxima are stored.
        rows = F.max_pool2d(x, kernel_size=[1, 5], stride=1, padding=[0, 2])
        return F.max_pool2d(rows, kernel_size=[5, 1], stride=1, padding=[2, 0])


class ChainedResidualPooling(StartsAsIdentity):
    """Chained residual pooling (CRP): background context from a chain of 5x5 max-poolings, each added to the input.

    The input passes one activation, then a chain of blocks of pooling and convolution. The output is the activated
    input plus the output of every block. The chain contains no activation.

    Args:
        channels: Channels of input and output.
        blocks: Length of the chain. The paper draws 2, the authors' code allows 2 or 4, the public ports use 4. With 0
            only the activation remains: a network without chained pooling.
        pooling: "original" pools, then convolves (CVPR 2017). "improved" convolves, then pools (the authors' models of
            2018).
        kernel_size: Kernel size of the convolutions.
        activation: ReLU; ReLU6 with the encoder MobileNet-v2.
    """

    def __init__(
        self,
        channels: int,
        blocks: int = 4,
        pooling: Pooling = "original",
        kernel_size: int = 3,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.pool_first = pooling == "original"
        self.activation = activation()
        self.pool = MaxPool()
        self.convs = nn.ModuleList(conv(channels, channels, kernel_size) for _ in range(blocks))

    def start_as_identity(self) -> None:
        """Set the chain to zero. Its first convolution learns first, then the others."""
        for convolve in self.convs:
            assert isinstance(convolve, nn.Conv2d)
            nn.init.zeros_(convolve.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add pooled context to features [N, channels, h, w]; the shape stays the same."""
        x = self.activation(x)
        block = x
        for convolve in self.convs:
            block = convolve(self.pool(block)) if self.pool_first else self.pool(convolve(block))
            x = x + block
        return x


class RefineNetBlock(StartsAsIdentity):
    """One RefineNet block: fuses feature maps of several resolutions at the finest resolution (figure 3a).

    Args:
        encoder_channels: Channels of each path from an encoder.
        widths: Channels that each of these paths is reduced to first.
        previous_channels: Channels of the coarser block's output. None for the coarsest block.
        rcus_per_input: Residual convolution units on each path.
        rcus_per_output: Residual convolution units after the pooling.
        pooling: Kind of chained residual pooling.
        pooling_blocks: Length of the pooling chain; 0 for none.
        kernel_size: Kernel size of all convolutions outside the residual convolution units.
    """

    def __init__(
        self,
        encoder_channels: list[int],
        widths: list[int],
        previous_channels: int | None = None,
        rcus_per_input: int = 2,
        rcus_per_output: int = 1,
        pooling: Pooling = "original",
        pooling_blocks: int = 4,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            conv(channels, width, kernel_size) for channels, width in zip(encoder_channels, widths, strict=True)
        )
        path_channels = widths + ([] if previous_channels is None else [previous_channels])
        self.input_units = nn.ModuleList(residual_units(channels, rcus_per_input) for channels in path_channels)
        self.out_channels = min(path_channels)
        # A block with a single path has no fusion, and no convolution for it.
        self.fusion = MultiResolutionFusion(path_channels, kernel_size) if len(path_channels) > 1 else None
        self.pooling = ChainedResidualPooling(self.out_channels, pooling_blocks, pooling, kernel_size)
        self.output_units = residual_units(self.out_channels, rcus_per_output)

    def start_as_identity(self) -> None:
        """Bring the encoder's paths to about unit scale; the units, the fusion and the pooling start by themselves."""
        for reduce in self.reduce:
            keep_scale(reduce, gain=FEATURE_GAIN)

    def forward(self, paths: list[Tensor]) -> Tensor:
        """Refine and fuse paths.

        Args:
            paths: The encoder's paths in the constructor's order, then the coarser block's output, if any.

        Returns:
            [N, out_channels, max h, max w].
        """
        reduced = [reduce(paths[i]) for i, reduce in enumerate(self.reduce)]
        inputs = reduced + paths[len(reduced) :]
        refined = [units(inputs[i]) for i, units in enumerate(self.input_units)]
        fused = refined[0] if self.fusion is None else self.fusion(refined)
        return self.output_units(self.pooling(fused))


def residual_units(channels: int, count: int) -> nn.Sequential:
    """Chain `count` residual convolution units; 0 gives the identity."""
    return nn.Sequential(*(ResidualConvUnit(channels) for _ in range(count)))
