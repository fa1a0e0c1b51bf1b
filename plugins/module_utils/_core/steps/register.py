# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering a GGUF file in Ollama: upload, create under a content tag, verify, then move the tags people use.

The content tag is ``<name>:<12 digits of the registration's fingerprint>-<quantization>``, the quantization as it is
declared (``q4_K_M``, as in Ollama's own library; a tag may have letters, digits, ``_``, ``-`` and ``.``, at most 80,
and Ollama compares names without regard to case). It is never given to another model, so the name alone tells what a
model was made from. Ollama keeps nothing else that could carry a fingerprint: the manifest holds template, system,
parameters, licence and messages, each of which means something to a model or its user, and ``info`` is only told of
models that run elsewhere. So the tag and the receipt carry it; a tag people use is traced by its digest, which is
that of the content tag.
"""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ..base_models.chat_templates import OllamaTemplate, template_for
from ..errors import JobError, StoreError
from ..estimates.memory import register_disk
from ..formats.gguf import GgufInfo, check_complete, read_header
from ..ollama.client import Ollama
from ..ollama.syntax import (
    check_name,
    check_parameters,
    modelfile,
    modelfile_blobs,
    models_directory,
    parse_parameters,
    same_parameters,
)
from ..releases.promotion import BeforeMove, Releases, content_tag, digest_of
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..system.files import read_json, sha256_file, write_atomic, write_json
from ..system.log import log_line
from .step import Step
from .tool_environment import require_disk_space
from .worker_command import worker_command

GGUF = "model.gguf"
ADAPTER = "adapter.gguf"
MODELFILE = "Modelfile"
#: What the work found out, in the work directory: outlives a kill, so that what an alias pointed to is not forgotten.
_RECORD = "registration.json"
_REPORT_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Registration:
    """What a model shall be in Ollama.

    :param tag: full content tag.
    :param aliases: tags that shall point to it, without the model's name.
    :param path: the GGUF file.
    :param adapter: the GGUF file of an adapter that is put on it when it is loaded; empty when it is merged already.
    :param bos: who puts the BOS token first: ``server``, ``template`` or ``nobody``.
    :param warnings: where what is served cannot be what was trained.
    """

    name: str
    tag: str
    aliases: tuple[str, ...]
    path: str
    adapter: str
    template: str
    system: str
    parameters: dict[str, t.Any]
    bos: str
    warnings: tuple[str, ...]


class RegisterStep(Step):
    """Registers ``upstream["gguf"]``, with ``upstream["gguf_adapter"]`` on it where there is one, as
    ``settings["name"]``.

    Settings: ``name``, ``template``, ``system``, ``parameters``, and ``enable_thinking`` where the training had it off.
    Options: ``quantization``, ``aliases`` (tags to move to it), ``promote`` (False leaves the aliases where they are).

    ``results``: ``tag``, ``digest`` (of the manifest), ``blob`` and ``adapter_blob`` (what was sent), ``stored`` (what
    the server keeps of it), ``aliases``, ``previous`` (for each alias that was moved, the ``digest`` it had and a
    ``tag`` that still has it; None where it was new), ``template``, ``system``, ``parameters``, ``bos``,
    ``server_version``, ``warnings``.
    """

    kind = "register"
    exclusive = False

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        plan(ctx)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        wanted = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_url)
        report = _Report(ctx.progress_file)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        record.update(server_version=ollama.version(), blob=_digest(ctx, "gguf", wanted.path, report))
        if wanted.adapter:
            record["adapter_blob"] = _digest(ctx, "gguf_adapter", wanted.adapter, report)
        text = modelfile(wanted.path, wanted.template, wanted.system, wanted.parameters, wanted.adapter)
        write_atomic(os.path.join(ctx.work, MODELFILE), text)

        found = ollama.find(wanted.tag)
        shown = ollama.show(wanted.tag) if found else {}
        if _different(shown, wanted) or (found and self._other_weights(ctx, shown)):
            self._create(ollama, wanted, record, report)
        record["digest"], record["stored"] = _verified(ollama, wanted)
        log_line(f"Created {wanted.tag}")
        if _promotes(ctx):
            report.note("promoting")
            ahead = _write_ahead(os.path.join(ctx.work, _RECORD), record)
            change = Releases(ctx.layout, wanted.name).promote(ollama, wanted.tag, _full(wanted), ahead)
            for full in change.moved:
                log_line(f"{full} is now {change.tag}")
        write_json(os.path.join(ctx.work, _RECORD), record)

    def _create(self, ollama: Ollama, wanted: Registration, record: t.Mapping[str, t.Any], report: _Report) -> None:
        adapters = {ADAPTER: record["adapter_blob"]} if wanted.adapter else {}
        if not ollama.has_blob(str(record["blob"])):
            _require_disk_space(ollama, wanted.path)
        for path, digest in ((wanted.path, record["blob"]), *((wanted.adapter, one) for one in adapters.values())):
            log_line(f"Uploading {path} to {ollama.url}")
            sent = ollama.push_blob(path, digest, report.upload)
            log_line("Uploaded" if sent else "The server has it already")
        ollama.create(
            wanted.tag,
            files={GGUF: record["blob"]},
            adapters=adapters,
            template=wanted.template,
            system=wanted.system,
            parameters=wanted.parameters,
            on_status=report.note,
        )

    def _other_weights(self, ctx: StepContext, shown: t.Mapping[str, t.Any]) -> bool:
        """Whether the model under the tag has other weights than it was registered with."""
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        stored = (receipt.get("results") or {}).get("stored")
        return bool(stored) and stored != modelfile_blobs(str(shown.get("modelfile") or ""))

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        wanted = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_url)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        digest, stored = _verified(ollama, wanted)
        promoted = _full(wanted) if _promotes(ctx) else []
        wrong = Releases(ctx.layout, wanted.name).misplaced(ollama.tags(), wanted.tag, promoted) if promoted else []
        if wrong:
            raise JobError(f"{'; '.join(wrong)}.", "Another program changed it meanwhile: run again.")
        return {
            "tag": wanted.tag,
            "digest": digest,
            "blob": record.get("blob"),
            "adapter_blob": record.get("adapter_blob"),
            "stored": stored,
            "aliases": promoted,
            "previous": dict(record.get("previous") or {}),
            "template": wanted.template,
            "system": wanted.system,
            "parameters": wanted.parameters,
            "bos": wanted.bos,
            "server_version": record.get("server_version"),
            "warnings": list(wanted.warnings),
        }

    def drift(self, ctx: StepContext) -> list[str]:
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        results = dict(receipt.get("results") or {})
        if not results:
            return ["it was never registered"]
        ollama = Ollama(ctx.toolchain.ollama_url)
        tag = str(results["tag"])
        models = ollama.tags()
        digest = digest_of(models, tag)
        if not digest:
            return [f"{tag} is not in Ollama"]
        if digest != results["digest"]:
            # another version of the server writes another manifest for the same model: it is its meaning that counts
            shown = ollama.show(tag)
            other = differences(shown, results["template"], results["system"], results["parameters"])
            if self._other_weights(ctx, shown):
                other.append("weights")
            if other:
                return [f"{tag} has another {' and '.join(other)}"]
        name = str(ctx.spec.settings["name"])
        aliases = [f"{name}:{alias}" for alias in ctx.spec.options.get("aliases") or []] if _promotes(ctx) else []
        return Releases(ctx.layout, name).misplaced(models, tag, aliases) if aliases else []


def plan(ctx: StepContext) -> Registration:
    """What is to be registered, from the declaration and the GGUF file.

    :raises CoreError: when it cannot be.
    """
    settings, options = ctx.spec.settings, ctx.spec.options
    name, quantization = str(settings["name"]), str(options["quantization"])
    tag = content_tag(name, ctx.spec.fingerprint, quantization)
    aliases = tuple(str(alias) for alias in options.get("aliases") or [])
    for alias in aliases:
        check_name(f"{name}:{alias}")
    path = os.path.join(ctx.upstream_path("gguf"), GGUF)
    adapter = os.path.join(ctx.upstream_path("gguf_adapter"), ADAPTER) if "gguf_adapter" in ctx.spec.upstream else ""
    info = read_header(path)
    check_complete(info)
    _check_type(info, quantization)
    template = template_for(str(settings["template"]), settings.get("enable_thinking", True))
    text, bos, warnings = template_text(template, info)
    given = check_parameters(settings.get("parameters") or {})
    stops = template.stop_strings(info.token("eos") if template.needs_eos else "")
    parameters = {**given, "stop": list(dict.fromkeys([*stops, *given.get("stop", [])]))}
    system = str(settings.get("system") or "")
    return Registration(name, tag, aliases, path, adapter, text, system, parameters, bos, tuple(warnings))


def template_text(template: OllamaTemplate, info: GgufInfo) -> tuple[str, str, list[str]]:
    """The template for one GGUF file, who puts the BOS token first, and warnings.

    Training begins with BOS or does not, by its template; a server adds BOS or does not, by a flag in the file.

    :raises StoreError: when the file lacks a token the template needs.
    """
    eos = info.token("eos") if template.needs_eos else ""
    if template.needs_eos and not eos:
        raise StoreError(f"{info.path} names no EOS token, with which answers end in the template {template.name}.")
    if info.adds_bos:
        if template.bos:
            return template.go_template(eos), "server", []
        warning = (
            f"The GGUF file has {info.token('bos') or 'BOS'} put before every prompt, and training with the template "
            f"{template.name} did not: set tokenizer.ggml.add_bos_token to false in it."
        )
        return template.go_template(eos), "server", [warning]
    bos = info.token("bos") if template.bos else ""
    return template.go_template(eos, bos), "template" if bos else "nobody", []


def differences(
    shown: t.Mapping[str, t.Any], template: str, system: str, parameters: t.Mapping[str, t.Any]
) -> list[str]:
    """In what a model differs from what is wanted; empty when it does not.

    :param shown: the answer of :meth:`Ollama.show`.
    """
    found = []
    if shown.get("template", "") != template:
        found.append("template")
    if (shown.get("system") or "") != system:
        found.append("system prompt")
    if not same_parameters(parse_parameters(str(shown.get("parameters") or "")), parameters):
        found.append("parameters")
    return found


def _write_ahead(path: str, record: dict[str, t.Any]) -> BeforeMove:
    """Notes where an alias points before it is moved: after a kill nobody could tell."""

    def ahead(full: str, previous: dict[str, str] | None) -> None:
        record.setdefault("previous", {})[full] = previous
        write_json(path, record)

    return ahead


class _Report:
    """Writes the progress, at most twice a second."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = 0.0
        self._began = time.monotonic()

    def upload(self, sent: int, total: int) -> None:
        """So many bytes of all were sent."""
        now = time.monotonic()
        if sent == total or now - self._written >= _REPORT_SECONDS:
            self._written = now
            eta = (now - self._began) * (total - sent) / sent if sent else None
            self._write(Progress(sent, total, "B", eta_seconds=eta, note="uploading"))

    def note(self, text: str) -> None:
        """What is being done."""
        self._write(Progress(note=text))
        self._began = time.monotonic()

    def _write(self, progress: Progress) -> None:
        write_json(self._path, progress.as_dict())


def _require_disk_space(ollama: Ollama, path: str) -> None:
    """See to it that the server can keep a model, where another one that it has tells in which directory of this host.

    :raises NotReadyError: when it cannot.
    """
    first = next(iter(ollama.tags()), None)
    directory = models_directory(str(ollama.show(str(first["name"])).get("modelfile") or "")) if first else ""
    if directory and os.path.isdir(directory):
        require_disk_space(directory, register_disk(os.path.getsize(path)), "Registering")


def _digest(ctx: StepContext, kind: str, path: str, report: _Report) -> str:
    receipt = ctx.layout.receipt(kind, ctx.spec.upstream[kind]) or {}
    facts = (receipt.get("files") or {}).get(os.path.basename(path)) or {}
    stat = os.stat(path)
    if facts.get("bytes") == stat.st_size and facts.get("mtime_ns") == stat.st_mtime_ns and facts.get("sha256"):
        return f"sha256:{facts['sha256']}"
    report.note("hashing")
    digest = sha256_file(path)
    if facts.get("sha256") not in (None, digest):
        raise StoreError(
            f"{path} is not the file its receipt tells of: something changed it.", "Remove its directory and run again."
        )
    report.note("uploading")
    return f"sha256:{digest}"


def _check_type(info: GgufInfo, quantization: str) -> None:
    wanted, found = quantization.upper(), info.file_type
    # llama.cpp's q4_K is Q4_K_M
    if found and not found.startswith("type ") and found not in (wanted, f"{wanted}_M"):
        raise StoreError(f"{info.path} is {found}, and not {wanted} as its name says.", "Make it again.")


def _different(shown: t.Mapping[str, t.Any], wanted: Registration) -> list[str]:
    found = differences(shown, wanted.template, wanted.system, wanted.parameters) if shown else ["existence"]
    blobs = modelfile_blobs(str(shown.get("modelfile") or ""))
    if shown and bool(blobs.get("ADAPTER")) != bool(wanted.adapter):
        found.append("adapter")
    return found


def _verified(ollama: Ollama, wanted: Registration) -> tuple[str, dict[str, list[str]]]:
    """Digest of the model, and the files the server keeps of it, when it is what is wanted.

    :raises JobError: when it is not.
    """
    digest = ollama.digest(wanted.tag)
    if not digest:
        raise JobError(f"{wanted.tag} is not in Ollama at {ollama.url}.", "Its log says more; run again.")
    shown = ollama.show(wanted.tag)
    other = _different(shown, wanted)
    if other:
        what = " and ".join(other)
        raise JobError(f"{wanted.tag} has another {what} than it was created with.", "Look at the log of Ollama.")
    return digest, modelfile_blobs(str(shown.get("modelfile") or ""))


def _full(wanted: Registration) -> list[str]:
    return [f"{wanted.name}:{alias}" for alias in wanted.aliases]


def _promotes(ctx: StepContext) -> bool:
    return bool(ctx.spec.options.get("promote", True))
