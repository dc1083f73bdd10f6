"""Classes and label values as a configuration gives them: own classes, merged classes, and ignored classes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from refinenet_pl.data.classes import IGNORE_INDEX, Classes, Color, voc_colors
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

VOID = "void"
"""The name that stands for ignored pixels in `label_ids`; null is the same."""

LabelIds = Mapping[str | int, str | int | None]
"""What `label_ids` of a configuration holds: a label value, an RGB color or a class name -> a class or void."""

COLOR = re.compile(r"#([0-9a-fA-F]{6})|(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")


@dataclass(frozen=True)
class LabelMap:
    """What the values of label images mean.

    Attributes:
        classes: The classes, in the order of their indices.
        encoding: The class index, or IGNORE_INDEX, of each value on disk. For RGB label images, the values are
            `color_code`s.
        colored: Whether the label images are RGB images whose colors stand for classes.
    """

    classes: Classes
    encoding: dict[int, int]
    colored: bool = False


def plain_labels(classes: Classes, encoding: Mapping[int, int] | None = None) -> LabelMap:
    """Return labels whose values on disk are the class indices and IGNORE_INDEX, unless `encoding` says otherwise."""
    if encoding is None:
        encoding = {**{index: index for index in range(len(classes))}, IGNORE_INDEX: IGNORE_INDEX}
    return LabelMap(classes, dict(encoding))


def own_labels(
    class_names: Sequence[str] | None, class_colors: Sequence[Color] | None, label_ids: LabelIds | None
) -> LabelMap:
    """Return the labels of own data.

    Args:
        class_names: The classes, in the order of their indices. None: the classes of `label_ids`, in its order.
        class_colors: An RGB color per class. None: the color of a class in `label_ids`, if it has colors there; else
            the colors of VOC's color map.
        label_ids: The class, by name or index, of each value or RGB color on disk; "void" or null for ignored pixels.
            None: values are the class indices. The value 255 is void unless it is listed.

    Raises:
        UserError: There are neither names nor label_ids, a name is unknown or there twice, or a key is neither a value
            nor a color.
    """
    if class_names is None and not label_ids:
        raise UserError("data: expected class_names, or label_ids with the class of each label value; found neither")
    targets = _targets(label_ids or {}, class_names)
    if class_names is None:
        class_names = list(dict.fromkeys(name for name in targets.values() if name is not None))
    if VOID in class_names:
        raise UserError(f"data.class_names: found {VOID!r}, which stands for ignored pixels; leave it out")
    if twice := sorted({name for name in class_names if list(class_names).count(name) > 1}):
        raise UserError(f"data.class_names: {join(twice)} is there twice; expected each class once")
    if unknown := [name for name in targets.values() if name is not None and name not in class_names]:
        raise UserError(f"data.label_ids: found the class {unknown[0]!r}{_nearest(unknown[0], class_names)}")
    colored = bool(targets) and isinstance(next(iter(targets)), str)
    if class_colors is None:
        first = {name: color for color, name in reversed(targets.items())} if colored else {}
        made = iter(voc_colors(256))
        class_colors = [_rgb(first[name]) if name in first else next(made) for name in class_names]
    if len(class_colors) != len(class_names):
        raise UserError(
            f"data.class_colors: found {len(class_colors)} colors for {len(class_names)} classes; expected one each"
        )
    classes = Classes(tuple(class_names), tuple((color[0], color[1], color[2]) for color in class_colors))
    if not targets:
        return plain_labels(classes)
    index = {name: position for position, name in enumerate(class_names)} | {None: IGNORE_INDEX}
    if colored:
        return LabelMap(classes, {color_code(_rgb(key)): index[name] for key, name in targets.items()}, colored=True)
    return LabelMap(classes, {IGNORE_INDEX: IGNORE_INDEX} | {int(key): index[name] for key, name in targets.items()})


def changed_labels(labels: LabelMap, label_ids: LabelIds, values_known: bool = True) -> LabelMap:
    """Return the labels of a dataset with some classes merged, renamed or ignored.

    Args:
        labels: The dataset's own.
        label_ids: The new class of each class or value that changes; "void" or null ignores its pixels. All others stay
            as they are. If the keys are RGB colors, the label images are color images, and these are all of their
            colors.
        values_known: Whether the values on disk are those of `labels.encoding`. If not, keys are class names.

    Returns:
        LabelMap of the classes that remain, in the dataset's order; classes with a new name come after the class that
        they replace, or last.

    Raises:
        UserError: A key or a class is unknown, or fewer than two classes remain.
    """
    names = labels.classes.names
    if all(COLOR.fullmatch(str(key)) for key in label_ids):
        return own_labels(names, labels.classes.colors, label_ids)
    of_class: dict[str, str | None] = {name: name for name in names}
    of_value: dict[int, str | None] = {}
    for key, target in label_ids.items():
        name = _target(target, names)
        if key in of_class:
            of_class[str(key)] = name
        elif (value := _value(key)) is not None and values_known:
            of_value[value] = name
        else:
            kind = "a class of the dataset, a label value or a color" if values_known else "a class of the dataset"
            raise UserError(f"data.label_ids: found the key {key!r}; expected {kind}{_nearest(str(key), names)}")
    new = {value: None if index == IGNORE_INDEX else of_class[names[index]] for value, index in labels.encoding.items()}
    new |= of_value
    used = {*new.values()}
    remaining = [name for name in dict.fromkeys([*of_class.values(), *of_value.values()]) if name and name in used]
    old_colors = dict(zip(names, labels.classes.colors, strict=True))
    colors: dict[str, Color] = {name: old_colors[name] for name in remaining if name in old_colors}
    for name in remaining:
        sources = [old_colors[old] for old, target in of_class.items() if target == name]
        free = [color for color in (*sources, *voc_colors(256)) if color not in colors.values()]
        colors.setdefault(name, free[0])
    index_of = {name: index for index, name in enumerate(remaining)}
    encoding = {value: IGNORE_INDEX if name is None else index_of[name] for value, name in new.items()}
    return LabelMap(Classes(tuple(remaining), tuple(colors[name] for name in remaining)), encoding)


def color_code(color: Sequence[int]) -> int:
    """Return an RGB color as one number, 0xRRGGBB."""
    return (color[0] << 16) | (color[1] << 8) | color[2]


def color_text(code: int) -> str:
    """Return a `color_code` as #rrggbb."""
    return f"#{code:06x}"


def _targets(label_ids: LabelIds, class_names: Sequence[str] | None) -> dict[str | int, str | None]:
    """Return the class name, or None, of each label value (int) or color (str)."""
    targets: dict[str | int, str | None] = {}
    for key, target in label_ids.items():
        value = _value(key)
        if value is None and not COLOR.fullmatch(str(key)):
            raise UserError(
                f"data.label_ids: found the key {key!r}; expected a label value such as 255, or a color such as "
                "'#ff8000' or '255,128,0'"
            )
        targets[str(key) if value is None else value] = _target(target, class_names)
    if len({type(key) for key in targets}) > 1:
        raise UserError("data.label_ids: found label values and colors among its keys; expected one kind")
    return targets


def _target(target: str | int | None, class_names: Sequence[str] | None) -> str | None:
    """Return the name of a class that is given by name or index; None for void."""
    if target is None or target == VOID:
        return None
    if isinstance(target, str):
        return target
    if class_names is None or not 0 <= target < len(class_names):
        expected = "the name of a class" if class_names is None else f"a class name, 0..{len(class_names) - 1}, or void"
        raise UserError(f"data.label_ids: found the class {target!r}; expected {expected}")
    return class_names[target]


def _value(key: str | int) -> int | None:
    """Return a key that is a label value. On the command line, keys are text."""
    if isinstance(key, int):
        return key
    return int(key) if key.isdecimal() else None


def _rgb(key: str | int) -> Color:
    match = COLOR.fullmatch(str(key))
    assert match is not None
    numbers = [*bytes.fromhex(match[1])] if match[1] else [int(text) for text in match.groups()[1:]]
    if max(numbers) > 255:
        raise UserError(f"data.label_ids: found the color {key!r}; expected red, green and blue, each 0..255")
    return numbers[0], numbers[1], numbers[2]


def _nearest(name: str, names: Iterable[str]) -> str:
    similar = get_close_matches(name, [*names], n=1)
    return f"; did you mean {similar[0]!r}?" if similar else f". The classes are {join(names, limit=40)}"
