"""Which sample contains which class. The values of each label image are read once, and kept until it changes."""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.files import cache_folder, read_json, write_json
from refinenet_pl.progress import track

THREADS = 4


def presence(dataset: SegmentationDataset, num_classes: int) -> np.ndarray:
    """Return which sample contains which class, bool [N, C].

    The values are kept in the user's cache folder, with the size and the time of each label image.

    Raises:
        UserError: A label image cannot be read, or contains a value that is not a class.
    """
    masks = [sample.mask for sample in dataset.samples]
    # One file for each list of label images, because processes of a study may write at the same time.
    names = "\n".join(map(str, masks))
    key = hashlib.sha256(f"{dataset.colored}\n{names}".encode(errors="surrogatepass")).hexdigest()[:24]
    file = cache_folder() / "label_values" / f"{key}.json"
    known = {}
    if file.is_file():
        with contextlib.suppress(UserError):  # a damaged file is written anew
            known = read_json(file, "delete it")

    def values_of(index: int) -> list[int | list[int]]:
        mask = masks[index]
        assert mask is not None
        try:
            status = mask.stat()
        except FileNotFoundError as error:
            raise UserError(f"{mask}: no such file; expected a label image") from error
        saved = known.get(str(mask))
        if isinstance(saved, list) and saved[:2] == [status.st_size, status.st_mtime_ns]:
            return saved
        return [status.st_size, status.st_mtime_ns, np.unique(dataset.raw_mask(index)).tolist()]

    with (
        ThreadPoolExecutor(THREADS) as pool,
        track(pool.map(values_of, range(len(masks))), "Reading labels", len(masks)) as read,
    ):
        results = list(read)
    values = dict(zip(map(str, masks), results, strict=True))
    if values != known:
        with contextlib.suppress(OSError):  # a cache folder that cannot be written: the labels are read again
            write_json(file, values)
    found = np.zeros((len(masks), num_classes), bool)
    for index, mask in enumerate(masks):
        assert mask is not None
        indices = dataset.class_indices(np.array(results[index][2]), mask)
        found[index, indices[indices < num_classes]] = True
    return found
