# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered models: their lineage, which one is served, and moving the public tags."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ia_homelab_core.artifacts.integrity import is_without_weights
from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.engine import model_versions
from ia_homelab_core.engine.ollama_use import using_ollama
from ia_homelab_core.errors import CoreError, InputError
from ia_homelab_core.ollama.client import Ollama
from ia_homelab_core.ollama.syntax import same_model, same_name
from ia_homelab_core.releases.lineage import ancestry, base_of
from ia_homelab_core.releases.promotion import Change, Releases
from ia_homelab_core.releases.retention import delete_version
from ia_homelab_core.releases.statements import state_of
from ia_homelab_core.system.files import read_record

from .errors import ConflictError, NotFoundError
from .schemas import MessageBody, Model, Promotion

#: Seconds that a request waits for a training that has Ollama stopped.
_WAIT_SECONDS = 5.0


class Models:
    """The models that runs have registered in an Ollama server."""

    def __init__(self, layout: Layout, ollama_url: str) -> None:
        self.layout = layout
        self._ollama_url = ollama_url
        self.ollama = Ollama(ollama_url, timeout=10.0)

    def all(self, name: str = "") -> list[Model]:
        """Return registered models, the latest first.

        :param name: only models of this name.
        """
        try:
            tags = self.ollama.tags()
        except CoreError:
            tags = None
        models = [self._to_model(fingerprint, tags) for fingerprint in self._fingerprints()]
        chosen = [model for model in models if model is not None and (not name or same_model(model.name, name))]
        return sorted(chosen, key=lambda model: model.registered_at, reverse=True)

    def _fingerprints(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.layout.parent("register")) if len(name) == 64]
        except FileNotFoundError:
            return []

    def _to_model(self, fingerprint: str, tags: t.Sequence[t.Mapping[str, t.Any]] | None) -> Model | None:
        try:
            receipt = self.layout.receipt("register", fingerprint)
        except CoreError:
            return None
        if not receipt:
            return None
        results, settings = receipt.get("results") or {}, receipt.get("settings") or {}
        name, tag = str(settings.get("name", "")), str(results.get("tag", ""))
        releases = Releases(self.layout, name)
        ledger = releases.ledger()
        digest = next((str(one["digest"]) for one in tags or () if same_name(str(one.get("name", "")), tag)), "")
        served = sorted(
            str(one["name"])
            for one in tags or ()
            if digest and one.get("digest") == digest and _is_public_name(str(one["name"]), tag)
        )
        present = None if tags is None else bool(digest)
        state = state_of(
            [alias.rpartition(":")[2] for alias in served],
            present,
            held=ledger.hold is not None,
            pruned=bool(receipt.get("pruned_at")),
            kept_out=ledger.hold is not None and ledger.hold.blocks(tag),
            previous=tags is not None and same_name(releases.previous(tags), tag),
            base_of=base_of(receipt),
        )
        return Model(
            name=name,
            state=MessageBody(**state.as_dict()),
            tag=tag,
            fingerprint=fingerprint,
            digest=digest or str(results.get("digest") or ""),
            quantization=str((receipt.get("options") or {}).get("quantization", "")),
            served=served,
            present=present,
            registered_at=str(receipt.get("finished_at", "")),
            lineage=self._lineage(receipt),
            gate=read_record(Releases(self.layout, name).gate_report(tag)),
            declared=bool(ledger.declared) and same_name(ledger.declared, tag),
            held=ledger.hold is not None and same_name(ledger.hold.tag, tag),
            base_of=base_of(receipt),
        )

    def _lineage(self, receipt: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return the inputs of a model, step by step, from the receipts."""
        lineage: dict[str, t.Any] = {"run": receipt.get("run", "")}
        for kind, made in ancestry(self.layout, {"kind": "register", **receipt}).items():
            results = made.get("results") or {}
            if kind in ("base", "dataset"):
                lineage[kind] = {
                    "fingerprint": made["fingerprint"],
                    "settings": made.get("settings") or {},
                    **{name: results.get(name) for name in ("rows", "name", "sources")},
                }
            elif kind != "register":
                lineage[kind] = {"fingerprint": made["fingerprint"], "finished_at": made.get("finished_at", "")}
            if kind == "merge":
                lineage[kind]["weights"] = not is_without_weights(made)
            if kind == "train":
                resolved = (made.get("options") or {}).get("resolved") or {}
                lineage[kind].update(method=resolved.get("method"), results=results)
        return lineage

    def find(self, tag: str) -> Model:
        """Return the model of a content tag, a served name or the first digits of a fingerprint.

        :raises NotFoundError: when no run has registered it.
        """
        models = self.all()
        for model in models:
            if same_name(model.tag, tag) or any(same_name(one, tag) for one in model.served):
                return model
        for model in models:
            if len(tag) >= 8 and model.fingerprint.startswith(tag):
                return model
        raise NotFoundError("service.model_not_registered", tag=tag)

    def promote(self, tag: str) -> Promotion:
        """Point the public names at a model; they keep answering in the meantime.

        If the model is the declared one, any hold is released. Any other model is held, as after a rollback.
        """
        with self._using_ollama():
            return self._promote(tag)

    def _promote(self, tag: str) -> Promotion:
        model = self.find(tag)
        if not model.present:
            raise ConflictError("service.model_gone", tag=model.tag)
        releases = Releases(self.layout, model.name)
        ledger = releases.ledger()
        if ledger.declared and not same_name(ledger.declared, model.tag):
            return self.rollback(model.name, model.tag)
        releases.release()
        before = self._served_tag(model.name)
        change = releases.promote(self.ollama, model.tag, ledger.aliases or (f"{model.name}:latest",))
        return _to_promotion(model.name, change, before)

    def delete(self, tag: str) -> list[str]:
        """Delete a version: its tags in Ollama, in all quantizations, and the files that only it needs.

        :param tag: its content tag.
        :returns: the tags.
        :raises NotFoundError: when no run has registered such a version, or it was deleted before.
        :raises ConflictError: when it is served, held, declared, or used by a run.
        """
        with self._using_ollama():
            model = self.find(tag)
            if not same_name(model.tag, tag):
                raise ConflictError("service.model_alias", name=tag, tag=model.tag)
            if not model.present:
                raise NotFoundError("service.model_not_registered", tag=tag)
            try:
                removed = delete_version(self.layout, model.name, model.tag, self.ollama)
            except InputError as error:
                raise ConflictError(error.content) from error
            return [item.name for item in removed if item.kind == "tag"]

    def rollback(self, name: str, to: str = "") -> Promotion:
        """Point the public names at the previous version, or at the given one, and hold it."""
        model = name.partition(":")[0]
        with self._using_ollama():
            before = self._served_tag(model)
            return _to_promotion(model, model_versions.rollback(self.layout, self.ollama, model, to), before)

    def _using_ollama(self) -> contextlib.AbstractContextManager[None]:
        """The context in which no training stops Ollama; fails with the name of the training that has stopped it."""
        return using_ollama(self.layout.root, "service", self._ollama_url, _WAIT_SECONDS)

    def release(self, name: str) -> bool:
        """Release the hold of a rollback: the next apply serves the declared model. False if there was no hold.

        :raises NotFoundError: when no run has registered a model of that name.
        """
        models = self.all(name.partition(":")[0])
        if not models:
            raise NotFoundError("service.no_model", name=name)
        return Releases(self.layout, models[0].name).release()

    def _served_tag(self, name: str) -> str:
        return next((one.tag for one in self.all(name) if one.served), "")


def _is_public_name(name: str, tag: str) -> bool:
    """Whether a name is neither the content tag itself nor a backup name."""
    return not same_name(name, tag) and not name.rpartition(":")[2].startswith("before-")


def _to_promotion(name: str, change: Change, before: str) -> Promotion:
    return Promotion(name=name, tag=change.tag, moved=list(change.moved), before=before, held=change.hold is not None)
