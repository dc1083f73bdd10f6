"""Layouts of published weights, as tables of module names: the published name, and the name in our networks.

In the published names of the ResNet networks, s = 1 is the coarsest block (the paper's RefineNet-4). In those of the
MobileNet-v2 network, the coarsest block is crp4.
"""

from collections.abc import Iterator

Pairs = Iterator[tuple[str, str]]

MOBILENET_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Number of blocks in each stage of MobileNet-v2."""


def refinenet() -> Pairs:
    """Yield the layout of RefineNet with a ResNet."""
    yield from resnet_encoder()
    yield from decoder()
    yield from residual_units()


def lightweight_resnet() -> Pairs:
    """Yield the layout of Light-Weight RefineNet with a ResNet, which has no residual convolution units."""
    yield from resnet_encoder()
    yield from decoder()


def lightweight_mobilenet() -> Pairs:
    """Yield the layout of Light-Weight RefineNet with MobileNet-v2."""
    yield from mobilenet_encoder()
    yield from mobilenet_decoder()


def resnet_encoder() -> Pairs:
    """Yield the modules of the ResNet encoder, whose published names are torchvision's."""
    for module in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"):
        yield module, f"encoder.{module}"


def decoder() -> Pairs:
    """Yield the modules of the decoder except the residual convolution units."""
    for s in (1, 2, 3, 4):
        block = f"decoder.blocks.{s - 1}"
        yield f"p_ims1d2_outl{s}_dimred", f"{block}.reduce.0"
        if s > 1:
            yield f"adapt_stage{s}_b2_joint_varout_dimred", f"{block}.fusion.convs.0"
            yield f"mflow_conv_g{s - 1}_b3_joint_varout_dimred", f"{block}.fusion.convs.1"
        yield from pooling(f"mflow_conv_g{s}_pool", block)
    yield "clf_conv", "segmentation_head.0"


def residual_units() -> Pairs:
    """Yield the residual convolution units: two before each block, and three after it.

    Of the three, our networks count the first to the block. The other two belong to the next block, or come before the
    classifier.
    """
    for s in (1, 2, 3, 4):
        block = f"decoder.blocks.{s - 1}"
        following = f"decoder.blocks.{s}.input_units.1" if s < 4 else "decoder.final_units"
        yield from residual_unit(f"adapt_stage{s}_b.0.1", f"{block}.input_units.0.0")
        yield from residual_unit(f"adapt_stage{s}_b.0.2", f"{block}.input_units.0.1")
        yield from residual_unit(f"mflow_conv_g{s}_b.0.1", f"{block}.output_units.0")
        yield from residual_unit(f"mflow_conv_g{s}_b.0.2", f"{following}.0")
        yield from residual_unit(f"mflow_conv_g{s}_b.0.3", f"{following}.1")


def residual_unit(published: str, ours: str) -> Pairs:
    """Yield the two convolutions of one residual convolution unit."""
    yield f"{published}_conv", f"{ours}.conv1"
    yield f"{published}_conv_relu_varout_dimred", f"{ours}.conv2"


def pooling(published: str, block: str) -> Pairs:
    """Yield the four convolutions of one chained residual pooling."""
    for k in (1, 2, 3, 4):
        yield f"{published}.0.{k}_outvar_dimred", f"{block}.pooling.convs.{k - 1}"


def mobilenet_encoder() -> Pairs:
    """Yield the modules of the MobileNet-v2 encoder.

    Our network and torchvision's number all blocks in one sequence; the published one restarts at each stage.
    """
    yield "layer1", "encoder.features.0"
    # torchvision's first block has no expansion, so our network has the expansion in front of the block.
    yield "layer2.0.output.0", "encoder.features.1.0"
    yield "layer2.0.output.1", "encoder.features.1.1.conv.0"
    yield "layer2.0.output.2.0", "encoder.features.1.1.conv.1"
    yield "layer2.0.output.2.1", "encoder.features.1.1.conv.2"
    feature = 2
    for layer, blocks in enumerate(MOBILENET_BLOCKS[1:], start=3):
        for i in range(blocks):
            published, ours = f"layer{layer}.{i}.output", f"encoder.features.{feature}.conv"
            yield f"{published}.0", f"{ours}.0"
            yield f"{published}.1", f"{ours}.1"
            yield f"{published}.2.0", f"{ours}.2"
            yield f"{published}.2.1", f"{ours}.3"
            feature += 1


def mobilenet_decoder() -> Pairs:
    """Yield one block per stride, coarse to fine; the two coarsest take two encoder maps each."""
    for block, (crp, maps) in enumerate([("crp4", (8, 7)), ("crp3", (6, 5)), ("crp2", (4,)), ("crp1", (3,))]):
        for i, layer in enumerate(maps):
            yield f"conv{layer}", f"decoder.blocks.{block}.reduce.{i}"
        yield from pooling(crp, f"decoder.blocks.{block}")
    for coarser in (4, 3, 2):
        yield f"conv_adapt{coarser}", f"decoder.blocks.{5 - coarser}.adapt"
    yield "segm", "segmentation_head.0"
