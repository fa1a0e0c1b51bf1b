# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolution of a declared base model to an immutable identity: a commit on a hub, or the digest of a directory.

The commit of a name and revision is recorded once in ``models/base/resolved.json`` and kept: a later run needs no
network and does not train on other weights because ``main`` has moved. To update the commit, declare a revision.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import FINGERPRINT, Layout
from ..chat_formats.exactness import servable
from ..errors import InputError, NotReadyError, RemoteError
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..runs.store import Store
from ..system.clock import utc_now
from ..system.files import make_dirs, read_json, write_json
from ..system.locks import FileLock
from .entry import Shape
from .hub_client import HubClient, read_token
from .model_files import HashCache, directory_digest, inspect_files, weight_files
from .names import BaseModel, count_parameters, families

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MAIN = "main"

#: Source of a template that an earlier version derived from the name or the files of a base and trained it with.
EARLIER = "earlier version"
#: Sources of a template that earlier versions recorded for such a base.
_GUESSED = ("files", "name")

#: Files downloaded with the weights: configuration, tokenizer, chat template, licence.
_AUXILIARY_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
#: Code of the model: tools run it with ``trust_remote_code``, and llama.cpp's converter always for some tokenizers.
_CODE_SUFFIX = ".py"
_LICENCES = ("LICENSE", "NOTICE")
#: Parts of a second copy of the weights or the tokenizer in the format of another program.
_FOREIGN_FORMAT_FILES = ("consolidated.safetensors.index.json", "params.json")


@dataclasses.dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    :param name: path in the repository.
    :param bytes: size.
    :param sha256: hex digest of a large file (LFS); empty for the others.
    :param git_oid: hex git object id of the others (SHA-1 over ``blob SIZE\\0`` and the content).
    """

    name: str
    bytes: int
    sha256: str = ""
    git_oid: str = ""


@dataclasses.dataclass(frozen=True)
class BaseIdentity:
    """The immutable identity of a base model.

    :param settings: inputs of its fingerprint: ``{"hub", "commit"}`` or ``{"directory": digest}``.
    :param location: directory of a local model; None for a model of a hub.
    :param description: name for messages.
    :param template: LLaMA-Factory's chat template of the model itself; empty if unknown.
    :param template_source: ``catalogue``, ``llamafactory`` or :data:`EARLIER`; empty without a template.
    :param chat: whether the model has a chat template of its own; None if this is unknown.
    :param shape: dimensions of the model; None if unknown.
    :param bytes: size of the download; 0 for a directory or if unknown.
    :param gated: whether the licence must be accepted first.
    :param source: ``recorded``, ``hub``, ``revision`` (a full commit was declared) or ``directory``.
    """

    settings: dict[str, str]
    location: str | None
    description: str
    template: str = ""
    template_source: str = ""
    shape: Shape | None = None
    bytes: int = 0
    gated: bool = False
    source: str = ""
    chat: bool | None = None

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the base's artifact."""
        return fingerprint("base", self.settings, {})

    def chat_template(self, declared: str | None = None) -> str:
        """Return the template to train with: the declared one, or the model's own.

        :raises InputError: if there is neither.
        """
        if declared or self.template:
            return declared or self.template
        code = "base_models.without_chat" if self.chat is False else "base_models.template_unknown"
        raise InputError(code, model=self.description, families=families(), known=list(servable()))

    @property
    def options(self) -> dict[str, t.Any]:
        """Options of the base step: values that it needs or reports and that do not change the result."""
        return {
            "location": self.location,
            "description": self.description,
            "template": self.template,
            "template_source": self.template_source,
            "model_type": self.shape.model_type if self.shape else "",
            "shape": dataclasses.asdict(self.shape) if self.shape else None,
            "bytes": self.bytes,
        }


def hub_files(info: t.Mapping[str, t.Any]) -> list[HubFile]:
    """Return the files of a repository from its metadata.

    :raises RemoteError: if the metadata lacks their sizes.
    """
    files = []
    for entry in info["siblings"]:
        lfs = entry.get("lfs") or {}
        size = lfs.get("size", entry.get("size"))
        if not isinstance(size, int):
            raise RemoteError("base_models.size_unknown", file=entry.get("rfilename"))
        oid = "" if lfs else str(entry.get("blobId") or "")
        files.append(HubFile(str(entry["rfilename"]), size, str(lfs.get("sha256") or lfs.get("oid") or ""), oid))
    return files


def select_files(files: t.Sequence[HubFile], hub_id: str, code: bool = False) -> list[HubFile]:
    """Select the files that a training needs: weights in safetensors (or else PyTorch's ``.bin``), configuration and
    tokenizer.

    :param code: whether to select the Python files of the repository too.
    :raises InputError: if there are no trainable weights or no configuration.
    """
    by_name = {file.name: file for file in files if "/" not in file.name and not file.name.startswith(".")}
    weights = weight_files(by_name)
    if not weights:
        remarks = [Message("base_models.repository_of_adapter")] if "adapter_config.json" in by_name else []
        if any(name.endswith(".gguf") for name in by_name):
            remarks.append(Message("base_models.gguf_cannot_be_trained"))
        raise InputError("base_models.repository_without_weights", model=hub_id, remarks=remarks)
    if "config.json" not in by_name:
        raise InputError("base_models.repository_without_config", model=hub_id)
    chosen = {*weights, *(code_files(files) if code else ())}
    first, sharded, _rest = weights[0].partition("-")
    index = f"{first}.{weights[0].rpartition('.')[2]}.index.json" if sharded else ""
    for name in by_name:
        if name.endswith(".index.json") and name != index:
            continue
        if name in _FOREIGN_FORMAT_FILES or (name == "tekken.json" and "tokenizer.json" in by_name):
            continue
        if name.endswith(_AUXILIARY_SUFFIXES) or name.startswith(_LICENCES):
            chosen.add(name)
    return [by_name[name] for name in sorted(chosen)]


def code_files(files: t.Iterable[HubFile]) -> list[str]:
    """Return the names of the Python files at the top of a repository, in order."""
    names = (file.name for file in files)
    return sorted(name for name in names if name.endswith(_CODE_SUFFIX) and "/" not in name and name[0] != ".")


def resolve_base(
    layout: Layout,
    model: BaseModel,
    revision: str = "",
    token_file: str = "",
    offline: bool = False,
    environment: t.Mapping[str, str] | None = None,
    write: bool = True,
) -> BaseIdentity:
    """Resolve a base model to its identity.

    A model of a hub that was resolved before is read from the record without network access. Otherwise the hub is
    queried for the commit, the files, and whether this token may download them.

    :param revision: branch, tag or commit; empty for ``main``.
    :param token_file: file that holds the hub's token; empty for none.
    :param offline: do not query the hub.
    :param environment: ``HF_ENDPOINT``, proxies and certificates; by default the environment of this process.
    :param write: whether to record the result; False changes nothing (check mode).
    :raises InputError: if the model, revision or a file does not exist or may not be downloaded.
    :raises NotReadyError: if offline and the model was never resolved on this host.
    :raises RemoteError: if the hub does not answer.
    """
    if model.kind == "dir":
        return _resolve_directory(layout, model, write)
    env = os.environ if environment is None else environment
    requested_revision = revision.strip() or _MAIN
    key = f"{model.hub_id}@{requested_revision}"
    record = _read_record(layout, key)
    source = "recorded"
    if record is None:
        if offline or env.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            if not _COMMIT.match(requested_revision):
                raise NotReadyError("base_models.never_resolved", model=model.declared)
            record, source = {"hub": model.hub_id, "commit": requested_revision}, "revision"
        else:
            record, source = _query_hub(model, requested_revision, HubClient(env, read_token(token_file))), "hub"
            if write:
                record = _write_record(layout, key, record)
    return _identity(layout, model, record, source)


def _resolve_directory(layout: Layout, model: BaseModel, write: bool) -> BaseIdentity:
    cache = HashCache(layout)
    content_digest = directory_digest(model.path, cache)
    if write:
        cache.save()
    settings = {"directory": content_digest}
    kept = _template_of_earlier_version(layout, fingerprint("base", settings, {}))
    return BaseIdentity(
        settings=settings,
        location=model.path,
        description=f"{model.path} (sha256 {content_digest[:12]})",
        template=kept,
        template_source=EARLIER if kept else "",
        shape=model.shape,
        source="directory",
        chat=model.chat,
    )


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _template_of_earlier_version(layout: Layout, base: str) -> str:
    """Return the template that an earlier version derived for a base and trains it with; empty if there is none.

    Earlier versions guessed the template from the name or the files of a model. A training that exists stays valid, and
    one that was interrupted or waits in the queue continues.

    :param base: fingerprint of the base.
    """
    for record in Store(layout).active():
        for spec in (step.spec for step in (record.run.steps if record.run else ())):
            if spec.fingerprint == base and spec.options.get("template_source") in _GUESSED:
                return str(spec.options.get("template") or "")
    results = (layout.receipt("base", base) or {}).get("results") or {}
    if results.get("template_source") not in _GUESSED:
        return ""
    template = str(results.get("template") or "")
    # beside the results are work directories of trainings that were interrupted
    for name in sorted(filter(FINGERPRINT.match, _names_in(layout.parent("train")))):
        receipt = layout.receipt("train", name) or {}
        resolved = (receipt.get("options") or {}).get("resolved") or {}
        if (receipt.get("upstream") or {}).get("base") == base and resolved.get("template") == template:
            return template
    return ""


def _query_hub(model: BaseModel, revision: str, client: HubClient) -> dict[str, t.Any]:
    info = client.model_info(model.hub_id, revision)
    commit, hub_id = str(info.get("sha") or ""), str(info.get("id") or model.hub_id)
    if not _COMMIT.match(commit):
        raise RemoteError("base_models.commit_unknown", endpoint=client.endpoint, model=hub_id, revision=revision)
    files = select_files(hub_files(info), hub_id)
    gated = bool(info.get("gated"))
    if gated or info.get("private"):
        client.check_access(hub_id, commit, "config.json")
    record: dict[str, t.Any] = {
        "hub": hub_id,
        "commit": commit,
        "gated": gated,
        "bytes": sum(file.bytes for file in files),
        "resolved_at": utc_now(),
    }
    if model.shape is None:
        names = {file.name for file in files}
        inspection = inspect_files(lambda name: client.read(hub_id, commit, name) if name in names else None)
        record["chat"] = bool(inspection.chat_template)
        if inspection.shape is not None:
            total = (info.get("safetensors") or {}).get("total")
            record["shape"] = dataclasses.asdict(_with_total(inspection.shape, total))
    return record


def _with_total(shape: Shape, total: t.Any) -> Shape:
    """Return the shape with the parameter count of the weights, as counted by the hub."""
    expected = count_parameters(shape)
    # some weights store a tied embedding matrix twice
    twice = shape.tied and total == expected + shape.vocabulary * shape.hidden
    return dataclasses.replace(shape, parameters=expected if twice or not isinstance(total, int) else total)


def _identity(layout: Layout, model: BaseModel, record: t.Mapping[str, t.Any], source: str) -> BaseIdentity:
    shape = Shape(**record["shape"]) if record.get("shape") else model.shape
    settings = {"hub": str(record["hub"]), "commit": str(record["commit"])}
    template, template_source = model.template, model.template_source
    if template_source != "catalogue":
        kept = _template_of_earlier_version(layout, fingerprint("base", settings, {}))
        template, template_source = (kept, EARLIER) if kept else (template, template_source)
    size = int(record.get("bytes") or 0)
    name = f"{record['hub']} at {record['commit'][:12]}"
    return BaseIdentity(
        settings=settings,
        location=None,
        description=f"{name} ({size / 1e9:.2f} GB)" if size >= 1e7 else name,
        template=template,
        template_source=template_source,
        shape=shape,
        bytes=size,
        gated=bool(record.get("gated", model.gated)),
        source=source,
        chat=record.get("chat"),
    )


def _record_file(layout: Layout) -> str:
    return os.path.join(layout.parent("base"), "resolved.json")


def _read_record(layout: Layout, key: str) -> dict[str, t.Any] | None:
    record = (read_json(_record_file(layout)) or {}).get(key)
    return record if isinstance(record, dict) and record.get("hub") and record.get("commit") else None


def _write_record(layout: Layout, key: str, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """Record the answer; a record that another process has written in the meantime takes precedence."""
    path = _record_file(layout)
    make_dirs(os.path.dirname(path))
    with FileLock(os.path.join(os.path.dirname(path), ".resolved.lock")):
        records = read_json(path) or {}
        earlier = _read_record(layout, key)
        if earlier is not None:
            return earlier
        write_json(path, {**records, key: record})
    return record
