# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image encoders that are served beside a fine-tune: of which architectures, and where their tensors are.

A training on text changes the language model alone (``freeze_vision_tower`` of LLaMA-Factory), so the encoder of the
base serves all its fine-tunes. llama.cpp's converter writes it into a file of its own (``--mmproj``), and Ollama takes
that beside the language model. Only architectures are listed with which this was tried from the training to an answer
about a picture (``tests/real/test_vision_real.py``).
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..formats.safetensors import model_files, read_model


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The image encoder of an architecture.

    :param prefixes: starts of the names of its tensors, in the files of the hub. Newer versions of transformers write
        ``model.`` before them.
    :param parameters: number of its parameters at most, for the estimate before the files are there. Source: the
        configurations of the models in the catalogue.
    :param ollama: oldest version of Ollama that serves it; empty for all that are supported.
    """

    prefixes: tuple[str, ...]
    parameters: int
    ollama: str = ""


#: By ``model_type`` of ``config.json``.
ENCODERS: dict[str, Encoder] = {
    "gemma3": Encoder(("vision_tower.", "multi_modal_projector."), 430_000_000),
    "qwen2_vl": Encoder(("visual.",), 680_000_000),
    "qwen2_5_vl": Encoder(("visual.",), 700_000_000),
    # the runner of Ollama 0.24 ends with an assertion as soon as the encoder is there, also for text
    "qwen3_vl": Encoder(("visual.",), 620_000_000, ollama="0.32.0"),
}

#: Training arguments that, set to false, have the encoder trained.
FREEZING_ARGUMENTS = ("freeze_vision_tower", "freeze_multi_modal_projector")

_PREFIX_OF_TRANSFORMERS = "model."


def encoder_elements(directory: str, encoder: Encoder) -> int:
    """Return the number of elements of an encoder in the weights of a base; 0 if it is not there.

    Reads headers only, and only of safetensors.

    :raises StoreError: if a file is damaged.
    """
    if not model_files(directory):
        return 0
    return sum(tensor.elements for name, tensor in read_model(directory).items() if is_of_encoder(name, encoder))


def is_of_encoder(name: str, encoder: Encoder) -> bool:
    """Whether a tensor of a base belongs to its encoder."""
    return name.removeprefix(_PREFIX_OF_TRANSFORMERS).startswith(encoder.prefixes)


def trained_argument(resolved: t.Mapping[str, t.Any]) -> str:
    """Return the training argument by which a training changes the encoder; empty if it does not change it.

    :param resolved: hyperparameters, defaults filled in.
    """
    extra = resolved.get("extra") or {}
    return next((name for name in FREEZING_ARGUMENTS if extra.get(name) is False), "")
