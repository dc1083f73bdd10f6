"""Makes small datasets in their real folder layouts, with label images of blocks and images that color each label."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from refinenet_pl.data.classes import voc_colors

PALETTE = np.array(voc_colors(256), dtype=np.uint8)


def blocks(size: tuple[int, int], values: Sequence[int], seed: int, block: int = 8) -> np.ndarray:
    """Return labels, uint8 [H, W]: square blocks of random values."""
    rows, columns = (-(-side // block) for side in size)
    drawn = np.random.default_rng(seed).choice(values, (rows, columns)).astype(np.uint8)
    return drawn.repeat(block, 0).repeat(block, 1)[: size[0], : size[1]]


def save_image(path: Path, labels: np.ndarray) -> None:
    """Write an image that shows every label value in its color of VOC's color map."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PALETTE[labels]).save(path)


def save_gray(path: Path, labels: np.ndarray) -> None:
    """Write a label image of gray values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def save_palette(path: Path, labels: np.ndarray) -> None:
    """Write a label image of palette indices, as in VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(PALETTE.tobytes())
    image.save(path)


def make_camvid(root: Path, train: int = 4, val: int = 3, test: int = 2, size: tuple[int, int] = (48, 64)) -> Path:
    """Write CamVid in SegNet's form, with labels 0..11."""
    for split, count in {"train": train, "val": val, "test": test}.items():
        for index in range(count):
            labels = blocks(size, range(12), seed=index)
            save_image(root / split / f"{split}_{index}.png", labels)
            save_gray(root / f"{split}annot" / f"{split}_{index}.png", labels)
    return root


def draw_photographs(root: Path) -> Path:
    """Replace CamVid's images by smooth random ones of the same sizes, all different, as photographs are."""
    for seed, path in enumerate(sorted(root.glob("*/*.png"))):
        if not path.parent.name.endswith("annot"):
            values = np.random.default_rng(seed).integers(0, 256, (9, 10, 3), dtype=np.uint8)
            with Image.open(path) as image:
                size = image.size
            Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)
    return root


def make_voc(root: Path, train: Sequence[str], val: Sequence[str], augmented: Sequence[str] = ()) -> Path:
    """Write VOC's devkit with labels 0..20 and 255, images of different sizes; SegmentationClassAug if `augmented`."""
    devkit = root / "VOCdevkit" / "VOC2012"
    for index, name in enumerate(sorted({*train, *val, *augmented})):
        labels = blocks((40 + 3 * index, 50 + index), [*range(21), 255], seed=index)
        save_image(devkit / "JPEGImages" / f"{name}.jpg", labels)
        if name in {*train, *val}:
            save_palette(devkit / "SegmentationClass" / f"{name}.png", labels)
        if augmented:
            save_palette(devkit / "SegmentationClassAug" / f"{name}.png", labels)
    lists = {"train": train, "val": val} | ({"trainaug": augmented} if augmented else {})
    for split, names in lists.items():
        save_list(devkit / "ImageSets" / "Segmentation" / f"{split}.txt", names)
    return root


def make_sbd(root: Path, train: Sequence[str], val: Sequence[str]) -> Path:
    """Write SBD's release, with labels 0..20 in .mat files. Image sizes differ from those of `make_voc`."""
    dataset = root / "benchmark_RELEASE" / "dataset"
    for split, names in {"train": train, "val": val}.items():
        save_list(dataset / f"{split}.txt", names)
        for name in names:
            labels = blocks((33, 45), range(21), seed=len(name))
            save_image(dataset / "img" / f"{name}.jpg", labels)
            (dataset / "cls").mkdir(exist_ok=True)
            savemat(dataset / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": labels, "Boundaries": 0}})
    return root


def make_cityscapes(root: Path, size: tuple[int, int] = (32, 64)) -> Path:
    """Write Cityscapes with two cities per split and labels 0..33 and 255."""
    cities = {"train": ("aachen", "bremen"), "val": ("frankfurt", "munster"), "test": ("berlin", "bonn")}
    for split, names in cities.items():
        for seed, city in enumerate(names):
            stem = f"{city}_000000_000019"
            labels = blocks(size, [*range(34), 255], seed, block=4)
            save_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", labels)
            save_gray(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", labels)
            save_gray(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", labels)
    return root


def save_list(path: Path, names: Sequence[str]) -> None:
    """Write a list file, one name per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def make_nyudv2(
    root: Path,
    values: Sequence[int] = (*range(40), 255),
    train: Sequence[str] = ("000003", "000004"),
    test: Sequence[str] = ("000001",),
) -> Path:
    """Write NYUDv2 with label values from `values`. Every label image contains the last of them."""
    for split, names in {"train": train, "test": test}.items():
        for name in names:
            labels = blocks((40, 50), values, seed=int(name))
            labels[:8, :8] = values[-1]
            save_image(root / "images" / f"{name}.png", labels)
            save_gray(root / "masks" / f"{name}.png", labels)
        save_list(root / f"{split}.txt", names)
    return root


def make_nyudv2_raw(root: Path, images: np.ndarray, labels: np.ndarray, scenes: Sequence[str] = ()) -> Path:
    """Write NYU's labeled file as MATLAB 7.3 does, with columns first.

    Args:
        root: Folder of the dataset.
        images: uint8 [N, H, W, 3].
        labels: Raw labels, 0..894, of shape [N, H, W].
        scenes: The scene of each image.
    """
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file.create_dataset("images", data=images.transpose(0, 3, 2, 1), compression="gzip")
        file.create_dataset("labels", data=labels.transpose(0, 2, 1).astype(np.uint16), compression="gzip")
        file.create_dataset("depths", data=np.ones(labels.transpose(0, 2, 1).shape, np.float32))
        if scenes:
            cells = file.create_dataset("scenes", (1, len(scenes)), h5py.ref_dtype)
            for index, scene in enumerate(scenes):
                text = np.frombuffer(scene.encode("utf-16-le"), np.uint16)
                cells[0, index] = file.create_dataset(f"#refs#/{index}", data=text[:, None]).ref
    return root


def make_pascal_part(root: Path, annotations: Mapping[str, Sequence[tuple[str, Mapping[str, np.ndarray]]]]) -> Path:
    """Write PASCAL-Part's annotations, and images of VOC 2010.

    Args:
        root: Folder of the dataset.
        annotations: The objects of each image: their classes, and the masks of their parts, bool [20, 30].
    """
    for name, objects in annotations.items():
        made = []
        for kind, parts in objects:
            mask = np.ones((20, 30), np.uint8)
            part_structs = [{"part_name": part, "mask": each.astype(np.uint8)} for part, each in parts.items()]
            fields = {"class": kind, "class_ind": 15 if kind == "person" else 12, "mask": mask}
            made.append(fields | {"parts": _matlab_structs(part_structs)})
        path = root / "Annotations_Part" / f"{name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"anno": _matlab_structs([{"imname": name, "objects": _matlab_structs(made)}])})
        save_image(root / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{name}.jpg", np.zeros((20, 30), np.uint8))
    return root


def _matlab_structs(items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return a MATLAB struct array of 1 x N; without items, the empty matrix that MATLAB has for it."""
    if not items:
        return np.zeros((0, 0))
    array = np.empty((1, len(items)), [(name, object) for name in items[0]])
    for index, item in enumerate(items):
        for name, value in item.items():
            array[name][0, index] = value
    return array


def make_person_part(root: Path, train: Sequence[str], val: Sequence[str]) -> Path:
    """Write Person-Part with labels 0..6, all images of different sizes."""
    for index, name in enumerate([*train, *val]):
        labels = blocks((40 + 3 * index, 50 + index), range(7), seed=index)
        save_image(root / "JPEGImages" / f"{name}.jpg", labels)
        save_palette(root / "masks" / f"{name}.png", labels)
    save_list(root / "train.txt", train)
    save_list(root / "val.txt", val)
    return root


def make_ade20k(root: Path, train: int = 2, val: int = 1) -> Path:
    """Write ADE20K's scene parsing release, with labels 0..150."""
    for split, short, count in (("training", "train", train), ("validation", "val", val)):
        for index in range(count):
            labels = blocks((40, 56 + index), range(151), seed=index)
            folder, name = root / "ADEChallengeData2016", f"ADE_{short}_{index + 1:08}"
            save_image(folder / "images" / split / f"{name}.jpg", labels)
            save_gray(folder / "annotations" / split / f"{name}.png", labels)
    return root


def make_sun_rgbd(root: Path, train: int = 2, test: int = 1) -> Path:
    """Write SUN RGB-D with its label images numbered over both splits, with labels 0..37."""
    for split, count, offset in (("train", train, 5050), ("test", test, 0)):
        for number in range(1, count + 1):
            labels = blocks((44, 60), range(38), seed=number + offset)
            save_image(root / split / f"img-{number:06}.jpg", labels)
            save_gray(root / "labels" / f"img-{number + offset:06}.png", labels)
    return root


def make_pascal_context(root: Path, train: Sequence[str], val: Sequence[str]) -> Path:
    """Write PASCAL-Context as mmsegmentation's converter does: labels 0..59, of classes in alphabetical order."""
    devkit = root / "VOCdevkit" / "VOC2010"
    for index, name in enumerate([*train, *val]):
        labels = blocks((40, 52 + index), range(60), seed=index)
        save_image(devkit / "JPEGImages" / f"{name}.jpg", labels)
        save_gray(devkit / "SegmentationClassContext" / f"{name}.png", labels)
    for split, names in {"train": train, "val": val}.items():
        save_list(devkit / "ImageSets" / "SegmentationContext" / f"{split}.txt", names)
    return root


def make_coco(root: Path, train: int = 3, val: int = 2) -> Path:
    """Write COCO 2017: in each image a person and a dog as polygons, a crowd as run lengths, and a cup.

    The training images are 7, 8, ..., the validation images 107, 108, ... The last of each, 99 and 199, has no object.
    """
    crowd = {"counts": [60 * 75, 60 * 2, 60 * 3], "size": [60, 80]}  # the columns 75 and 76
    objects = [
        {"category_id": 1, "iscrowd": 0, "area": 1600.0, "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]},
        {"category_id": 18, "iscrowd": 0, "area": 750.0, "segmentation": [[40, 30, 70, 30, 70, 55, 40, 55]]},
        {"category_id": 47, "iscrowd": 0, "area": 12.5, "segmentation": [[0, 0, 5, 0, 5, 5]]},  # not in VOC
        {"category_id": 1, "iscrowd": 1, "area": 120, "segmentation": crowd},
    ]
    for split, first, count in (("train2017", 0, train), ("val2017", 100, val)):
        ids = [*range(first + 7, first + 7 + count), first + 99]
        images = [{"id": index, "file_name": f"{index:012}.jpg", "height": 60, "width": 80} for index in ids]
        for index in ids:
            save_image(root / split / f"{index:012}.jpg", blocks((60, 80), range(21), seed=index))
        annotations = [{"image_id": index, **each} for index in ids[:-1] for each in objects]
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        content = {"images": images, "annotations": annotations}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
