"""Tells at once if the pre-trained weights of an encoder can neither be downloaded nor found in the cache."""

from collections.abc import Iterable

import huggingface_hub
import segmentation_models_pytorch as smp
import timm
from huggingface_hub import constants

from refinenet_pl.errors import UserError
from refinenet_pl.servers import answers

TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


def check_hub(encoder_name: str, weights: object) -> None:
    """Check that the weights of an encoder are in the cache, or that the hub answers.

    Args:
        encoder_name: smp's name, or `tu-` and timm's name. Unknown names are left to smp's own check.
        weights: A name that smp knows, or True for a timm encoder.

    Raises:
        UserError: The weights are not in the cache, and the hub cannot be reached.
    """
    place = _place(encoder_name, weights)
    if place is None or _is_cached(*place):
        return
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE forbids a download"
    elif answers(constants.ENDPOINT):
        return
    else:
        reason = f"{constants.ENDPOINT} does not answer"
    raise UserError(
        f"encoder_weights: found {weights!r} for {encoder_name}; {reason}, and the weights are not in the cache "
        f"{constants.HF_HUB_CACHE}. Give a file (--model.network.encoder_weights FILE; for networks of smp: "
        "--model.network.encoder_weights null --model.encoder_weights FILE) or random weights "
        "(--model.network.encoder_weights null), or fill the cache on a machine with a network"
    )


def _place(encoder_name: str, weights: object) -> tuple[str, str | None, Iterable[str]] | None:
    """Return the repository of the weights, its revision and the names that the file can have."""
    if encoder_name.startswith("tu-"):
        config = timm.get_pretrained_cfg(encoder_name.removeprefix("tu-"))
        repository, _, revision = (config.hf_hub_id if config and config.hf_hub_id else "").partition("@")
        return (repository, revision or None, TIMM_FILES) if repository else None
    settings = smp.encoders.encoders.get(encoder_name, {}).get("pretrained_settings", {}).get(weights)
    return (settings["repo_id"], settings["revision"], ["model.safetensors"]) if settings else None


def _is_cached(repository: str, revision: str | None, names: Iterable[str]) -> bool:
    cached = (huggingface_hub.try_to_load_from_cache(repository, name, revision=revision) for name in names)
    return any(isinstance(path, str) for path in cached)
