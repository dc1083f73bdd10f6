"""The model card of a weights folder: where the weights come from, their metrics, and what is unknown."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from refinenet_pl.text import join, markdown_text, percent
from refinenet_pl.version import __version__
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
from refinenet_pl import load

segmenter = load("FOLDER")
labels = segmenter.predict("photo.jpg")
```

`labels` holds the class index of each pixel, and `segmenter.class_names` names the classes. `preprocessing.json` holds
the pixel statistics, class names and colors for other programs."""


def model_card(title: str, sections: Mapping[str, str]) -> str:
    """Return a model card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        title: The title of the card.
        sections: The text of each section by heading. An empty text becomes "Unknown."
    """
    parts = [f"# {markdown_text(title)}", f"## Use\n\n{USE}"]
    parts += [f"## {heading}\n\n{text or UNKNOWN}" for heading, text in sections.items()]
    return f"---\n{yaml.safe_dump(FRONT_MATTER, sort_keys=False)}---\n\n" + "\n\n".join(parts) + "\n"


def converted_card(published: PublishedWeights, file_name: str, classes_source: str) -> str:
    """Return the card of converted published weights, whose file states neither training nor terms.

    Args:
        published: The weights.
        file_name: The name of the published file.
        classes_source: Where class names and colors come from, for people to read.
    """
    return model_card(
        f"{published.architecture}, {published.classes} classes",
        {
            "Data": f"Unknown. Class names and colors: {classes_source}.",
            "Recipe": f"Unknown. Converted from `{file_name}` by refinenet-pl {__version__}; the tensors' "
            f"values are unchanged. Ignored keys, whose weights are random: {join(published.ignored) or 'none'}.",
            "Metrics": "",
            "Versions": "",
            "Terms": "Unknown: the file states none. Ask the publisher of the file. The training images have their own "
            "terms.",
        },
    )


def trained_card(config: Mapping[str, Any], terms: str, results: Mapping[str, Any] | None, weights: str) -> str:
    """Return the card of a network that this package trained.

    Args:
        config: The configuration of the run.
        terms: The terms of the data.
        results: The run's `results.json`, if it holds the metrics of these weights.
        weights: Which weights of the run these are, for people to read.
    """
    versions = results["versions"].items() if results else ()
    return model_card(
        str(config["experiment"]),
        {
            "Data": f"`{_as_call(config['data'])}`",
            "Recipe": _recipe(config) + f"\n- weights: {weights}",
            "Metrics": _metrics(results) if results else "",
            "Versions": markdown_text(join(f"{name} {version}" for name, version in versions)),
            "Terms": f"Terms of the data: {terms}\n\nThe weights derive from the data, and from the pretrained weights "
            "of the encoder if there were any, which have their own terms.",
        },
    )


def _recipe(config: Mapping[str, Any]) -> str:
    """The settings that the training depends on, one per line; unset ones are left out."""
    model, trainer = config["model"], config["trainer"]
    settings = {name: value for name, value in model.items() if name != "preprocessing"}
    settings |= {name: model["preprocessing"].get(name) for name in ("mean", "std")}
    settings["loss"] = settings.get("loss") or "CrossEntropy"
    settings["schedule"] = settings.get("schedule") or "Poly"
    for name in ("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "precision", "callbacks"):
        settings[name] = trainer.get(name)
    settings["batch_size (per device)"] = config["data"]["init_args"].get("batch_size")
    settings["seed"] = config["seed_everything"]
    return "\n".join(
        f"- {name}: `{_as_call(value)}`" for name, value in settings.items() if value not in (None, [], -1)
    )


def _metrics(results: Mapping[str, Any]) -> str:
    """A table of each class's IoU and the means, in percent, on the split that the run was evaluated on."""
    means = {"**mean IoU**": "miou", "pixel accuracy": "pixel_accuracy", "mean accuracy": "mean_accuracy"}
    rows = [*results["per_class_iou"].items(), *((label, results[key]) for label, key in means.items())]
    lines = [
        f"Split `{results['split']}`, {results['images']} images, seed {results['seed']}.\n",
        "| class | IoU % |",
        "|---|---|",
    ]
    lines += [f"| {markdown_text(name)} | {percent(value)} |" for name, value in rows]
    return "\n".join(lines)


def _as_call(value: Any) -> str:
    """A value of a configuration in the form of a call. Only the last part of a path is kept: the rest is private."""
    if isinstance(value, Mapping) and "class_path" in value:
        arguments = [f"{name}={_as_call(argument)}" for name, argument in value.get("init_args", {}).items()]
        return f"{_as_call(value['class_path'].rpartition('.')[2])}({', '.join(arguments)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_as_call, value))}]"
    # No backtick or line break, which would end the code.
    return " ".join(str(value).rstrip("/").rpartition("/")[2].replace("`", "'").split())
