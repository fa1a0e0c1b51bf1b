# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step register: uploads a GGUF file to Ollama, creates a model, has the server prove that it renders prompts as the
training did (:mod:`.prompt_proof`), then moves the user-facing tags.

The model is created under a content tag: ``<name>:<12 digits of the registration's fingerprint>-<quantization>``. The
quantization is written as declared (``q4_K_M``, as in Ollama's own library). A tag has at most 80 characters out of
letters, digits, ``_``, ``-`` and ``.``, and Ollama compares names case-insensitively. A content tag is never reused
for another model, so the name alone identifies the inputs of a model. Ollama has no other place for a fingerprint: the
manifest has template, system, parameters, licence and messages, each with a meaning for the model or its user, and
``info`` is only returned for models that run elsewhere. The fingerprint is therefore kept in the tag and the receipt.
A user-facing tag is traced by its digest, which equals that of the content tag.
"""

from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ..artifacts.layout import GGUF_ADAPTER_FILE, GGUF_FILE, MODELFILE, PROJECTOR_FILE
from ..errors import JobError, StoreError
from ..estimates.memory import register_disk
from ..formats.gguf import GgufInfo, check_complete, read_header
from ..messages.message import Message
from ..ollama.client import Ollama
from ..ollama.model_store import local_models_directory
from ..ollama.syntax import (
    check_name,
    check_parameters,
    modelfile,
    modelfile_blobs,
    parse_parameters,
    same_name,
    same_parameters,
)
from ..releases.promotion import BeforeMove, Releases, content_tag, digest_of, former_tags, later_tags
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..system.files import read_json, sha256_file, write_atomic, write_json
from ..system.log import log_line
from .gguf_format import format_for_file
from .prompt_probes import probes_of, training_of
from .prompt_proof import NotProvenError, prove
from .step import DRIFT_TIMEOUT, Step
from .tool_environment import require_disk_space
from .worker_command import worker_command

#: Results so far, in the work directory; on disk, so that a kill does not lose the previous target of an alias.
_RECORD = "registration.json"
_REPORT_INTERVAL = 0.5
#: A property of a model, in messages.
TEMPLATE = "template"
#: What a model can do that accepts images, in the terms of Ollama.
VISION = "vision"


@dataclasses.dataclass(frozen=True)
class Registration:
    """Desired state of a model in Ollama.

    :param name: name of the model, without a tag.
    :param tag: full content tag.
    :param aliases: tags to point to the model, without its name.
    :param path: the GGUF file.
    :param adapter: GGUF file of an adapter that Ollama applies on load; empty for a merged model.
    :param projector: GGUF file of the image encoder; empty for a model of text.
    :param template: template in Ollama's syntax.
    :param parser: name of Ollama's parser for the answers; empty for the one that it derives from the template.
    :param system: system prompt; may be empty.
    :param default_system: system prompt that the template inserts into a conversation without one.
    :param parameters: parameters of the model.
    :param bos: origin of the leading BOS token: ``server``, ``template`` or ``nobody`` (no BOS token).
    :param server_bos: text of the BOS token that the server puts before prompts; empty if it adds none.
    :param warnings: known differences between the served and the trained model.
    """

    name: str
    tag: str
    aliases: tuple[str, ...]
    path: str
    adapter: str
    projector: str
    template: str
    parser: str
    system: str
    default_system: str
    parameters: dict[str, t.Any]
    bos: str
    server_bos: str
    warnings: tuple[Message, ...]


class _NoVisionError(JobError):
    """The server has the image encoder and does not use it."""


class RegisterStep(Step):
    """Registers ``upstream["gguf"]``, with ``upstream["gguf_adapter"]`` on it and ``upstream["projector"]`` beside it
    where there are, as ``settings["name"]``.

    Settings: ``name``, ``template``, ``system``, ``parameters``, ``recipe`` (:mod:`..releases.recipes`), and
    ``enable_thinking``, ``default_system`` and ``tool_format`` when the training set them. Options: ``quantization``,
    ``aliases`` (tags to move to it), ``promote`` (False does not move the aliases), ``held`` (full tag of the earlier
    registration of the same version, which a rollback pins: this one is pinned in its place), ``base_of`` (the model
    that an evaluation compares with this one, which is its base).

    ``results``: ``tag``, ``digest`` (of the manifest), ``blob``, ``adapter_blob`` and ``projector_blob`` (digests of
    the uploads), ``stored`` (blobs that the server keeps), ``aliases``, ``previous`` (for each moved alias, its
    previous ``digest`` and a ``tag`` that still has it; None for a new alias), ``template``, ``parser``, ``system``,
    ``parameters``, ``bos``, ``server_version``, ``proof`` (:func:`.prompt_proof.prove`), ``warnings`` (texts in
    English) and ``warning_messages`` (the same as messages).
    """

    kind = "register"
    exclusive = False
    uses_ollama = True

    def command(self, ctx: StepContext) -> Command:
        os.makedirs(ctx.work, exist_ok=True)
        plan(ctx)
        return worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        registration = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_address)
        report = _ProgressReport(ctx.progress_file)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        record.update(server_version=ollama.version(), blob=_file_digest(ctx, "gguf", registration.path, report))
        if registration.adapter:
            record["adapter_blob"] = _file_digest(ctx, "gguf_adapter", registration.adapter, report)
        if registration.projector:
            record["projector_blob"] = _file_digest(ctx, "projector", registration.projector, report)
        content = modelfile(
            registration.path,
            registration.template,
            registration.system,
            registration.parameters,
            registration.adapter,
            registration.parser,
            registration.projector,
        )
        write_atomic(os.path.join(ctx.work, MODELFILE), content)

        exists = ollama.find(registration.tag)
        shown = ollama.show(registration.tag) if exists else {}
        created = False
        if _differing_properties(shown, registration) or (exists and self._has_other_weights(ctx, shown)):
            self._create(ollama, registration, record, report)
            created = True
        try:
            record["digest"], record["stored"] = _verify(ollama, registration)
        except _NoVisionError:
            if created:
                ollama.delete(registration.tag)
            raise
        log_line(f"Created {registration.tag}")
        report.note(Message("steps.verifying_prompt"))
        try:
            record["proof"] = self._prove(ctx, ollama, registration)
        except NotProvenError:
            if created:
                ollama.delete(registration.tag)
            raise
        write_json(os.path.join(ctx.work, _RECORD), record)
        releases = Releases(ctx.layout, registration.name)
        if _moves_aliases(ctx):
            report.note(Message("steps.promoting"))
            record_previous = _write_ahead(os.path.join(ctx.work, _RECORD), record)
            change = releases.promote(
                ollama, registration.tag, _full_aliases(registration), record_previous, *_other_recipes(ctx)
            )
            for alias in change.moved:
                log_line(f"{alias} is now {change.tag}")
        if ctx.spec.options.get("held"):
            for alias in releases.replace_held(ollama, str(ctx.spec.options["held"]), registration.tag):
                log_line(f"{alias} is now {registration.tag}")
        write_json(os.path.join(ctx.work, _RECORD), record)

    def _create(
        self, ollama: Ollama, registration: Registration, record: t.Mapping[str, t.Any], report: _ProgressReport
    ) -> None:
        adapters = {GGUF_ADAPTER_FILE: record["adapter_blob"]} if registration.adapter else {}
        # the server recognizes the encoder by what is in it
        projectors = {PROJECTOR_FILE: record["projector_blob"]} if registration.projector else {}
        if not ollama.has_blob(str(record["blob"])):
            _require_disk_space(ollama, registration.path)
        for path, digest in (
            (registration.path, record["blob"]),
            *((registration.adapter, blob) for blob in adapters.values()),
            *((registration.projector, blob) for blob in projectors.values()),
        ):
            log_line(f"Uploading {path} to {ollama.url}")
            uploaded = ollama.push_blob(path, digest, report.upload)
            log_line("Uploaded" if uploaded else "The server has it already")
        ollama.create(
            registration.tag,
            files={GGUF_FILE: record["blob"], **projectors},
            adapters=adapters,
            template=registration.template,
            parser=registration.parser,
            system=registration.system,
            parameters=registration.parameters,
            on_status=lambda status: report.note(Message("steps.status_of_ollama", status=status)),
        )

    def _prove(self, ctx: StepContext, ollama: Ollama, registration: Registration) -> dict[str, t.Any]:
        proof = prove(
            ollama,
            registration.tag,
            probes_of(ctx),
            system=registration.system,
            default_system=registration.default_system,
            server_bos=registration.server_bos,
            parameters=registration.parameters,
            # a gate asks the model next
            unload=bool(ctx.spec.options.get("promote", True)),
        )
        log_line(f"The prompt is as it was trained: {len(proof['probes'])} probes")
        for name, reason in proof["skipped"].items():
            log_line(f"Not compared: {name}: {reason}")
        return proof

    def _has_other_weights(self, ctx: StepContext, shown: t.Mapping[str, t.Any]) -> bool:
        """Whether the weights of the model under the tag differ from those that were registered."""
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        stored = (receipt.get("results") or {}).get("stored")
        return bool(stored) and stored != modelfile_blobs(str(shown.get("modelfile") or ""))

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        registration = plan(ctx)
        ollama = Ollama(ctx.toolchain.ollama_address)
        record: dict[str, t.Any] = read_json(os.path.join(ctx.work, _RECORD), {})
        digest, stored = _verify(ollama, registration)
        # after a kill the model may be there, and nothing else
        if "proof" not in record:
            raise JobError("steps.prompt_not_verified", tag=registration.tag)
        hold = Releases(ctx.layout, registration.name).ledger().hold
        if hold is not None and same_name(hold.tag, str(ctx.spec.options.get("held") or "")):
            raise JobError("steps.hold_not_replaced", tag=hold.tag, replacement=registration.tag)
        promoted = _full_aliases(registration) if _moves_aliases(ctx) else []
        problems = (
            Releases(ctx.layout, registration.name).misplaced(
                ollama.tags(), registration.tag, promoted, *_other_recipes(ctx)
            )
            if promoted
            else []
        )
        if problems:
            raise JobError("steps.changed_meanwhile", problems=problems)
        return {
            "tag": registration.tag,
            "digest": digest,
            "blob": record.get("blob"),
            "adapter_blob": record.get("adapter_blob"),
            **({"projector_blob": record.get("projector_blob")} if registration.projector else {}),
            "stored": stored,
            "aliases": promoted,
            "previous": dict(record.get("previous") or {}),
            "template": registration.template,
            "parser": registration.parser,
            "system": registration.system,
            "parameters": registration.parameters,
            "bos": registration.bos,
            "server_version": record.get("server_version"),
            "proof": dict(record.get("proof") or {}),
            "warnings": [str(warning) for warning in registration.warnings],
            "warning_messages": [warning.as_dict() for warning in registration.warnings],
        }

    def drift(self, ctx: StepContext) -> list[Message]:
        receipt = ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}
        results = dict(receipt.get("results") or {})
        if not results:
            return [Message("steps.never_registered")]
        ollama = Ollama(ctx.toolchain.ollama_address, timeout=DRIFT_TIMEOUT)
        tag = str(results["tag"])
        models = ollama.tags()
        digest = digest_of(models, tag)
        if not digest:
            return [Message("releases.not_in_ollama", tag=tag)]
        if digest != results["digest"]:
            # another server version may write a different manifest for the same model, so compare its content
            shown = ollama.show(tag)
            changed = differences(shown, results["template"], results["system"], results["parameters"])
            if self._has_other_weights(ctx, shown):
                changed.append("weights")
            if changed:
                return [Message("steps.registered_with_other", tag=tag, properties=changed)]
        version = ollama.version()
        # a version that is not served is verified when it is
        is_served = bool(ctx.spec.options.get("served", True))
        if is_served and results.get("proof") and version != results.get("server_version"):
            before = results.get("server_version")
            return [Message("steps.prompt_verified_elsewhere", before=before, now=version)]
        name = str(ctx.spec.settings["name"])
        aliases = [f"{name}:{alias}" for alias in ctx.spec.options["aliases"]] if _moves_aliases(ctx) else []
        if not aliases:
            return []
        return Releases(ctx.layout, name).misplaced(models, tag, aliases, *_other_recipes(ctx))


def plan(ctx: StepContext) -> Registration:
    """Derive the registration from the declaration and the GGUF file.

    :raises CoreError: when the declaration or the file is invalid.
    """
    settings, options = ctx.spec.settings, ctx.spec.options
    name, quantization = str(settings["name"]), str(options["quantization"])
    tag = content_tag(name, ctx.spec.fingerprint, quantization)
    aliases = tuple(str(alias) for alias in options.get("aliases") or [])
    for alias in aliases:
        check_name(f"{name}:{alias}")
    path = os.path.join(ctx.upstream_path("gguf"), GGUF_FILE)
    adapter = (
        os.path.join(ctx.upstream_path("gguf_adapter"), GGUF_ADAPTER_FILE)
        if "gguf_adapter" in ctx.spec.upstream
        else ""
    )
    projector = os.path.join(ctx.upstream_path("projector"), PROJECTOR_FILE) if "projector" in ctx.spec.upstream else ""
    info = read_header(path)
    check_complete(info)
    _check_type(info, quantization)
    training = training_of(ctx)
    served, bos, warnings = format_for_file(settings, info, training.day if training else "")
    declared = check_parameters(settings.get("parameters") or {})
    parameters = {**declared, "stop": list(dict.fromkeys([*served.stops, *declared.get("stop", [])]))}
    return Registration(
        name=name,
        tag=tag,
        aliases=aliases,
        path=path,
        adapter=adapter,
        projector=projector,
        template=served.template,
        parser=served.parser,
        system=str(settings.get("system") or ""),
        default_system=served.default_system,
        parameters=parameters,
        bos=bos,
        server_bos=info.token("bos") if info.adds_bos else "",
        warnings=tuple(warnings),
    )


def differences(
    shown: t.Mapping[str, t.Any], template: str, system: str, parameters: t.Mapping[str, t.Any]
) -> list[str]:
    """Names of the properties in which a model differs from the desired state; empty when there are none.

    :param shown: result of :meth:`Ollama.show`.
    """
    properties = []
    if shown.get("template", "") != template:
        properties.append(TEMPLATE)
    if (shown.get("system") or "") != system:
        properties.append("system prompt")
    if not same_parameters(parse_parameters(str(shown.get("parameters") or "")), parameters):
        properties.append("parameters")
    return properties


def _write_ahead(path: str, record: dict[str, t.Any]) -> BeforeMove:
    """Returns a callback that records the target of an alias before it is moved; after a kill it would be unknown."""

    def record_previous(alias: str, previous: dict[str, str] | None) -> None:
        record.setdefault("previous", {})[alias] = previous
        write_json(path, record)

    return record_previous


class _ProgressReport:
    """Writes the progress of the step, at most twice per second."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written_at = 0.0
        self._started_at = time.monotonic()

    def upload(self, sent: int, total: int) -> None:
        """Report the progress of an upload.

        :param sent: bytes sent.
        :param total: bytes in all.
        """
        now = time.monotonic()
        if sent == total or now - self._written_at >= _REPORT_INTERVAL:
            self._written_at = now
            eta = (now - self._started_at) * (total - sent) / sent if sent else None
            self._write(Progress(sent, total, "B", eta_seconds=eta, note=Message("steps.uploading")))

    def note(self, text: Message) -> None:
        """Report the current activity."""
        self._write(Progress(note=text))
        self._started_at = time.monotonic()

    def _write(self, progress: Progress) -> None:
        write_json(self._path, progress.as_dict())


def _require_disk_space(ollama: Ollama, path: str) -> None:
    """Check the disk space in the server's model directory.

    The directory is known only when the server has a model already and runs on this host; otherwise nothing is checked.

    :raises NotReadyError: when there is not enough space.
    """
    directory = local_models_directory(ollama)
    if directory:
        require_disk_space(directory, register_disk(os.path.getsize(path)), Message("steps.registering"))


def _file_digest(ctx: StepContext, kind: str, path: str, report: _ProgressReport) -> str:
    receipt = ctx.layout.receipt(kind, ctx.spec.upstream[kind]) or {}
    facts = (receipt.get("files") or {}).get(os.path.basename(path)) or {}
    stat = os.stat(path)
    if facts.get("bytes") == stat.st_size and facts.get("mtime_ns") == stat.st_mtime_ns and facts.get("sha256"):
        return f"sha256:{facts['sha256']}"
    report.note(Message("steps.hashing"))
    digest = sha256_file(path)
    if facts.get("sha256") not in (None, digest):
        raise StoreError("steps.file_changed", path=path)
    report.note(Message("steps.uploading"))
    return f"sha256:{digest}"


def _check_type(info: GgufInfo, quantization: str) -> None:
    expected, actual = quantization.upper(), info.file_type
    # llama.cpp treats q4_K as Q4_K_M
    if actual and not actual.startswith("type ") and actual not in (expected, f"{expected}_M"):
        raise StoreError("steps.file_type_differs", path=info.path, actual=actual, expected=expected)


def _differing_properties(shown: t.Mapping[str, t.Any], registration: Registration) -> list[str]:
    properties = (
        differences(shown, registration.template, registration.system, registration.parameters)
        if shown
        else ["existence"]
    )
    blobs = modelfile_blobs(str(shown.get("modelfile") or ""))
    if shown and bool(blobs.get("ADAPTER")) != bool(registration.adapter):
        properties.append("adapter")
    if shown and (len(blobs.get("FROM", ())) > 1) != bool(registration.projector):
        properties.append("image encoder")
    return properties


def _verify(ollama: Ollama, registration: Registration) -> tuple[str, dict[str, list[str]]]:
    """Check that the model exists in the desired state.

    :returns: digest of the model, and the blobs that the server keeps.
    :raises JobError: when it is missing or differs, or has the image encoder and the server does not use it.
    """
    digest = ollama.digest(registration.tag)
    if not digest:
        raise JobError("steps.tag_missing", tag=registration.tag, url=ollama.url)
    shown = ollama.show(registration.tag)
    # of the template the server is asked for proof (prompt_proof): it may report another one than it renders
    changed = [name for name in _differing_properties(shown, registration) if name != TEMPLATE]
    if changed:
        properties = " and ".join(changed)
        raise JobError("steps.registered_differently", tag=registration.tag, properties=properties)
    if registration.projector and VISION not in (shown.get("capabilities") or ()):
        raise _NoVisionError(
            "steps.server_without_vision", tag=registration.tag, url=ollama.url, version=ollama.version()
        )
    return digest, modelfile_blobs(str(shown.get("modelfile") or ""))


def _other_recipes(ctx: StepContext) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Full tags of the registrations of the same version: those by earlier recipes, and those by later ones."""
    spec = ctx.spec
    version = (str(spec.settings["name"]), spec.settings, spec.upstream, str(spec.options["quantization"]))
    return former_tags(*version), later_tags(*version)


def _full_aliases(registration: Registration) -> list[str]:
    return [f"{registration.name}:{alias}" for alias in registration.aliases]


def _moves_aliases(ctx: StepContext) -> bool:
    # a further quantization has none: its promotion would record that the model has no aliases
    return bool(ctx.spec.options.get("promote", True) and ctx.spec.options.get("aliases"))
