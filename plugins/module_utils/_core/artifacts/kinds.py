# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts about each kind of step, one row for each, in the order of the pipeline.

Whatever lists kinds of steps is derived from this table. What a step does is in ``steps/``.
"""

from __future__ import annotations

import dataclasses
import enum
import typing as t


class Retention(enum.Enum):
    """When an artifact is removed by the retention policy of a model."""

    KEPT = "kept"
    #: With the last version that was made from it.
    VERSION = "version"
    #: The same; or when the results made from it are complete, with ``keep_intermediates: false``.
    INTERMEDIATE = "intermediate"


@dataclasses.dataclass(frozen=True)
class Card:
    """The model card of a result.

    :param summary: start of its first sentence, before the name of the base model.
    :param relation: ``base_model_relation`` in the hub's terms.
    :param library: library that loads the result, in the hub's terms; empty for GGUF.
    """

    summary: str
    relation: str
    library: str = ""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of step, and of the artifact that it makes.

    :param name: its name in the store, in receipts and in fingerprints.
    :param directory: directory of its artifacts, relative to the data directory.
    :param module: Ansible module that handles it.
    :param title: English title.
    :param derived: whether it is made from other artifacts, so that its changes follow from theirs.
    :param lineage: place in a lineage, from the served model back to its inputs; None if it has none.
    :param facts: names of the results that a lineage shows.
    :param retention: when its artifacts are removed.
    :param beside: results that it is made from and that its fingerprint does not name: option of its receipt → kind.
    :param startup_seconds: seconds before it processes data (measured).
    :param bytes_per_second: bytes that it reads, processes and writes per second, on an ordinary SSD; None if its
        duration does not depend on them.
    :param card: its model card; None for none.
    """

    name: str
    directory: str
    module: str
    title: str
    derived: bool = True
    lineage: int | None = None
    facts: tuple[str, ...] = ("bytes", "parameters", "dtype")
    retention: Retention = Retention.KEPT
    beside: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    startup_seconds: float = 0.0
    bytes_per_second: float | None = None
    card: Card | None = None


_GGUF_FACTS = ("quantization", "bytes", "tensors")
_SERVED = Card("Ollama model, fine-tuned from", "quantized")

TABLE = (
    Kind("base", "models/base", "base", "Base model", derived=False, lineage=8, facts=("location",)),
    Kind(
        "dataset",
        "datasets/versions",
        "dataset",
        "Dataset",
        derived=False,
        lineage=7,
        facts=("name", "rows", "format", "sources"),
    ),
    Kind(
        "train",
        "outputs/adapters",
        "train",
        "Training",
        lineage=6,
        facts=("metrics", "findings"),
        retention=Retention.VERSION,
        startup_seconds=10.0,
        card=Card("What a training has made of", "adapter", "peft"),
    ),
    Kind("train_node", "outputs/nodes", "train", "Part of a training"),
    Kind(
        "merge",
        "models/merged",
        "merge",
        "Merging",
        lineage=5,
        facts=("weights", "bytes", "parameters", "dtype"),
        retention=Retention.INTERMEDIATE,
        startup_seconds=8.0,
        bytes_per_second=400e6,
        card=Card("Merged 16-bit weights of a training of", "finetune", "transformers"),
    ),
    Kind(
        "imatrix",
        "models/imatrix",
        "gguf",
        "Importance matrix",
        lineage=4,
        facts=("rows", "tokens", "perplexity"),
        retention=Retention.VERSION,
        startup_seconds=15.0,
    ),
    Kind(
        "gguf",
        "models/gguf",
        "gguf",
        "GGUF",
        lineage=3,
        facts=_GGUF_FACTS,
        retention=Retention.INTERMEDIATE,
        beside={"f16": "gguf"},
        startup_seconds=5.0,
        bytes_per_second=250e6,
        card=Card("GGUF file of a training of", "quantized"),
    ),
    Kind(
        "likelihood",
        "outputs/likelihood",
        "gguf",
        "Likelihood",
        facts=("rows", "tokens", "quantizations"),
        startup_seconds=15.0,
    ),
    Kind(
        "gguf_adapter",
        "models/gguf_adapters",
        "gguf",
        "GGUF adapter",
        lineage=4,
        facts=_GGUF_FACTS,
        retention=Retention.VERSION,
        card=Card("GGUF adapter of a training of", "adapter"),
    ),
    Kind(
        "projector",
        "models/projectors",
        "gguf",
        "Image encoder",
        lineage=4,
        facts=("projector", "bytes", "tensors"),
        retention=Retention.VERSION,
        startup_seconds=5.0,
        bytes_per_second=250e6,
    ),
    Kind(
        "register",
        "outputs/models",
        "ollama_model",
        "Registration in Ollama",
        lineage=2,
        facts=("tag", "digest", "blob", "adapter_blob", "projector_blob", "server_version"),
        retention=Retention.VERSION,
        startup_seconds=1.0,
        bytes_per_second=400e6,
        card=_SERVED,
    ),
    Kind(
        "evaluate",
        "outputs/evaluations",
        "ollama_model",
        "Evaluation",
        facts=(),
        retention=Retention.VERSION,
    ),
    Kind(
        "promote",
        "outputs/promotions",
        "ollama_model",
        "Promotion",
        lineage=1,
        facts=("asked", "met", "met_before", "held"),
        beside={"evaluation": "evaluate"},
        card=_SERVED,
    ),
    Kind("retain", "outputs/retained", "ollama_model", "Clean-up"),
)

BY_NAME = {kind.name: kind for kind in TABLE}

#: Names of the kinds in the order of the pipeline.
KINDS = tuple(BY_NAME)

#: Kinds that each Ansible module handles.
KINDS_OF_MODULE: dict[str, tuple[str, ...]] = {
    **{module: tuple(kind.name for kind in TABLE if kind.module == module) for module in {k.module for k in TABLE}},
    "job": KINDS,
}

#: Directory of each kind of artifact, relative to the data directory.
PARENTS = {kind.name: kind.directory for kind in TABLE}


def results_beside(kind: str, options: t.Mapping[str, t.Any] | None) -> list[tuple[str, str]]:
    """Return kind and fingerprint of the results that an artifact is made from beside those in its fingerprint.

    :param options: options of its receipt.
    """
    row = BY_NAME.get(kind)
    named = [(other, (options or {}).get(option)) for option, other in (row.beside.items() if row else ())]
    return [(other, str(fingerprint)) for other, fingerprint in named if fingerprint]


def module_of(kind: str) -> str:
    """Return the full name of the Ansible module that makes artifacts of a kind."""
    return f"ia_homelab.llamafactory.{BY_NAME[kind].module if kind in BY_NAME else kind}"
