# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declared base model to what it is exactly: a commit of a hub's repository, or the digest of a directory.

The answer for a name and a revision is written once to ``models/base/resolved.json`` and kept: a later run asks
nobody, and does not train on other weights because ``main`` has moved. To move on, declare a revision.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError, NotReadyError, RemoteError
from ..fingerprint import fingerprint
from ..system.clock import utc_now
from ..system.files import make_dirs, read_json, write_json
from ..system.locks import FileLock
from .catalogue import Shape
from .hub_client import HubClient, read_token
from .model_files import HashCache, directory_digest, inspect_files, weight_files
from .names import BaseModel, count_parameters

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MAIN = "main"

#: What is fetched beside the weights: configuration, tokenizer, chat template, code of the model, licence.
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
_LICENCES = ("LICENSE", "NOTICE")
#: A second copy of the weights or the tokenizer in the format of another program.
_ELSEWHERE = ("consolidated.safetensors.index.json", "params.json")


@dataclasses.dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    :param name: its path in the repository.
    :param bytes: its size.
    :param sha256: hex digest of a big file (LFS); empty for the others.
    :param git_oid: hex object id in git of the others (SHA-1 over ``blob SIZE\\0`` and the content).
    """

    name: str
    bytes: int
    sha256: str = ""
    git_oid: str = ""


@dataclasses.dataclass(frozen=True)
class BaseIdentity:
    """What a base model is, exactly.

    :param settings: what its fingerprint is made from: ``{"hub", "commit"}`` or ``{"directory": digest}``.
    :param location: the directory of a local model; None for one that is fetched.
    :param description: for people to read.
    :param template: LLaMA-Factory's chat template of the model itself; empty when nothing told it.
    :param template_source: ``catalogue``, ``files`` or ``name``.
    :param shape: how it is built, when known.
    :param bytes: what will be fetched; 0 for a directory or when not known.
    :param gated: whether the licence has to be accepted first.
    :param source: ``recorded``, ``hub``, ``revision`` (a whole commit was declared) or ``directory``.
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

    @property
    def fingerprint(self) -> str:
        """The name of the base's artifact."""
        return fingerprint("base", self.settings, {})

    def chat_template(self, declared: str | None = None) -> str:
        """The template to train with: the declared one, or the model's own.

        :raises InputError: when there is neither.
        """
        if declared or self.template:
            return declared or self.template
        raise InputError(
            f"Nothing tells which chat template {self.description} was made for.",
            "Declare template: one of LLaMA-Factory's names (llama3, qwen, mistral, chatml, …).",
        )

    @property
    def options(self) -> dict[str, t.Any]:
        """What the base step needs to run, or tells, and does not change the result."""
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
    """The files of a repository, from what the hub says of it.

    :raises RemoteError: when it does not tell their sizes.
    """
    found = []
    for entry in info["siblings"]:
        lfs = entry.get("lfs") or {}
        size = lfs.get("size", entry.get("size"))
        if not isinstance(size, int):
            raise RemoteError(f"The hub does not tell the size of {entry.get('rfilename')}.", "Look at HF_ENDPOINT.")
        oid = "" if lfs else str(entry.get("blobId") or "")
        found.append(HubFile(str(entry["rfilename"]), size, str(lfs.get("sha256") or lfs.get("oid") or ""), oid))
    return found


def select_files(files: t.Sequence[HubFile], hub_id: str) -> list[HubFile]:
    """Of the files of a repository, those a training needs: weights in safetensors (or else PyTorch's ``.bin``),
    configuration, tokenizer.

    :raises InputError: when there are no weights among them.
    """
    by_name = {file.name: file for file in files if "/" not in file.name and not file.name.startswith(".")}
    weights = weight_files(by_name)
    if not weights:
        hint = "Give a repository with weights in safetensors."
        if any(name.endswith(".gguf") for name in by_name):
            hint = "Its GGUF files cannot be trained. " + hint
        if "adapter_config.json" in by_name:
            hint = "It is an adapter. " + hint
        raise InputError(f"{hub_id} holds no weights that can be trained.", hint)
    if "config.json" not in by_name:
        raise InputError(f"{hub_id} has no config.json.", "Give a repository in the Hugging Face format.")
    chosen = set(weights)
    first, sharded, _rest = weights[0].partition("-")
    index = f"{first}.{weights[0].rpartition('.')[2]}.index.json" if sharded else ""
    for name in by_name:
        if name.endswith(".index.json") and name != index:
            continue
        if name in _ELSEWHERE or (name == "tekken.json" and "tokenizer.json" in by_name):
            continue
        if name.endswith(_BESIDE) or name.startswith(_LICENCES):
            chosen.add(name)
    return [by_name[name] for name in sorted(chosen)]


def resolve_base(
    layout: Layout,
    model: BaseModel,
    revision: str = "",
    token_file: str = "",
    offline: bool = False,
    environment: t.Mapping[str, str] | None = None,
    write: bool = True,
) -> BaseIdentity:
    """Say what a base model is exactly.

    Of a hub's model that was resolved before, the record is read and nobody is asked. Otherwise the hub is asked for
    the commit, the files, and whether they may be fetched with this token.

    :param revision: branch, tag or commit; empty for ``main``.
    :param token_file: file that holds the hub's token; empty for none.
    :param offline: do not ask the hub.
    :param environment: ``HF_ENDPOINT``, proxies and certificates; this process's by default.
    :param write: write down what was found out; False looks and changes nothing (check mode).
    :raises InputError: for a model, revision or file that is not there, or may not be fetched.
    :raises NotReadyError: offline, when it was never resolved here.
    :raises RemoteError: when the hub does not answer.
    """
    if model.kind == "dir":
        return _resolve_directory(layout, model, write)
    env = os.environ if environment is None else environment
    wanted = revision.strip() or _MAIN
    key = f"{model.hub_id}@{wanted}"
    record = _read_record(layout, key)
    source = "recorded"
    if record is None:
        if offline or env.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            if not _COMMIT.match(wanted):
                raise NotReadyError(
                    f"{model.declared} has never been resolved on this host, and it may not ask the hub (offline).",
                    "Run once with a network, copy models/base of another host, or give a directory with the weights.",
                )
            record, source = {"hub": model.hub_id, "commit": wanted}, "revision"
        else:
            record, source = _ask(model, wanted, HubClient(env, read_token(token_file))), "hub"
            if write:
                record = _write_record(layout, key, record)
    return _identity(model, record, source)


def _resolve_directory(layout: Layout, model: BaseModel, write: bool) -> BaseIdentity:
    cache = HashCache(layout)
    found = directory_digest(model.path, cache)
    if write:
        cache.save()
    return BaseIdentity(
        settings={"directory": found},
        location=model.path,
        description=f"{model.path} (sha256 {found[:12]})",
        template=model.template,
        template_source=model.template_source,
        shape=model.shape,
        source="directory",
    )


def _ask(model: BaseModel, revision: str, client: HubClient) -> dict[str, t.Any]:
    info = client.model_info(model.hub_id, revision)
    commit, hub_id = str(info.get("sha") or ""), str(info.get("id") or model.hub_id)
    if not _COMMIT.match(commit):
        raise RemoteError(f"{client.endpoint} does not tell the commit of {hub_id} at {revision}.")
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
    if model.template_source != "catalogue":
        names = {file.name for file in files}
        found = inspect_files(lambda name: client.read(hub_id, commit, name) if name in names else None)
        record["template"] = found.template
        if found.shape is not None:
            total = (info.get("safetensors") or {}).get("total")
            record["shape"] = dataclasses.asdict(_with_total(found.shape, total))
    return record


def _with_total(shape: Shape, total: t.Any) -> Shape:
    """The shape with the number of parameters that the hub counted in the weights."""
    expected = count_parameters(shape)
    twice = shape.tied and total == expected + shape.vocabulary * shape.hidden  # the tied matrix lies there twice
    return dataclasses.replace(shape, parameters=expected if twice or not isinstance(total, int) else total)


def _identity(model: BaseModel, record: t.Mapping[str, t.Any], source: str) -> BaseIdentity:
    shape = Shape(**record["shape"]) if record.get("shape") else model.shape
    template, told = model.template, model.template_source
    if record.get("template"):  # what the files say goes before what a name suggests
        template, told = str(record["template"]), "files"
    size = int(record.get("bytes") or 0)
    words = f"{record['hub']} at {record['commit'][:12]}"
    return BaseIdentity(
        settings={"hub": str(record["hub"]), "commit": str(record["commit"])},
        location=None,
        description=f"{words} ({size / 1e9:.2f} GB)" if size >= 1e7 else words,
        template=template,
        template_source=told,
        shape=shape,
        bytes=size,
        gated=bool(record.get("gated", model.gated)),
        source=source,
    )


def _record_file(layout: Layout) -> str:
    return os.path.join(layout.parent("base"), "resolved.json")


def _read_record(layout: Layout, key: str) -> dict[str, t.Any] | None:
    found = (read_json(_record_file(layout)) or {}).get(key)
    return found if isinstance(found, dict) and found.get("hub") and found.get("commit") else None


def _write_record(layout: Layout, key: str, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """Write the answer down, unless somebody else has in the meantime: then theirs counts."""
    path = _record_file(layout)
    make_dirs(os.path.dirname(path))
    with FileLock(os.path.join(os.path.dirname(path), ".resolved.lock")):
        known = read_json(path) or {}
        earlier = _read_record(layout, key)
        if earlier is not None:
            return earlier
        write_json(path, {**known, key: record})
    return record
