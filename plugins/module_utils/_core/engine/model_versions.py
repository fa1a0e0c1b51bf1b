# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of a model as the whole host knows them: with the runs that are making one."""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..ollama.client import Ollama
from ..ollama.syntax import same_name
from ..releases import lineage
from ..releases.promotion import Change, Ledger, Models, Releases, content_tag, digest_of
from ..runs.job_context import step_context
from ..runs.spec import StepSpec, Toolchain
from ..runs.store import Store
from ..steps.registry import get_step


def in_the_making(layout: Layout, name: str) -> list[str]:
    """Full names of the versions of a model that active runs are to promote. Reads only."""
    found = []
    for record in Store(layout).active():
        for step in record.run.steps if record.run and record.at_work else ():
            spec = step.spec
            if spec.kind == "register" and spec.options.get("aliases"):
                model = str(spec.settings["name"])
                if model.lower() == name.lower():
                    found.append(content_tag(model, spec.fingerprint, str(spec.options["quantization"])))
    return found


def rollback(layout: Layout, ollama: Ollama, name: str, version: str = "", check: bool = False) -> Change:
    """Put an earlier version back under the tags people use, and hold it there, also against what is being made.

    :param name: the model's name, without a tag.
    :param version: tag of a version, or the beginning of one; by default the one before.
    :param check: only tell.
    :raises InputError: when there is nothing to go back to.
    """
    releases = Releases(layout, name)
    against: t.Sequence[str] = in_the_making(layout, name)
    if check:
        return releases.plan_rollback(ollama.tags(), version, against)
    return releases.rollback(ollama, version, against)


def overview(layout: Layout, ollama: Ollama, name: str) -> dict[str, t.Any]:
    """What is known of one model: what is served, what was before, what is held, and all its versions. Reads only.

    :param name: the model's name, without a tag.
    :returns: ``name``; ``served``, for each tag people use its ``version`` (empty where it is none of ours) and
        ``digest``; ``declared``, ``previous`` and ``hold``; ``drift``, what is not as it was left, in words; and
        ``versions``, the latest first, each with ``tag``, ``digest``, ``there``, ``registered_at``, ``promoted_at``,
        ``pruned_at``, ``gate``, ``path`` and ``lineage``.
    """
    releases = Releases(layout, name)
    ledger, models = releases.ledger(), ollama.tags()
    receipts = lineage.registrations(layout, name)
    tags = [lineage.tag_of(receipt) for receipt in receipts]
    served = {}
    for alias in ledger.aliases:
        digest = digest_of(models, alias)
        mine = [tag for tag in tags if digest and digest_of(models, tag) == digest]
        served[alias] = {"version": mine[0] if mine else "", "digest": digest}
    # not what is declared: behind a gate that is shut, it is what was there before
    put = {str(move["alias"]): str(move["tag"]) for move in ledger.moves}
    drift = [
        f"{alias} {'is another model than' if digest_of(models, alias) else 'does not exist and must be'} {tag}"
        for alias, tag in put.items()
        if alias in ledger.aliases and digest_of(models, alias) != digest_of(models, tag)
    ]
    for receipt in receipts:
        if not receipt.get("pruned_at"):
            drift += [reason for reason in _drift(layout, ollama, receipt) if reason not in drift]
    return {
        "name": name,
        "served": served,
        "declared": ledger.declared,
        "previous": releases.previous(models),
        "hold": dataclasses.asdict(ledger.hold) if ledger.hold else {},
        "drift": drift,
        "versions": [_version(layout, models, ledger, receipt) for receipt in receipts],
    }


def names(layout: Layout) -> list[str]:
    """The models that were registered here, in the order of the alphabet. Reads only."""
    return sorted({str(receipt["settings"]["name"]) for receipt in lineage.registrations(layout)})


def _drift(layout: Layout, ollama: Ollama, receipt: t.Mapping[str, t.Any]) -> list[str]:
    """What of a registered version is not as it was left; whose tags it has is not asked here."""
    options = {**(receipt.get("options") or {}), "promote": False}
    spec = StepSpec.from_dict({**receipt, "options": options})
    return get_step("register").drift(step_context(layout, spec, Toolchain(ollama_url=ollama.url)))


def _version(layout: Layout, models: Models, ledger: Ledger, receipt: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    tag = lineage.tag_of(receipt)
    digest = digest_of(models, tag)
    moves = [str(move.get("at", "")) for move in ledger.moves if same_name(str(move["tag"]), tag)]
    return {
        "tag": tag,
        "digest": digest,
        "there": bool(digest),
        "registered_at": str(receipt.get("finished_at") or ""),
        "promoted_at": moves[-1] if moves else "",
        "pruned_at": str(receipt.get("pruned_at") or ""),
        "gate": dict(ledger.gates.get(tag) or {}),
        "path": layout.artifact("register", str(receipt["fingerprint"])),
        "lineage": lineage.lineage(layout, receipt),
    }
