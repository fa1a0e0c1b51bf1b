# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of a model on this host, including the versions that active runs will promote."""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..evaluations.store import Evaluations
from ..evaluations.summaries import summary_of
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.syntax import same_name
from ..releases import lineage
from ..releases.promotion import Change, Ledger, Models, Releases, content_tag, digest_of
from ..releases.recipes import RECIPE, recipe_of
from ..runs.job_context import step_context
from ..runs.spec import StepSpec, Toolchain
from ..runs.store import Store
from ..steps.registry import get_step


def pending_versions(layout: Layout, name: str) -> list[str]:
    """Return the full names of the versions of a model that active runs will promote. Read-only."""
    versions = []
    for record in Store(layout).active():
        for step in record.run.steps if record.run and record.is_unfinished else ():
            spec = step.spec
            if spec.kind == "register" and spec.options.get("aliases"):
                model = str(spec.settings["name"])
                if model.lower() == name.lower():
                    versions.append(content_tag(model, spec.fingerprint, str(spec.options["quantization"])))
    return versions


def rollback(layout: Layout, ollama: Ollama, name: str, version: str = "", check: bool = False) -> Change:
    """Roll the tags of a model back to an earlier version and hold it, also against the versions being produced.

    :param name: name of the model, without a tag.
    :param version: tag of a version, or a prefix of it; by default the previous version.
    :param check: return the change without applying it.
    :raises InputError: when there is no version to roll back to.
    """
    releases = Releases(layout, name)
    excluded: t.Sequence[str] = pending_versions(layout, name)
    if check:
        return releases.plan_rollback(ollama.tags(), version, excluded)
    return releases.rollback(ollama, version, excluded)


def overview(layout: Layout, ollama: Ollama, name: str) -> dict[str, t.Any]:
    """Return the state of one model: the served and previous versions, the hold, and all versions. Read-only.

    :param name: name of the model, without a tag.
    :returns: ``name``; ``served``, for each alias its ``version`` (empty for a model that this collection did not
        register) and ``digest``; ``declared``, ``previous`` and ``hold``; ``drift``, descriptions of deviations from
        the recorded state; and ``versions``, latest first, each with ``tag``, ``digest``, ``there``,
        ``registered_at``, ``promoted_at``, ``pruned_at``, ``gate``, ``evaluation``, ``base_of``, ``path`` and
        ``lineage``.
    """
    releases = Releases(layout, name)
    ledger, models = releases.ledger(), ollama.tags()
    receipts, evaluations = lineage.registrations(layout, name), Evaluations(layout)
    tags = [lineage.tag_of(receipt) for receipt in receipts]
    served = {}
    for alias in ledger.aliases:
        digest = digest_of(models, alias)
        matches = [tag for tag in tags if digest and digest_of(models, tag) == digest]
        served[alias] = {"version": matches[0] if matches else "", "digest": digest}
    # the last moves and not the declared version: if the gate rejects a version, the alias keeps the previous one
    expected = {str(move["alias"]): str(move["tag"]) for move in ledger.moves}
    drift = [
        f"{alias} {'is another model than' if digest_of(models, alias) else 'does not exist and must be'} {tag}"
        for alias, tag in expected.items()
        if alias in ledger.aliases and digest_of(models, alias) != digest_of(models, tag)
    ]
    digests = {str(each["digest"]) for each in served.values()} - {""}
    for receipt in receipts:
        if receipt.get("pruned_at"):
            continue
        tag = lineage.tag_of(receipt)
        is_served = digest_of(models, tag) in digests
        if is_served and recipe_of(receipt["settings"]) < RECIPE:
            changed = Message("engine.recipe_changed", tag=tag, before=recipe_of(receipt["settings"]), now=RECIPE)
            drift.append(str(changed))
        drift += [reason for reason in map(str, _drift(layout, ollama, receipt, is_served)) if reason not in drift]
    return {
        "name": name,
        "served": served,
        "declared": ledger.declared,
        "previous": releases.previous(models),
        "hold": dataclasses.asdict(ledger.hold) if ledger.hold else {},
        "drift": drift,
        "versions": [_version(layout, models, ledger, evaluations, receipt) for receipt in receipts],
    }


def names(layout: Layout) -> list[str]:
    """Return the names of the models that were registered on this host, sorted. Read-only."""
    return sorted({str(receipt["settings"]["name"]) for receipt in lineage.registrations(layout)})


def _drift(layout: Layout, ollama: Ollama, receipt: t.Mapping[str, t.Any], is_served: bool) -> list[Message]:
    """Return how a registered version deviates from its receipt; its aliases are not checked here."""
    options = {**(receipt.get("options") or {}), "promote": False, "served": is_served}
    spec = StepSpec.from_dict({**receipt, "options": options})
    return get_step("register").drift(step_context(layout, spec, Toolchain(ollama_url=ollama.url)))


def _version(
    layout: Layout, models: Models, ledger: Ledger, evaluations: Evaluations, receipt: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
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
        "evaluation": summary_of(evaluations, str(receipt["fingerprint"])),
        "base_of": lineage.base_of(receipt),
        "path": layout.artifact("register", str(receipt["fingerprint"])),
        "lineage": lineage.lineage(layout, receipt),
    }
