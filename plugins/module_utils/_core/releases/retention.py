# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a model's versions, and removing the rest. Receipts, cards and loss curves stay.

A version is what was declared at a time: one training, one way of serving it, in all its quantizations. Never removed
are the version that is served, the one that was served before, what a rollback holds or is held against, what is
declared, and whatever a version of another model or a run at work is made from.

Where two have come out equal to the byte (``regenerate: always`` on a machine that computes the same twice), Ollama
has one model under two tags. They count as one version, and the later stays for both.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t

from ..artifacts.layout import RECEIPT, Layout
from ..fingerprint import digest
from ..ollama.client import Ollama
from ..ollama.syntax import same_name
from ..runs.store import Store
from ..system.clock import utc_now
from ..system.files import REMOVED, fsync_dir, make_temporary_dir, temporary_prefix, write_json
from . import lineage
from .promotion import Models, Releases, digest_of

#: Small, and worth more than the room they take.
_STAY = (RECEIPT, "README.md", "Modelfile", "trainer_log.jsonl", "training_loss.png")
_REMOVED_WITH_A_VERSION = ("register", "gguf", "gguf_adapter", "merge", "train")
_GB = 1e9

Receipt = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Surplus:
    """One thing that is not kept.

    :param kind: step of the result, or ``tag`` for a tag in Ollama.
    :param name: its fingerprint, or the full name of the tag.
    :param bytes: room it takes; 0 for a tag.
    """

    kind: str
    name: str
    bytes: int = 0

    def words(self) -> str:
        """For people."""
        if self.kind == "tag":
            return f"{self.name} is one version too many"
        return f"{self.kind} {self.name[:12]} is not needed any more ({self.bytes / _GB:.1f} GB)"


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is kept.

    :param keep: versions of a model, the latest ones; None for all.
    :param intermediates: whether merged weights and 16-bit files stay once what is made from them is there.
    """

    keep: int | None = None
    intermediates: bool = True

    def as_settings(self) -> dict[str, t.Any]:
        """The policy, what is at its default left out; empty when all is kept."""
        found: dict[str, t.Any] = {"keep": self.keep} if self.keep is not None else {}
        return found if self.intermediates else {**found, "intermediates": False}

    @classmethod
    def from_settings(cls, settings: t.Mapping[str, t.Any]) -> Policy:
        """The policy that :meth:`as_settings` wrote."""
        return cls(settings.get("keep"), bool(settings.get("intermediates", True)))


def surplus(
    layout: Layout, name: str, policy: Policy, models: Models, except_run_with: str = "", patient: bool = True
) -> list[Surplus]:
    """What of a model is not kept. Reads only.

    :param name: the model's name, without a tag.
    :param models: what :meth:`Ollama.tags` lists.
    :param except_run_with: fingerprint of a step: the active run it belongs to keeps nothing.
    :param patient: whether what the other active runs are made from is kept.
    """
    at_work = _at_work(layout, except_run_with) if patient else set()
    versions = _versions(layout, name)
    kept_keys = _kept(Releases(layout, name), versions, policy, models)
    going = [one for key, group in versions.items() if key not in kept_keys for one in group]
    staying = [one for key, group in versions.items() if key in kept_keys for one in group]
    others = [one for one in lineage.registrations(layout) if one not in going and one not in staying]
    needed, direct = _needed(layout, [*staying, *(one for one in others if not one.get("pruned_at"))])
    needed |= at_work
    found = [
        Surplus("tag", lineage.tag_of(one))
        for one in going
        if digest_of(models, lineage.tag_of(one)) and ("register", str(one["fingerprint"])) not in at_work
    ]
    candidates: dict[tuple[str, str], None] = {}
    for receipt in going:
        made = _made_from(layout, receipt)
        candidates.update(dict.fromkeys(pair for pair in made if pair[0] in _REMOVED_WITH_A_VERSION))
    if not policy.intermediates:
        for receipt in [*staying, *going]:
            made = _made_from(layout, receipt)
            passing = [pair for pair in made if pair[0] in ("merge", "gguf") and pair not in direct]
            candidates.update(dict.fromkeys(passing))
            needed -= set(passing) - at_work
    for kind, fingerprint in candidates:
        size = _room(layout.artifact(kind, fingerprint)) if (kind, fingerprint) not in needed else 0
        if size:
            found.append(Surplus(kind, fingerprint, size))
    return found


def deferred(layout: Layout, name: str, policy: Policy, models: Models, except_run_with: str = "") -> list[Surplus]:
    """What is kept only because runs at work are made from it. Reads only."""
    now = surplus(layout, name, policy, models, except_run_with)
    return [item for item in surplus(layout, name, policy, models, except_run_with, patient=False) if item not in now]


def prune(layout: Layout, name: str, policy: Policy, ollama: Ollama, except_run_with: str = "") -> list[Surplus]:
    """Remove what is not kept: files, then tags. What was done when this is killed is not done again.

    :returns: what was removed.
    """
    # nobody rolls back to what is being removed, and nobody asks for a run that is made from it
    with Releases(layout, name).locked():
        models = ollama.tags()
        with Store(layout).lock():
            found = surplus(layout, name, policy, models, except_run_with)
            # marked first: whatever tags are left when this is killed, it is no version any more
            gone = [_set_aside(layout, item) for item in found if item.kind != "tag"]
        for item in found:
            if item.kind == "tag":
                ollama.delete(item.name)
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return found


def _versions(layout: Layout, name: str) -> dict[str, list[Receipt]]:
    """Registrations of a model by version, the latest version first."""
    moved = {str(move["tag"]).lower(): str(move.get("at", "")) for move in Releases(layout, name).ledger().moves}
    found: dict[str, list[Receipt]] = {}
    latest: dict[str, str] = {}
    for receipt in lineage.registrations(layout, name):
        trained = lineage.ancestry(layout, receipt).get("train") or receipt
        key = digest([trained["fingerprint"], receipt["settings"]])
        found.setdefault(key, []).append(receipt)
        at = max(str(receipt.get("finished_at", "")), moved.get(lineage.tag_of(receipt).lower(), ""))
        latest[key] = max(latest.get(key, ""), at)
    return {key: found[key] for key in sorted(found, key=lambda key: latest[key], reverse=True)}


def _kept(
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
    places = 0
    for equal in _equal(versions, models):
        names = {key: [lineage.tag_of(receipt) for receipt in versions[key]] for key in equal}
        meant = [key for key in equal if any(tag and same_name(name, tag) for name in names[key] for tag in tags)]
        answers = any(digest_of(models, name) in served for key in equal for name in names[key])
        # what was pruned takes no place
        whole = [key for key in equal if not all(receipt.get("pruned_at") for receipt in versions[key])]
        one = (whole or equal)[:1] if answers or (whole and places < policy.keep) else []
        kept.update(meant or one)
        places += bool(whole)
    return kept


def _equal(versions: t.Mapping[str, t.Sequence[Receipt]], models: Models) -> list[list[str]]:
    """The versions, those equal to the byte together: Ollama has the same models under the tags of each."""
    found: dict[t.Any, list[str]] = {}
    for key, group in versions.items():
        digests = frozenset(digest_of(models, lineage.tag_of(receipt)) for receipt in group) - {""}
        found.setdefault(digests or key, []).append(key)
    return list(found.values())


def _made_from(layout: Layout, receipt: Receipt) -> list[tuple[str, str]]:
    """Kind and fingerprint of all that a registration is made from, the 16-bit files included, and itself."""
    found = []
    for kind, one in lineage.ancestry(layout, receipt).items():
        found.append((kind, str(one["fingerprint"])))
        half = (one.get("options") or {}).get("f16")
        if kind == "gguf" and half:
            found.append((kind, str(half)))
    return found


def _needed(layout: Layout, receipts: t.Sequence[Receipt]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """All that registrations are made from, and the files they are directly made from."""
    needed: set[tuple[str, str]] = set()
    direct: set[tuple[str, str]] = set()
    for receipt in receipts:
        needed |= set(_made_from(layout, receipt))
        direct |= {(kind, str(fingerprint)) for kind, fingerprint in receipt["upstream"].items()}
    return needed, direct


def _at_work(layout: Layout, except_run_with: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for record in Store(layout).active():
        specs = [step.spec for step in record.run.steps] if record.run and record.is_unfinished else []
        if not any(spec.fingerprint == except_run_with for spec in specs):
            found |= {(spec.kind, spec.fingerprint) for spec in specs}
    return found


def _room(path: str) -> int:
    """Bytes of an artifact's files that would go."""
    total = 0
    for folder, _dirs, names in os.walk(path):
        for name in names:
            if folder != path or name not in _STAY:
                total += os.lstat(os.path.join(folder, name)).st_size or 1
    return total


def _set_aside(layout: Layout, item: Surplus) -> str:
    """Mark a result as pruned, then move its files out of it; where they are now."""
    path = layout.artifact(item.kind, item.name)
    receipt = layout.receipt(item.kind, item.name) or {}
    if not receipt.get("pruned_at"):
        write_json(os.path.join(path, RECEIPT), {**receipt, "pruned_at": utc_now(), "pruned_bytes": item.bytes})
    gone = make_temporary_dir(temporary_prefix(REMOVED), os.path.dirname(path))
    for name in os.listdir(path):
        if name not in _STAY:
            os.rename(os.path.join(path, name), os.path.join(gone, name))
    fsync_dir(path)
    return gone
