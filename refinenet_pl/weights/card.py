"""The model card of a weights folder: what is known of the weights, and what is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

import refinenet_pl
from refinenet_pl.weights.published import PublishedWeights

UNKNOWN = "Unknown."
FRONT_MATTER = {
    "license": "other",
    "library_name": "refinenet-pl",
    "pipeline_tag": "image-segmentation",
    "tags": ["semantic-segmentation", "refinenet", "pytorch", "segmentation-models-pytorch"],
}
USE = """```bash
refinenet predict --ckpt_path FOLDER --images PHOTOS/ --output PREDICTIONS/
```

```python
from pathlib import Path
from refinenet_pl.weights import load_weights_folder

network, preprocessing = load_weights_folder(Path("FOLDER"))
```

`preprocessing` (`preprocessing.json`) says how to normalize images, and what the classes are called."""


def model_card(title: str, sections: Mapping[str, str]) -> str:
    """A card in Markdown, with the front matter that Hugging Face's hub reads.

    Args:
        title: Of the card.
        sections: Text by heading; an empty one is said to be unknown.
    """
    parts = [f"# {title}", f"## Use\n\n{USE}"]
    parts += [f"## {heading}\n\n{text or UNKNOWN}" for heading, text in sections.items()]
    return f"---\n{yaml.safe_dump(FRONT_MATTER, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def converted_card(published: PublishedWeights, file_name: str, classes_of: str) -> str:
    """The card of a published file: it says neither how its weights were trained nor under which terms.

    Args:
        published: What was read.
        file_name: Of the file.
        classes_of: In words, where the names of the classes come from.
    """
    return model_card(
        f"{published.architecture}, {published.classes} classes",
        {
            "Data": f"Unknown to this package. Names and colors of the classes: {classes_of}.",
            "Recipe": f"Unknown. Converted from `{file_name}` by refinenet-pl {refinenet_pl.__version__}, each tensor "
            f"as it is; keys that were ignored, so that they are random: {', '.join(published.ignored) or 'none'}.",
            "Figures": "",
            "Versions": "",
            "Terms": "Unknown: the file states none. Ask who published it; the images that it was trained on have "
            "terms of their own.",
        },
    )


def trained_card(config: Mapping[str, Any], terms: str, results: Mapping[str, Any] | None, weights: str) -> str:
    """The card of a network trained here.

    Args:
        config: The run's.
        terms: Of the data.
        results: The run's `results.json`, if there is one.
        weights: In words, which of the run's weights these are.
    """
    versions = results["versions"].items() if results else ()
    return model_card(
        str(config["experiment"]),
        {
            "Data": f"`{_called(config['data'])}`",
            "Recipe": _recipe(config) + f"\n- weights: {weights}",
            "Figures": _figures(results) if results else "",
            "Versions": ", ".join(f"{name} {version}" for name, version in versions),
            "Terms": f"Of the data: {terms}\n\nThe weights follow from the data, and from the weights that the encoder "
            "started with, if there were any, which have terms of their own.",
        },
    )


def _recipe(config: Mapping[str, Any]) -> str:
    """What the training depends on, a line each; what is not set is left out."""
    model, trainer = config["model"], config["trainer"]
    facts = {name: value for name, value in model.items() if name not in ("class_names", "class_colors")}
    facts["loss"] = model["loss"] or "CrossEntropy"
    facts["schedule"] = model["schedule"] or "Poly"
    for name in ("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "precision", "callbacks"):
        facts[name] = trainer.get(name)
    facts["batch_size (a device)"] = config["data"]["init_args"].get("batch_size")
    facts["seed"] = config["seed_everything"]
    return "\n".join(f"- {name}: `{_called(value)}`" for name, value in facts.items() if value not in (None, [], -1))


def _figures(results: Mapping[str, Any]) -> str:
    """Means and each class's IoU, in percent, on the split that the run was evaluated on."""
    means = {"**mean IoU**": "miou", "pixel accuracy": "pixel_accuracy", "mean accuracy": "mean_accuracy"}
    rows = [*results["per_class_iou"].items(), *((label, results[key]) for label, key in means.items())]
    lines = [
        f"Split `{results['split']}`, {results['images']} images, seed {results['seed']}.\n",
        "| class | IoU % |",
        "|---|---|",
    ]
    lines += [f"| {name} | {'–' if value is None else format(100 * value, '.2f')} |" for name, value in rows]
    return "\n".join(lines)


def _called(value: Any) -> str:
    """A part of a configuration as a call; of paths the last part, since the rest belongs to one machine."""
    if isinstance(value, Mapping) and "class_path" in value:
        arguments = [f"{name}={_called(argument)}" for name, argument in value.get("init_args", {}).items()]
        return f"{value['class_path'].rpartition('.')[2]}({', '.join(arguments)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_called, value))}]"
    return str(value).rstrip("/").rpartition("/")[2]
