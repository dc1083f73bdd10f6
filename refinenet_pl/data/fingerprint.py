"""A fingerprint of the files of a split, equal for two copies of the data."""

import hashlib
from collections.abc import Sequence

from refinenet_pl.data.dataset import Sample

MAX_FILES = 2000
"""Number of samples whose files are looked at. The names of all samples count."""


def fingerprint(samples: Sequence[Sample]) -> dict[str, int | str]:
    """Return the number of samples, and hashes of their names and of the sizes of their files.

    Neither the folder nor the times of the files count. The files are not read: an edit that keeps a file's size shows
    only in the pixels of the training's first steps.

    Args:
        samples: The split, in order. Of more than MAX_FILES samples, evenly spaced ones are looked at.
    """
    names = hashlib.sha256("\n".join(sample.name for sample in samples).encode())
    sizes = hashlib.sha256()
    for sample in samples[:: max(1, -(-len(samples) // MAX_FILES))]:
        files = (sample.image, sample.mask)
        sizes.update(f"{[file.stat().st_size if file and file.is_file() else None for file in files]}\n".encode())
    return {"samples": len(samples), "names": names.hexdigest()[:16], "file_sizes": sizes.hexdigest()[:16]}
