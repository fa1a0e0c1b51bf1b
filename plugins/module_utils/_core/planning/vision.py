# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a fine-tune is served with the image encoder of its base, and the step that converts it."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.integrity import artifact_defect, artifact_path
from ..artifacts.layout import Layout
from ..base_models.llamafactory_models import MODELS
from ..base_models.resolution import BaseIdentity
from ..base_models.vision import ENCODERS, Encoder, encoder_elements, trained_argument
from ..errors import StoreError
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.versions import is_older
from ..runs.run import RunStep
from ..runs.spec import Toolchain
from ..system.files import read_json
from .pipeline import make_step

#: Bytes of one parameter in the file: 16 bits, and some tensors in 32.
_BYTES = 2.2
_SERVER_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Base:
    """What is known of a base.

    :param fingerprint: of the base.
    :param description: its name, for messages.
    :param hub: its id on the hub; empty for a directory.
    :param model_type: ``model_type`` of its configuration; empty if unknown.
    :param directory: with its files; empty if it is not on this host yet.
    """

    fingerprint: str
    description: str
    hub: str
    model_type: str
    directory: str

    @property
    def takes_pictures(self) -> bool:
        """Whether it has an encoder, of pictures or of sound."""
        if self.model_type in ENCODERS or MODELS.get(self.hub, ("", False))[1]:
            return True
        config = read_json(os.path.join(self.directory, "config.json")) if self.directory else None
        return isinstance(config, dict) and isinstance(config.get("vision_config"), dict)


def base_of(layout: Layout, base: BaseIdentity) -> Base:
    """Return what is known of a resolved base."""
    model_type = base.shape.model_type if base.shape else ""
    recorded = of_receipt(layout, base.fingerprint)
    directory = base.location or recorded.directory
    return Base(
        base.fingerprint,
        base.description,
        str(base.settings.get("hub") or ""),
        model_type or recorded.model_type,
        directory,
    )


def of_receipt(layout: Layout, fingerprint: str) -> Base:
    """Return what is known of a base from its receipt."""
    receipt = layout.receipt("base", fingerprint) or {}
    settings, results = receipt.get("settings") or {}, receipt.get("results") or {}
    complete = bool(receipt) and artifact_defect(layout, "base", fingerprint) is None
    hub = str(settings.get("hub") or "")
    return Base(
        fingerprint,
        hub or str(results.get("location") or fingerprint[:12]),
        hub,
        str(results.get("model_type") or ""),
        artifact_path(layout, "base", fingerprint) if complete else "",
    )


def projector_step(
    layout: Layout, base: Base, training: t.Mapping[str, t.Any], toolchain: Toolchain, provided: bool
) -> tuple[RunStep | None, Message | None]:
    """Return the step that converts the encoder of a base; and why there is none, if the base has an encoder.

    :param training: resolved hyperparameters.
    :param provided: whether the run fetches the base if it is not there.
    """
    if not base.takes_pictures:
        return None, None
    encoder = ENCODERS.get(base.model_type)
    if encoder is None:
        return None, Message(
            "planning.encoder_not_served",
            model=base.description,
            architecture=base.model_type or "?",
            known=sorted(ENCODERS),
        )
    argument = trained_argument(training)
    if argument:
        return None, Message("planning.encoder_trained", model=base.description, argument=argument)
    if encoder.ollama:
        server = Ollama(toolchain.ollama_address, timeout=_SERVER_SECONDS)
        version = is_older(server, encoder.ollama)
        if version:
            return None, Message(
                "planning.encoder_needs_ollama",
                model=base.description,
                url=server.url,
                version=version,
                minimum=encoder.ollama,
            )
    size = _size(layout, base, encoder, provided)
    if size is None:
        return None, Message("planning.encoder_missing", model=base.description, prefixes=list(encoder.prefixes))
    label = base.hub.rpartition("/")[2] or "base"
    options = {"name": label, "model_type": base.model_type, "bytes": size}
    return make_step("projector", {}, {"base": base.fingerprint}, options), None


def _size(layout: Layout, base: Base, encoder: Encoder, provided: bool) -> int | None:
    """Bytes of the file of an encoder, as made or as estimated; None if it can neither be."""
    made = _fingerprint(base)
    if artifact_defect(layout, "projector", made) is None:
        return int(((layout.receipt("projector", made) or {}).get("results") or {}).get("bytes") or 0)
    if not base.directory:
        return int(encoder.parameters * _BYTES) if provided else None
    try:
        elements = encoder_elements(base.directory, encoder)
    except StoreError:
        return int(encoder.parameters * _BYTES)  # the step that needs the base reports that it is damaged
    return int(elements * _BYTES) or None


def _fingerprint(base: Base) -> str:
    return make_step("projector", {}, {"base": base.fingerprint}).spec.fingerprint
