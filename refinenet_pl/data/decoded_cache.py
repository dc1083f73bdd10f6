"""A cache of decoded samples: images and class indices as bytes in one file, which all processes map into memory.

Decoding is most of the work of reading a sample. From the cache, a crop reads only the rows that it needs.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision import tv_tensors

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.parallel import usable_cpus
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write, read_json, write_json
from refinenet_pl.images import image_size
from refinenet_pl.locks import try_lock
from refinenet_pl.progress import track

if TYPE_CHECKING:
    from refinenet_pl.data.dataset import SegmentationDataset

VERSION = 1
"""Increase it whenever reading an image or a label image gives other values."""
BYTES_PER_PIXEL = 4
"""Red, green, blue and class index."""
SPARE = 2**30
"""Bytes of the disk that a cache leaves free."""


class DecodedCache:
    """Reads decoded samples by their index.

    Args:
        file: The pixels: for each sample the image [H, W, 3], then the class indices [H, W].
        sizes: Height and width of each sample.
    """

    def __init__(self, file: Path, sizes: Sequence[tuple[int, int]]) -> None:
        self.file = file
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        self.starts = np.concatenate([[0], np.cumsum(BYTES_PER_PIXEL * self.sizes.prod(1))])

    @cached_property
    def _bytes(self) -> np.memmap[Any, np.dtype[np.uint8]]:
        # Mode "c" never writes to the file, also if a transform writes to a sample.
        return np.memmap(self.file, np.uint8, mode="c")

    def __getstate__(self) -> dict[str, Any]:
        """Let each process map the file itself: pickled, a map would be copied."""
        return {key: value for key, value in vars(self).items() if key != "_bytes"}

    def image(self, index: int) -> tv_tensors.Image:
        """Return an image, uint8 [3, H, W]. Its pixels are read when they are used."""
        height, width = self.sizes[index]
        start = self.starts[index]
        pixels = self._bytes[start : start + 3 * height * width].reshape(height, width, 3)
        return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))

    def mask(self, index: int) -> np.ndarray:
        """Return class indices, uint8 [H, W]. They are read when they are used."""
        height, width = self.sizes[index]
        end = self.starts[index + 1]
        return np.asarray(self._bytes[end - height * width : end].reshape(height, width))


def decoded_cache(folder: Path, dataset: "SegmentationDataset") -> DecodedCache:
    """Return the cache of a dataset, and decode its samples first if that has not been done.

    The name of its files depends on the paths, sizes and times of all source files and on the encoding of the labels.
    So a cache is never outdated, and processes that use it are not disturbed by another one that builds a new one.

    Args:
        folder: Where caches are kept.
        dataset: The samples; their augmentation does not matter.

    Raises:
        UserError: A sample cannot be read, or the disk is too full.
    """
    key = _key(dataset)
    file, index = folder / f"{key}.pixels", folder / f"{key}.json"
    if not index.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{key}.lock").open("a") as lock:
            while not try_lock(lock):  # another process builds it
                time.sleep(0.5)
            if not index.is_file():
                _build(file, index, dataset)
    content = read_json(index, f"delete {folder / key}.*", {"sizes": list})
    cache = DecodedCache(file, [(height, width) for height, width in content["sizes"]])
    found = file.stat().st_size if file.is_file() else 0
    if found != cache.starts[-1] or len(cache.sizes) != len(dataset.samples):
        raise UserError(f"{file}: found {found} bytes, expected {cache.starts[-1]}; delete {folder / key}.*")
    return cache


def _key(dataset: "SegmentationDataset") -> str:
    content = hashlib.sha256(f"{VERSION} {dataset.colored} {sorted(dataset.encoding.items())}\n".encode())
    with track(dataset.samples, "checking the cache") as samples:
        for sample in samples:
            assert sample.mask is not None
            content.update(f"{_state(sample.image)} {_state(sample.mask)}\n".encode(errors="surrogatepass"))
    return content.hexdigest()[:24]


def _state(path: AnyPath) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a file of the dataset") from error
    return f"{os.path.abspath(str(path))} {status.st_size} {status.st_mtime_ns}"


def _build(file: Path, index: Path, dataset: "SegmentationDataset") -> None:
    samples = dataset.samples
    threads = usable_cpus()
    with ThreadPoolExecutor(threads) as pool, track(samples, "measuring images", len(samples)) as tracked:
        sizes = list(pool.map(image_size, (sample.image for sample in tracked)))
    cache = DecodedCache(file, sizes)
    needed, free = int(cache.starts[-1]), shutil.disk_usage(file.parent).free
    if needed + SPARE > free:
        raise UserError(
            f"data.cache_dir: the decoded samples need {needed / 1e9:.1f} GB, but {file.parent} has "
            f"{free / 1e9:.1f} GB free, of which {SPARE / 1e9:.1f} GB must stay; name a folder on another disk, or "
            "leave data.cache_dir out"
        )

    with atomic_write(file) as temporary:
        with temporary.open("wb") as output:
            output.truncate(needed)

        def write(number: int) -> None:
            image, mask = dataset.read(number)
            with temporary.open("r+b") as output:
                output.seek(int(cache.starts[number]))
                output.write(image.permute(1, 2, 0).contiguous().numpy().tobytes())
                output.write(mask.tobytes())

        with (
            ThreadPoolExecutor(threads) as pool,
            track(pool.map(write, range(len(samples))), "decoding", len(samples)) as done,
        ):
            for _ in done:
                pass
    write_json(index, {"sizes": [list(size) for size in sizes]})
