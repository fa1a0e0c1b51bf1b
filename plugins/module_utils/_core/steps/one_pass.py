# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging on the way: a result of the step merge without weights, and the conversion that merges by it."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.integrity import artifact_path
from ..errors import NotReadyError, StoreError
from ..formats.safetensors import ADAPTER, read_model
from ..messages.message import Message
from ..runs.job_context import StepContext
from ..system.files import read_json, write_json
from ..training.one_pass import Change, NotInOnePassError, declared_obstacle, read_changes
from .tool_environment import PROGRAMS, require_directory

#: In the result of a merge on the way, instead of weights: what the adapter does to each tensor of the base.
CHANGES_FILE = "adapter_changes.json"

#: Values of ``recipe`` in the results of a conversion: how the weights came to the converter.
ONE_PASS, MERGED = "one_pass", "merged_weights"


def find_changes(ctx: StepContext, base: str, trained: str) -> tuple[dict[str, Change], Message | None]:
    """Return what the adapter of a training does to its base, or why it has to go through merged weights.

    :param base: directory of the base model.
    :param trained: directory of the training's result.
    """
    obstacle = declared_obstacle(ctx.spec.options["resolved"])
    if obstacle is not None:
        return {}, obstacle
    try:
        return read_changes(base, trained), None
    except NotInOnePassError as error:
        return {}, error.reason


def write_changes(ctx: StepContext, changes: t.Mapping[str, Change]) -> None:
    """Write the changes into the work directory of a merge."""
    content = {name: dataclasses.asdict(change) for name, change in changes.items()}
    write_json(os.path.join(ctx.work, CHANGES_FILE), content)


def is_on_the_way(directory: str) -> bool:
    """Whether the result of a merge has no weights, because the conversion merges."""
    return os.path.exists(os.path.join(directory, CHANGES_FILE))


@dataclasses.dataclass(frozen=True)
class Source:
    """The weights that a conversion reads.

    :param directory: with the weights, their configuration and tokenizer.
    :param merge: directory of the merge on the way; empty when the weights are converted as they are.
    :param trained: directory of the training's result, for a merge on the way.
    """

    directory: str
    merge: str = ""
    trained: str = ""

    @property
    def recipe(self) -> str:
        """How the weights come to the converter, for the receipt."""
        return ONE_PASS if self.merge else MERGED

    def converter(self, ctx: StepContext, program: str) -> list[str]:
        """Return the Python program that converts, with its own arguments.

        :param program: path of llama.cpp's converter.
        """
        prefixes = doubled_prefixes(read_model(self.directory))
        if not self.merge:
            renaming = [os.path.join(PROGRAMS, "convert_by_hub_names.py"), program, ",".join(prefixes)]
            return renaming if prefixes else [program]
        request = os.path.join(ctx.job_dir, "changes.json")
        changes = read_json(os.path.join(self.merge, CHANGES_FILE))
        adapter = os.path.join(self.trained, ADAPTER)
        write_json(request, {"adapter": adapter, "changes": changes, "prefixes": prefixes})
        return [os.path.join(PROGRAMS, "convert_with_adapter.py"), program, request]


def doubled_prefixes(names: t.Iterable[str]) -> list[str]:
    """Return the starts of names before which transformers has written ``model.`` although they have one of their own.

    transformers 5 does so with a ``gemma3`` model whose files come from the hub. llama.cpp's converter does not know
    these names.

    :param names: of the tensors of a model.
    """
    return ["language_model.model."] if any(name.startswith("model.language_model.model.") for name in names) else []


def source_of(ctx: StepContext) -> Source:
    """Return the weights that a conversion reads: a base's, merged ones, or a base's that are merged on the way.

    :raises NotReadyError: when they do not exist.
    """
    if "merge" not in ctx.spec.upstream:
        return Source(require_directory(ctx.upstream_path("base"), Message("steps.the_base")))
    merge = require_directory(ctx.upstream_path("merge"), Message("steps.the_merge"))
    if not is_on_the_way(merge):
        return Source(merge)
    upstream = (ctx.layout.receipt("merge", ctx.spec.upstream["merge"]) or {}).get("upstream") or {}
    try:
        base, trained = (artifact_path(ctx.layout, kind, str(upstream[kind])) for kind in ("base", "train"))
    except (KeyError, StoreError) as error:
        raise NotReadyError("steps.tool_moved", subject=Message("steps.the_base"), path=merge) from error
    return Source(
        require_directory(base, Message("steps.the_base")),
        merge,
        require_directory(trained, Message("steps.the_training")),
    )
