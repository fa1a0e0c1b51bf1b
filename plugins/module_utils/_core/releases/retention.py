# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention of a model's versions: selects and removes those that are not kept. Receipts, cards and loss curves stay.

A version is one declaration at a time: one training and one way of serving it, in all its quantizations. Never removed
are the served version, the version served before it, the versions a hold pins or blocks, the declared version, and all
inputs of versions of other models and of active runs.

If two versions are identical to the byte (``regenerate: always`` on a machine with reproducible results), Ollama has
one model under two tags. They count as one version, and the later one represents both.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t

from ..artifacts import kinds
from ..artifacts.integrity import step_defect
from ..artifacts.layout import (
    LOSS_PLOT_FILE,
    MODEL_CARD_FILE,
    MODELFILE,
    PROBES_FILE,
    RECEIPT,
    REPORT_FILE,
    TRAINER_LOG_FILE,
    Layout,
    Receipt,
)
from ..errors import InputError
from ..fingerprint import digest
from ..ollama.client import Ollama
from ..ollama.syntax import same_name
from ..runs.run import Run
from ..runs.store import Store
from ..system.clock import utc_now
from ..system.files import REMOVED, fsync_dir, make_temporary_dir, temporary_prefix, write_json
from . import lineage
from .promotion import Models, Releases, digest_of
from .recipes import without_recipe

#: Files that are kept: they are small and still useful.
_KEPT_FILES = (RECEIPT, MODEL_CARD_FILE, MODELFILE, TRAINER_LOG_FILE, LOSS_PLOT_FILE, PROBES_FILE, REPORT_FILE)
_REMOVED_WITH_A_VERSION = {kind.name for kind in kinds.TABLE if kind.retention is not kinds.Retention.KEPT}
#: Those that a version is not made from, but that are made from it.
_ABOUT_A_VERSION = [
    kind.name for kind in kinds.TABLE if kind.lineage is None and kind.retention is kinds.Retention.VERSION
]
_INTERMEDIATE = {kind.name for kind in kinds.TABLE if kind.retention is kinds.Retention.INTERMEDIATE}
_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Surplus:
    """One artifact or tag that is not kept.

    :param kind: step of the artifact, or ``tag`` for a tag in Ollama.
    :param name: fingerprint of the artifact, or full name of the tag.
    :param bytes: disk space to free; 0 for a tag.
    """

    kind: str
    name: str
    bytes: int = 0

    def description(self) -> str:
        """A phrase for display."""
        if self.kind == "tag":
            return f"{self.name} is one version too many"
        return f"{self.kind} {self.name[:12]} is not needed any more ({self.bytes / _GB:.1f} GB)"


@dataclasses.dataclass(frozen=True)
class Policy:
    """What to keep.

    :param keep: number of the latest versions of a model to keep; None for all.
    :param intermediates: whether to keep merged weights and 16-bit files when the results built from them exist.
        Merged weights of a fine-tune with ``keep_merged`` are no intermediates.
    """

    keep: int | None = None
    intermediates: bool = True

    def as_settings(self) -> dict[str, t.Any]:
        """The policy without default values; empty if everything is kept."""
        settings: dict[str, t.Any] = {"keep": self.keep} if self.keep is not None else {}
        return settings if self.intermediates else {**settings, "intermediates": False}

    @classmethod
    def from_settings(cls, settings: t.Mapping[str, t.Any]) -> Policy:
        """The policy from the settings that :meth:`as_settings` returned."""
        return cls(settings.get("keep"), bool(settings.get("intermediates", True)))


def surplus(
    layout: Layout, name: str, policy: Policy, models: Models, except_run_with: str = "", keep_run_inputs: bool = True
) -> list[Surplus]:
    """The artifacts and tags of a model that are not kept. Read-only.

    :param name: the model's name, without a tag.
    :param models: the list of :meth:`Ollama.tags`.
    :param except_run_with: fingerprint of a retention: the inputs of an active run that has only this step left are
        not protected.
    :param keep_run_inputs: whether the inputs of the other active runs are kept.
    """
    run_inputs = _inputs_of_active_runs(layout, except_run_with) if keep_run_inputs else set()
    versions = _versions(layout, name)
    kept_keys = _kept_versions(Releases(layout, name), versions, policy, models)
    return _surplus_beside(layout, versions, kept_keys, policy, models, run_inputs)


def _surplus_beside(
    layout: Layout,
    versions: t.Mapping[str, t.Sequence[Receipt]],
    kept_keys: t.Container[str],
    policy: Policy,
    models: Models,
    run_inputs: set[tuple[str, str]],
) -> list[Surplus]:
    """The artifacts and tags of versions that are not kept, and the intermediates that the policy removes."""
    removed = [receipt for key, group in versions.items() if key not in kept_keys for receipt in group]
    kept = [receipt for key, group in versions.items() if key in kept_keys for receipt in group]
    others = [receipt for receipt in lineage.registrations(layout) if receipt not in removed and receipt not in kept]
    needed, direct = _needed(layout, [*kept, *(receipt for receipt in others if not receipt.get("pruned_at"))])
    needed |= run_inputs
    items = [
        Surplus("tag", lineage.tag_of(receipt))
        for receipt in removed
        if digest_of(models, lineage.tag_of(receipt)) and ("register", str(receipt["fingerprint"])) not in run_inputs
    ]
    candidates: dict[tuple[str, str], None] = {}
    for receipt in removed:
        artifacts = _artifacts_of(layout, receipt)
        candidates.update(dict.fromkeys(artifact for artifact in artifacts if artifact[0] in _REMOVED_WITH_A_VERSION))
    candidates.update(dict.fromkeys(_results_about(layout, removed)))
    if not policy.intermediates:
        for receipt in [*kept, *removed]:
            artifacts = _artifacts_of(layout, receipt)
            intermediates = [
                artifact
                for artifact in artifacts
                if artifact[0] in _INTERMEDIATE and artifact not in direct and not _is_kept_merge(layout, *artifact)
            ]
            candidates.update(dict.fromkeys(intermediates))
            needed -= set(intermediates) - run_inputs
    for kind, fingerprint in candidates:
        size = _removable_bytes(layout.artifact(kind, fingerprint)) if (kind, fingerprint) not in needed else 0
        if size:
            items.append(Surplus(kind, fingerprint, size))
    return items


def deferred(layout: Layout, name: str, policy: Policy, models: Models, except_run_with: str = "") -> list[Surplus]:
    """Artifacts and tags that are kept only because active runs need them. Read-only."""
    current = surplus(layout, name, policy, models, except_run_with)
    return [
        item
        for item in surplus(layout, name, policy, models, except_run_with, keep_run_inputs=False)
        if item not in current
    ]


def prune(layout: Layout, name: str, policy: Policy, ollama: Ollama, except_run_with: str = "") -> list[Surplus]:
    """Remove what is not kept: first files, then tags. After a kill, the next call continues where this one stopped.

    :returns: what was removed.
    """
    return _remove(layout, name, ollama, lambda models: surplus(layout, name, policy, models, except_run_with))


def _remove(layout: Layout, name: str, ollama: Ollama, choose: t.Callable[[Models], list[Surplus]]) -> list[Surplus]:
    """Remove what a function chooses from Ollama's models: first files, then tags; return it."""
    # these locks block rollbacks to the removed versions, and new runs that need the removed artifacts
    with Releases(layout, name).locked():
        models = ollama.tags()
        with Store(layout).lock():
            items = choose(models)
            # Receipts are marked before tags are deleted: after a kill, a remaining tag does not count as a version.
            set_aside = [_set_aside(layout, item) for item in items if item.kind != "tag"]
        for item in items:
            if item.kind == "tag":
                ollama.delete(item.name)
    for path in set_aside:
        shutil.rmtree(path, ignore_errors=True)
    return items


def delete_version(layout: Layout, name: str, tag: str, ollama: Ollama) -> list[Surplus]:
    """Remove one version of a model: its tags in all quantizations, and the files that nothing else needs.

    :param name: the model's name, without a tag.
    :param tag: full name of the version, in one of its quantizations.
    :returns: what was removed.
    :raises InputError: if no version has the tag, and if the version is served, held or declared, or an active run uses
        it.
    """

    def choose(models: Models) -> list[Surplus]:
        versions = _versions(layout, name)
        key = next((key for key, group in versions.items() if _has_tag(group, tag)), None)
        if key is None:
            tags = [lineage.tag_of(receipt) for group in versions.values() for receipt in group]
            available = [known for known in tags if digest_of(models, known)]
            raise InputError("releases.version_unknown", version=tag, name=name, available=available)
        run_inputs = _inputs_of_active_runs(layout, "")
        _refuse_if_used(Releases(layout, name), versions[key], models, run_inputs)
        kept = {other for other in versions if other != key}
        return _surplus_beside(layout, versions, kept, Policy(), models, run_inputs)

    return _remove(layout, name, ollama, choose)


def _has_tag(receipts: t.Iterable[Receipt], tag: t.Any) -> bool:
    return any(same_name(lineage.tag_of(receipt), str(tag)) for receipt in receipts)


def _refuse_if_used(
    releases: Releases, version: t.Sequence[Receipt], models: Models, run_inputs: t.Container[tuple[str, str]]
) -> None:
    """Check that nothing answers with a version, and that nothing would make it again.

    :raises InputError: otherwise.
    """
    ledger = releases.ledger()
    tags = [lineage.tag_of(receipt) for receipt in version]
    digests = {digest_of(models, tag) for tag in tags} - {""}
    served = [alias for alias in ledger.aliases if digest_of(models, alias) in digests]
    if served:
        raise InputError("releases.deletes_served", tag=tags[0], names=served)
    if ledger.hold is not None and _has_tag(version, ledger.hold.tag):
        raise InputError("releases.deletes_held", tag=tags[0])
    if _has_tag(version, ledger.declared):
        raise InputError("releases.deletes_declared", tag=tags[0])
    if any(("register", str(receipt["fingerprint"])) in run_inputs for receipt in version):
        raise InputError("releases.version_in_use", tag=tags[0])


def _versions(layout: Layout, name: str) -> dict[str, list[Receipt]]:
    """Registrations of a model by version, the latest version first."""
    moved = {str(move["tag"]).lower(): str(move.get("at", "")) for move in Releases(layout, name).ledger().moves}
    versions: dict[str, list[Receipt]] = {}
    latest: dict[str, str] = {}
    for receipt in lineage.registrations(layout, name):
        trained = lineage.ancestry(layout, receipt).get("train") or receipt
        # the registrations of a version by several recipes are one version
        key = digest([trained["fingerprint"], without_recipe(receipt["settings"])])
        versions.setdefault(key, []).append(receipt)
        last_use = max(str(receipt.get("finished_at", "")), moved.get(lineage.tag_of(receipt).lower(), ""))
        latest[key] = max(latest.get(key, ""), last_use)
    return {key: versions[key] for key in sorted(versions, key=lambda key: latest[key], reverse=True)}


def _kept_versions(
    releases: Releases, versions: t.Mapping[str, t.Sequence[Receipt]], policy: Policy, models: Models
) -> set[str]:
    if policy.keep is None:
        return set(versions)
    ledger = releases.ledger()
    tags = [ledger.declared, releases.previous(models)]
    if ledger.hold is not None:
        tags += [ledger.hold.tag, *ledger.hold.against]
    served = {digest_of(models, alias) for alias in ledger.aliases} - {""}
    kept: set[str] = set()
    count = 0
    for group in _group_identical(versions, models):
        names = {key: [lineage.tag_of(receipt) for receipt in versions[key]] for key in group}
        named = [key for key in group if any(tag and same_name(name, tag) for name in names[key] for tag in tags)]
        serves = any(digest_of(models, name) in served for key in group for name in names[key])
        # pruned versions do not count towards the limit
        complete = [key for key in group if not all(receipt.get("pruned_at") for receipt in versions[key])]
        representative = (complete or group)[:1] if serves or (complete and count < policy.keep) else []
        kept.update(named or representative)
        count += bool(complete)
    return kept


def _group_identical(versions: t.Mapping[str, t.Sequence[Receipt]], models: Models) -> list[list[str]]:
    """Groups of versions that are identical to the byte: Ollama has the same models under their tags."""
    groups: dict[t.Any, list[str]] = {}
    for key, receipts in versions.items():
        digests = frozenset(digest_of(models, lineage.tag_of(receipt)) for receipt in receipts) - {""}
        groups.setdefault(digests or key, []).append(key)
    return list(groups.values())


def _artifacts_of(layout: Layout, receipt: Receipt) -> list[tuple[str, str]]:
    """Kind and fingerprint of a registration and of all its inputs, including the 16-bit files."""
    artifacts = []
    for kind, ancestor in lineage.ancestry(layout, receipt).items():
        artifacts.append((kind, str(ancestor["fingerprint"])))
        artifacts += kinds.results_beside(kind, ancestor.get("options"))
    return artifacts


def _results_about(layout: Layout, registrations: t.Iterable[Receipt]) -> list[tuple[str, str]]:
    """Kind and fingerprint of what was made from versions and goes with them, such as the answers of an evaluation."""
    versions = {str(receipt["fingerprint"]) for receipt in registrations}
    return [
        (kind, str(receipt["fingerprint"]))
        for kind in _ABOUT_A_VERSION
        for receipt in lineage.receipts_of(layout, kind)
        if str((receipt.get("upstream") or {}).get("register")) in versions
    ]


def _is_kept_merge(layout: Layout, kind: str, fingerprint: str) -> bool:
    """Whether an artifact is merged weights that were declared to be kept."""
    options = (lineage.read_receipt(layout, kind, fingerprint) or {}).get("options") or {}
    return kind == "merge" and bool((options.get("resolved") or {}).get("keep_merged"))


def _needed(layout: Layout, receipts: t.Sequence[Receipt]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """All inputs of registrations, and their direct inputs."""
    needed: set[tuple[str, str]] = set()
    direct: set[tuple[str, str]] = set()
    for receipt in receipts:
        needed |= set(_artifacts_of(layout, receipt))
        direct |= {(kind, str(fingerprint)) for kind, fingerprint in receipt["upstream"].items()}
    return needed, direct


def _inputs_of_active_runs(layout: Layout, except_run_with: str) -> set[tuple[str, str]]:
    """What the active runs make and read: their steps, and all inputs of these, direct or not.

    A run may start at a result that none of its steps makes, so the steps alone do not name what it reads.
    """
    artifacts: set[tuple[str, str]] = set()
    for record in Store(layout).active():
        run = record.run if record.is_unfinished else None
        if run is not None and not _has_only_to_retain(layout, run, except_run_with):
            _add_with_inputs(layout, [step.spec.as_dict() for step in run.steps], artifacts)
    return artifacts


def _has_only_to_retain(layout: Layout, run: Run, retain: str) -> bool:
    """Whether a run has the step ``retain``, and everything else that it is to make exists.

    Several active runs may share that step: a run with a further quantization, for example. One that is not that far
    still reads its inputs.
    """
    goals = [step.spec for step in run.steps if step.label in run.goals]
    others = [spec for spec in goals if spec.fingerprint != retain]
    return len(others) < len(goals) and all(
        step_defect(layout, spec.kind, spec.fingerprint, spec.options) is None for spec in others
    )


def _add_with_inputs(layout: Layout, receipts: t.Sequence[Receipt], artifacts: set[tuple[str, str]]) -> None:
    """Add kind and fingerprint of results, and those of all their inputs, to a set.

    :param receipts: receipts, or specs of results to come.
    """
    queue = [(str(receipt["kind"]), str(receipt["fingerprint"]), receipt) for receipt in receipts]
    while queue:
        kind, fingerprint, receipt = queue.pop()
        artifacts.add((kind, fingerprint))
        inputs = [(str(parent), str(value)) for parent, value in (receipt.get("upstream") or {}).items()]
        for parent, value in [*inputs, *kinds.results_beside(kind, receipt.get("options"))]:
            if (parent, value) not in artifacts:
                queue.append((parent, value, lineage.read_receipt(layout, parent, value) or {}))


def _removable_bytes(path: str) -> int:
    """Size in bytes of an artifact's files that pruning removes."""
    total = 0
    for folder, _dirs, names in os.walk(path):
        for name in names:
            if folder != path or name not in _KEPT_FILES:
                total += os.lstat(os.path.join(folder, name)).st_size or 1
    return total


def _set_aside(layout: Layout, item: Surplus) -> str:
    """Mark a result as pruned, then move its files to a temporary directory; returns that directory."""
    path = layout.artifact(item.kind, item.name)
    receipt = layout.receipt(item.kind, item.name) or {}
    if not receipt.get("pruned_at"):
        write_json(os.path.join(path, RECEIPT), {**receipt, "pruned_at": utc_now(), "pruned_bytes": item.bytes})
    removed_dir = make_temporary_dir(temporary_prefix(REMOVED), os.path.dirname(path))
    for name in os.listdir(path):
        if name not in _KEPT_FILES:
            os.rename(os.path.join(path, name), os.path.join(removed_dir, name))
    fsync_dir(path)
    return removed_dir
