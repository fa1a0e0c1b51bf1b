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

from ._errors import InputError, JobError, RemoteError, StoreError
from ._files import read_json, sha256_file, write_atomic, write_json
from ._gguf import GgufInfo, check_complete, read_header
from ._ollama import Ollama
from ._ollama_text import (
    check_name,
    check_parameters,
    modelfile,
    parse_parameters,
    same_model,
    same_name,
    same_parameters,
)
from ._progress import Progress
from ._steps import Command, Step, StepContext
from ._templates import OllamaTemplate, template_for
from ._worker import worker_command

GGUF = "model.gguf"
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
    :param bos: who puts the BOS token first: ``server``, ``template`` or ``nobody``.
    :param warnings: where what is served cannot be what was trained.
    """

    name: str
    tag: str
    aliases: tuple[str, ...]
    path: str
    template: str
    system: str
    parameters: dict[str, t.Any]
    bos: str
    warnings: tuple[str, ...]


class RegisterStep(Step):
    """Registers ``upstream["gguf"]`` as ``settings["name"]``.

    Settings: ``name``, ``template``, ``system``, ``parameters``, and ``enable_thinking`` where the training had it off.
    Options: ``quantization``, ``aliases`` (tags to move to it), ``promote`` (False leaves the aliases where they are).

    ``results``: ``tag``, ``digest`` (of the manifest), ``blob``, ``aliases``, ``previous`` (for each alias that was
    moved, the ``digest`` it had and a ``tag`` that still has it; None where it was new), ``template``, ``system``,
    ``parameters``, ``bos``, ``server_version``, ``warnings``.
    """

    kind = "register"
    heavy = False

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        plan(ctx)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        wanted = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_url)
        report = _Report(ctx.progress_file)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        record.update(server_version=ollama.version(), blob=_digest(ctx, wanted.path, report))
        text = modelfile(wanted.path, wanted.template, wanted.system, wanted.parameters)
        write_atomic(os.path.join(ctx.work, MODELFILE), text)

        found = ollama.find(wanted.tag)
        if found is None or differences(ollama.show(wanted.tag), wanted.template, wanted.system, wanted.parameters):
            print(f"Uploading {wanted.path} to {ollama.url}", flush=True)
            sent = ollama.push_blob(wanted.path, record["blob"], report.upload)
            print("Uploaded" if sent else "The server has it already", flush=True)
            ollama.create(
                wanted.tag,
                files={GGUF: record["blob"]},
                template=wanted.template,
                system=wanted.system,
                parameters=wanted.parameters,
                on_status=report.note,
            )
        record["digest"] = _verified(ollama, wanted)
        print(f"Created {wanted.tag}", flush=True)
        if ctx.spec.options.get("promote", True):
            report.note("promoting")
            ahead = _write_ahead(os.path.join(ctx.work, _RECORD), record)
            for full in promote(ollama, wanted.name, wanted.tag, wanted.aliases, ahead):
                print(f"{full} is now {wanted.tag}", flush=True)
        write_json(os.path.join(ctx.work, _RECORD), record)

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        wanted = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_url)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        digest = _verified(ollama, wanted)
        promoted = [f"{wanted.name}:{alias}" for alias in wanted.aliases] if _promotes(ctx) else []
        wrong = _misplaced(ollama, digest, wanted.tag, promoted)
        if wrong:
            raise JobError(f"{'; '.join(wrong)}.", "Another program changed it meanwhile: run again.")
        return {
            "tag": wanted.tag,
            "digest": digest,
            "blob": record.get("blob"),
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
        digest = ollama.digest(tag)
        if not digest:
            return [f"{tag} is not in Ollama"]
        if digest != results["digest"]:
            # another version of the server writes another manifest for the same model: it is its meaning that counts
            other = differences(ollama.show(tag), results["template"], results["system"], results["parameters"])
            if other:
                return [f"{tag} has another {' and '.join(other)}"]
        name = str(ctx.spec.settings["name"])
        aliases = [f"{name}:{alias}" for alias in ctx.spec.options.get("aliases") or []] if _promotes(ctx) else []
        return _misplaced(ollama, digest, tag, aliases)


def content_tag(name: str, fingerprint: str, quantization: str) -> str:
    """The full name under which a model is created.

    :raises InputError: when Ollama allows no such name.
    """
    tag = f"{name}:{fingerprint[:12]}-{quantization}"
    if ":" in name.rsplit("/", 1)[-1]:
        raise InputError(f"The name of a model is declared without a tag, not as {name!r}.", "Use aliases for tags.")
    return check_name(tag)


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
    info = read_header(path)
    check_complete(info)
    _check_type(info, quantization)
    template = template_for(str(settings["template"]), settings.get("enable_thinking", True))
    text, bos, warnings = template_text(template, info)
    given = check_parameters(settings.get("parameters") or {})
    stops = template.stop_strings(info.token("eos") if template.needs_eos else "")
    parameters = {**given, "stop": list(dict.fromkeys([*stops, *given.get("stop", [])]))}
    system = str(settings.get("system") or "")
    return Registration(name, tag, aliases, path, text, system, parameters, bos, tuple(warnings))


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


def promote(
    ollama: Ollama,
    name: str,
    tag: str,
    aliases: t.Sequence[str],
    ahead: t.Callable[[str, dict[str, str] | None], None] | None = None,
) -> list[str]:
    """Move the tags people use to a model, each with one copy of its manifest: old or new, a tag always answers.

    What a tag pointed to stays: where it has no other tag, it is given ``<name>:before-<digest>`` first.

    :param tag: full content tag of the model.
    :param aliases: tags to move, without the name.
    :param ahead: told, before a tag is moved, its full name and where it points (``digest``, ``tag``; None when new).
    :returns: full names of the tags that were moved; those that are there already are left alone.
    :raises RemoteError: when there is no model under ``tag``.
    """
    wanted = [f"{name}:{alias}" for alias in aliases]
    moved = []
    for full in wanted:
        models = ollama.tags()
        digest = _digest_of(models, tag)
        if not digest:
            raise RemoteError(f"{tag} is not in Ollama at {ollama.url}.", "Register it again.", {"url": ollama.url})
        old = _digest_of(models, full)
        if old == digest:
            continue
        before = None
        if old:
            names = [str(model["name"]) for model in models if model.get("digest") == old]
            others = [
                other for other in names if same_model(other, full) and not any(same_name(other, one) for one in wanted)
            ]
            if not others:
                others = [f"{name}:before-{old[:12]}"]
                ollama.copy(full, others[0])
            before = {"digest": old, "tag": others[0]}
        if ahead is not None:
            ahead(full, before)
        ollama.copy(tag, full)
        moved.append(full)
    return moved


def _write_ahead(path: str, record: dict[str, t.Any]) -> t.Callable[[str, dict[str, str] | None], None]:
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


def _digest(ctx: StepContext, path: str, report: _Report) -> str:
    receipt = ctx.layout.receipt("gguf", ctx.spec.upstream["gguf"]) or {}
    facts = (receipt.get("files") or {}).get(GGUF) or {}
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


def _verified(ollama: Ollama, wanted: Registration) -> str:
    """Digest of the model, when it is what is wanted.

    :raises JobError: when it is not.
    """
    digest = ollama.digest(wanted.tag)
    if not digest:
        raise JobError(f"{wanted.tag} is not in Ollama at {ollama.url}.", "Its log says more; run again.")
    other = differences(ollama.show(wanted.tag), wanted.template, wanted.system, wanted.parameters)
    if other:
        what = " and ".join(other)
        raise JobError(f"{wanted.tag} has another {what} than it was created with.", "Look at the log of Ollama.")
    return digest


def _misplaced(ollama: Ollama, digest: str, tag: str, aliases: t.Sequence[str]) -> list[str]:
    if not aliases:
        return []
    models = ollama.tags()
    wrong = []
    for full in aliases:
        found = _digest_of(models, full)
        if found != digest:
            wrong.append(f"{full} is {'another model than' if found else 'not there, and shall be'} {tag}")
    return wrong


def _digest_of(models: t.Sequence[t.Mapping[str, t.Any]], name: str) -> str:
    return next((str(model["digest"]) for model in models if same_name(str(model.get("name", "")), name)), "")


def _promotes(ctx: StepContext) -> bool:
    return bool(ctx.spec.options.get("promote", True))
