"""Leaves samples that cannot be read out of a dataset."""

from concurrent.futures import ThreadPoolExecutor

from torch import distributed

from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.errors import UserError


def split_readable(dataset: SegmentationDataset, threads: int) -> tuple[list[Sample], dict[str, str]]:
    """Read all samples once, and part those that can be read from those that cannot.

    The processes of a run share the work and return the same. Every process must call it.

    Args:
        dataset: The samples to read, without augmentation.
        threads: Number of samples that each process reads at a time.

    Returns:
        The readable samples, in their order, and the error message of each other sample by its name.
    """

    def error_of(index: int) -> str | None:
        try:
            dataset[index]
        except UserError as error:
            return str(error)
        return None

    parallel = distributed.is_available() and distributed.is_initialized()
    world, rank = (distributed.get_world_size(), distributed.get_rank()) if parallel else (1, 0)
    indices = range(rank, len(dataset), world)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = dict(zip(indices, pool.map(error_of, indices), strict=True))
    parts = [found] * world
    if parallel:
        distributed.all_gather_object(parts, found)
    errors = {index: error for part in parts for index, error in part.items() if error is not None}
    readable = [sample for index, sample in enumerate(dataset.samples) if index not in errors]
    return readable, {dataset.samples[index].name: errors[index] for index in sorted(errors)}
