# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of the catalogue: one model, and its dimensions."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of a model for a memory estimate; for a multimodal model, those of its language model.

    :param model_type: ``model_type`` of ``config.json``.
    :param layers: number of decoder layers.
    :param hidden: hidden size.
    :param intermediate: size of the feed-forward layer.
    :param heads: number of attention heads.
    :param kv_heads: number of key and value heads.
    :param head_dim: size of one head.
    :param vocabulary: rows of the embedding matrix (padding rows included).
    :param parameters: parameters of the weights, tied ones counted once; 0 if unknown.
    :param tied: whether the output layer is the embedding matrix.
    :param experts: experts of a layer of which each token uses a few (mixture of experts); 0 if the layer is dense.
    :param active_experts: experts that a token uses.
    :param expert_intermediate: size of the feed-forward layer of one expert.
    :param shared_intermediate: size of the feed-forward layer that every token uses beside them; 0 for none.
    """

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    tied: bool
    experts: int = 0
    active_experts: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the catalogue.

    :param family: name in Ollama's library; empty if it is not there.
    :param tags: tags in Ollama's library; the first is displayed.
    :param hub_id: Hugging Face id of the trainable weights.
    :param template: LLaMA-Factory's chat template.
    :param gated: whether the licence must be accepted on the hub first.
    :param shape: dimensions of the model; None if they are read from its files when it is first resolved.
    :param licence: licence according to its page on the hub; empty if unknown.
    :param takes_images: whether the weights have an encoder for images.
    :param architecture: ``model_type`` of ``config.json``, where there is no shape.
    """

    family: str
    tags: tuple[str, ...]
    hub_id: str
    template: str
    gated: bool
    shape: Shape | None
    licence: str = ""
    takes_images: bool = False
    architecture: str = ""

    @property
    def name(self) -> str:
        """Name to declare: that of Ollama's library, or the id on the hub."""
        return f"{self.family}:{self.tags[0]}" if self.family else self.hub_id

    @property
    def model_type(self) -> str:
        """``model_type`` of its ``config.json``."""
        return self.shape.model_type if self.shape else self.architecture
