"""The model card of a weights folder: what is known of the weights, and what is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

import refinenet_pl
from refinenet_pl.weights.published import Published

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
from refinenet_pl.networks import {network}

network = {network}.from_pretrained("FOLDER")
```

`preprocessing.json` says how to normalise images, and what the classes are called."""


def model_card(title: str, network: str, sections: Mapping[str, str]) -> str:
    """A card in Markdown, with the front matter that Hugging Face's hub reads.

    Args:
        title: Of the card.
        network: Name of the network's class.
        sections: Text by heading; an empty one is said to be unknown.
    """
    parts = [f"# {title}", f"## Use\n\n{USE.format(network=network)}"]
    parts += [f"## {heading}\n\n{text or UNKNOWN}" for heading, text in sections.items()]
    return f"---\n{yaml.safe_dump(FRONT_MATTER, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def converted_card(published: Published, file_name: str, classes_of: str) -> str:
    """The card of a published file: it says neither how its weights were trained nor under which terms.

    Args:
        published: What was read.
        file_name: Of the file.
        classes_of: In words, where the names of the classes come from.
    """
    return model_card(
        f"{published.architecture}, {published.classes} classes",
        type(published.network).__name__,
        {
            "Data": f"Unknown to this package. Names and colours of the classes: {classes_of}.",
            "Recipe": f"Unknown. refinenet-pl {refinenet_pl.__version__} converted it from `{file_name}`, each key as it "
            f"is but for its name; keys that were ignored: {', '.join(published.ignored) or 'none'}.",
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
    network = config["model"]["network"]
    return model_card(
        str(config["experiment"]),
        _name(network),
        {
            "Data": f"`{_called(config['data'])}`",
            "Recipe": _recipe(config) + f"\n- weights: {weights}",
            "Figures": _figures(results) if results else "",
            "Versions": ", ".join(f"{name} {version}" for name, version in results["versions"].items())
            if results
            else "",
            "Terms": f"Of the data: {terms}\n\nThe weights follow from the data, and from the weights that the encoder "
            "started with, if there were any, which have terms of their own.",
        },
    )


def _recipe(config: Mapping[str, Any]) -> str:
    """What the training depends on, a line each; what is off or left at its default is left out."""
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
    """Means and each class's IoU, in per cent, on the split that the run was evaluated on."""
    means = {"**mean IoU**": "miou", "pixel accuracy": "pixel_accuracy", "mean accuracy": "mean_accuracy"}
    rows = [*results["per_class_iou"].items(), *((label, results[key]) for label, key in means.items())]
    head = f"Split `{results['split']}`, {results['images']} images, seed {results['seed']}."
    return "\n".join(
        [
            f"{head}\n\n| class | IoU % |\n|---|---|",
            *(f"| {name} | {'–' if v is None else format(100 * v, '.2f')} |" for name, v in rows),
        ]
    )


def _called(value: Any) -> str:
    """A part of a configuration as a call; of paths the last part, since the rest belongs to one machine."""
    if isinstance(value, Mapping) and "class_path" in value:
        arguments = {name: argument for name, argument in value.get("init_args", {}).items() if argument is not None}
        return f"{_name(value)}({', '.join(f'{name}={_called(argument)}' for name, argument in arguments.items())})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_called, value))}]"
    return str(value).rstrip("/").rpartition("/")[2]


def _name(section: Mapping[str, Any]) -> str:
    return section["class_path"].rpartition(".")[2]
