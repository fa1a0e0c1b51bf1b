# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one planner: :func:`plan` makes the run of every request, for every interface.

``planning.request`` has checked the request, ``planning.inputs`` resolves its names, ``planning.pipeline`` connects
the steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ..artifacts.kinds import module_of
from ..artifacts.layout import Layout
from ..base_models.entry import Shape
from ..base_models.server_versions import OLDEST_SERVER
from ..datasets import statistics
from ..errors import InputError, NotReadyError, RemoteError
from ..evaluations import judge as judges
from ..evaluations.declaration import BASE, GENERAL
from ..evaluations.judge import Judge
from ..messages.message import Message
from ..messages.suggestions import nearest
from ..ollama.client import Ollama
from ..ollama.versions import MINIMUM_VERSION, version_warning
from ..releases.promotion import Releases, content_tag, former_tags, hold_warning
from ..runs.run import Run, RunStep
from ..training import adapter_export, stages
from . import held_versions, inputs, measurements, node_training, pipeline, retraining, vision
from .declaration import Declared
from .evaluating import Evaluating, check_questions, of_declaration
from .pipeline import Chain, Goal, Identity, Likelihood, Serving, Training
from .request import Host, Registration, Request, Result
from .step_warnings import add_warnings, read_warnings

Steps = tuple[list[RunStep], list[str]]

#: How long a plan waits for the version of a server that does not answer. Registering then reports it.
_SERVER_SECONDS = 2.0


def plan(layout: Layout, request: Request, host: Host) -> Run:
    """Plan the run of a request.

    :raises InputError: if it cannot be applied on this host.
    :raises NotReadyError: if the result from which it continues is not published.
    """
    if request.declared is not None:
        name, (steps, goals) = request.declared.name, _finetune(layout, request, request.declared, host)
    else:
        name, chain = _single_steps(layout, request, host)
        steps, goals = pipeline.compose(chain, request.goal)
    return pipeline.make_run(name, steps, goals, host.toolchain, request.declaration, host.submitted_by)


# -- fine-tunes --------------------------------------------------------------------------------------------------------


def _finetune(layout: Layout, request: Request, declared: Declared, host: Host) -> Steps:
    if host.lead is not None:
        return node_training.part_steps(layout, declared, host, host.lead)
    if len(declared.nodes) > 1 and host.write and host.nodes is None:
        raise InputError("planning.several_hosts", name=declared.name)
    chain = _finetune_chain(layout, request, declared, host)
    training = chain.training
    if training is None or not declared.always_retrain or request.start is not None:
        return pipeline.compose(chain, request.goal)

    def attempt(number: int) -> Steps:
        settings = {**training.settings, "attempt": number} if number > 1 else training.settings
        return pipeline.compose(dataclasses.replace(chain, training=Training(settings, training.options)), request.goal)

    return retraining.next_attempt(layout, attempt)


def _finetune_chain(layout: Layout, request: Request, declared: Declared, host: Host) -> Chain:
    pinned = _pinned_inputs(layout, request, declared)
    # the dataset before the base, which may have to be looked up on the hub
    with _errors_of("dataset"):
        dataset = pinned.dataset(lambda: inputs.resolve_dataset(layout, declared.dataset, host.datasets))
        stages.check_dataset(declared.hyper.values, declared.dataset, dataset.results)
    with _errors_of("base_model"):
        base = pinned.base(
            lambda: inputs.resolve_base(layout, declared.base_model, declared.base_revision, host.toolchain, host.write)
        )
    subject = inputs.subject_of(
        declared.base_model, base, dataset.fingerprint, dataset.results, max(1, len(declared.nodes))
    )

    def read() -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        return inputs.training_settings(
            layout,
            declared.hyper,
            base,
            subject,
            host.toolchain,
            accelerator=host.accelerator,
            name=declared.name,
            memory_check=declared.memory_check,
            write=host.write,
            merges=request.goal is not Goal.TRAIN and declared.export == "merged",
        )

    settings, options = pinned.training(declared.hyper, read)
    inputs.require_held_out(declared.name, declared.hyper, options["resolved"])
    if request.start is None:
        with _errors_of("base_model"):
            options = inputs.checked_base(
                layout,
                base,
                (declared.dataset, dataset.fingerprint),
                settings,
                options,
                toolchain=host.toolchain,
                converted=request.goal in (Goal.GGUF, Goal.MODEL),
                write=host.write,
            )
    # no part of the training: a training from which a run continues says nothing about it
    resolved = {**options["resolved"], "keep_merged": declared.hyper["keep_merged"]}
    options = {name: value for name, value in {**options, "resolved": resolved}.items() if name != "preflight_check"}
    if declared.preflight_check != "enforce":
        options["preflight_check"] = declared.preflight_check
    if host.nodes is not None:
        options["nodes"] = dict(host.nodes)
    if declared.dataset not in host.datasets:  # the module dataset has not reported them just before
        known = read_warnings(options)
        about_rows = statistics.warnings(declared.dataset, dataset.results)
        options = add_warnings(options, [warning for warning in about_rows if warning not in known])
    if dataset.sources is not None:
        options["sources"] = dataset.sources
    if pinned.notes and request.goal is not Goal.MODEL:
        # the warning belongs to the registration, which is always a goal; without a registration, to the training
        options = add_warnings(options, pinned.notes)
    if declared.export == "adapter" and request.goal is not Goal.TRAIN:
        adapter_export.check_exportable(declared.name, options["resolved"])
    projector, without = None, None
    if request.goal is Goal.MODEL:
        seen = vision.base_of(layout, base)
        projector, without = vision.projector_step(layout, seen, options["resolved"], host.toolchain, provided=True)
    architecture = base.shape.model_type if base.shape else ""
    return Chain(
        results={"dataset": dataset.fingerprint},
        base=Identity(
            base.fingerprint, base.settings, inputs.base_options(pinned.base_options(base), options["resolved"])
        ),
        provides_base=True,
        training=Training(settings, options),
        options=options,
        quantizations=declared.hyper.quantizations,
        export=declared.export,
        projector=projector,
        imatrix=measurements.imatrix(declared.hyper, dataset.fingerprint, dataset.results, base.shape, host.toolchain)
        if request.goal in (Goal.GGUF, Goal.MODEL)
        else None,
        likelihood=_likelihood(layout, declared, dataset, base.shape, host) if request.goal is Goal.MODEL else None,
        serving=_serving(
            layout,
            declared,
            options,
            dataset.results,
            dataset.fingerprint,
            [*pinned.notes, *_about_server(host, architecture), *([without] if without else [])],
            host,
        )
        if request.goal is Goal.MODEL
        else None,
    )


@contextlib.contextmanager
def _errors_of(option: str) -> t.Iterator[None]:
    """Add the name of an option to the details of the errors about its value, for forms and programs."""
    try:
        yield
    except InputError as error:
        error.details.setdefault("options", [option])
        raise


def _pinned_inputs(layout: Layout, request: Request, declared: Declared) -> retraining.PinnedInputs:
    if request.start is None:
        return retraining.PinnedInputs(layout, declared.name, declared.retraining_inputs)
    return retraining.PinnedInputs.of_training(layout, declared.name, _receipt(layout, request.start))


def _serving(
    layout: Layout,
    declared: Declared,
    options: t.Mapping[str, t.Any],
    results: t.Mapping[str, t.Any],
    dataset: str,
    notes: t.Sequence[Message],
    host: Host,
) -> Serving:
    about_template = inputs.check_template(layout, str(options["resolved"]["template"]), dataset)
    settings, warning = inputs.register_settings(
        declared.name, options["resolved"], results, declared.system, declared.parameters
    )
    evaluating = _evaluating(layout, declared, dataset, host)
    about_questions = evaluating.warnings if evaluating is not None else ()
    more = add_warnings({"name": options.get("name", "")}, [warning, about_template, *notes, *about_questions])
    held = held_versions.registration(layout, declared.name)
    return Serving(settings, more, declared.aliases, declared.gate, declared.keep, held, evaluating)


def _evaluating(layout: Layout, declared: Declared, dataset: str, host: Host) -> Evaluating | None:
    """Return the declared evaluation with its names resolved; None for none.

    :raises InputError: for a dataset that does not exist, or a requirement that cannot be met.
    """
    if declared.evaluation is None:
        return None

    def resolve(option: str, name: str) -> str:
        try:
            return inputs.resolve_dataset(layout, name, host.datasets).fingerprint
        except InputError as error:
            known = [*([GENERAL] if option == "guard" else []), *host.datasets]
            raise InputError(
                "planning.evaluation_dataset",
                option=option,
                problem=error.content,
                suggestion=nearest(name, known) or error.parameters.get("suggestion"),
            ) from error

    with _errors_of("evaluation"):
        if BASE in declared.evaluation.against:
            measurements.check_base_type(declared.name, declared.hyper.quantizations[0])
        try:
            asked = of_declaration(declared.evaluation, declared.gate, dataset, resolve, declared.hyper.quantizations)
            evaluating = check_questions(layout, asked, host.toolchain)
        except InputError as error:
            raise InputError("training.of_finetune", name=declared.name, problem=error.content) from error
    missing = _about_judge(host, declared.evaluation.judge)
    return dataclasses.replace(evaluating, warnings=(*evaluating.warnings, *missing))


def _about_judge(host: Host, declared: Judge | None) -> list[Message]:
    """Return a warning if a judge is not in Ollama; empty if it is, or if Ollama cannot be asked."""
    if declared is None:
        return []
    server = Ollama(host.toolchain.ollama_address, timeout=_SERVER_SECONDS)
    try:
        judges.require(server, declared)
    except NotReadyError as error:
        return [error.content]
    except RemoteError:
        pass  # the registration reports it
    return []


def _likelihood(
    layout: Layout, declared: Declared, dataset: inputs.ResolvedDataset, shape: Shape | None, host: Host
) -> Likelihood | None:
    """Return how the quantized files are compared with the 16-bit one; None if that is not declared.

    :param dataset: the dataset that is trained on.
    :raises InputError: if there are no rows that are not trained on, or no files to compare.
    """
    if declared.evaluation is None or not declared.evaluation.likelihood:
        return None
    with _errors_of("evaluation"):
        named = declared.evaluation.rows
        read = inputs.resolve_dataset(layout, named, host.datasets) if named else dataset
        rows = measurements.rows_for(declared.name, declared.hyper, bool(named))
        measurements.check_comparable(declared.name, declared.export, declared.hyper.quantizations)
    return measurements.likelihood(declared.hyper, read.fingerprint, read.results, rows, shape, host.toolchain)


def _about_server(host: Host, architecture: str = "") -> list[Message]:
    """Return a warning about the Ollama server that the model is registered in; empty if there is none.

    :param architecture: ``model_type`` of the base model, if it is known.
    :raises InputError: if its URL is not valid.
    :raises NotReadyError: if it is too old.
    """
    server = Ollama(host.toolchain.ollama_address, timeout=_SERVER_SECONDS)
    warning = version_warning(server, architecture, OLDEST_SERVER.get(architecture, MINIMUM_VERSION))
    return [warning] if warning is not None else []


# -- steps on a result that exists -------------------------------------------------------------------------------------


def _single_steps(layout: Layout, request: Request, host: Host) -> tuple[str, Chain]:
    """Return the name of a run without a declaration, and its chain."""
    if request.base is not None:
        name, revision = request.base.name, request.base.revision
        base = inputs.resolve_base(layout, name, revision, host.toolchain, host.write)
        identity = Identity(base.fingerprint, base.settings, base.options)
        return f"base-{name.rsplit('/', 1)[-1]}", Chain(base=identity, provides_base=True)
    if request.start is None:
        raise InputError("planning.nothing_to_start_from")
    receipt = _receipt(layout, request.start)
    if request.registration is not None:
        return request.registration.name, _registration_chain(layout, request.registration, receipt, host)
    if request.start.kind == "merge":
        return _merged_chain(layout, request, receipt)
    return _training_chain(layout, request, receipt)


def _training_chain(layout: Layout, request: Request, receipt: t.Mapping[str, t.Any]) -> tuple[str, Chain]:
    """Continue from a training: to its merged weights, or to the GGUF files of its adapter and base."""
    options = {key: value for key, value in receipt["options"].items() if key not in ("warning", "warnings")}
    resolved = options.get("resolved") or {}
    as_adapter = request.goal is Goal.GGUF
    operation = "training.reward_model_not_converted" if as_adapter else "training.reward_model_not_merged"
    stages.require_generative(str(resolved.get("stage") or "sft"), operation)
    name = str(options.get("name") or request.goal.value)
    upstream = receipt["upstream"]
    results = {"train": receipt["fingerprint"], "base": upstream["base"], "dataset": upstream["dataset"]}
    if not as_adapter:
        return name, Chain(results, options=options)
    adapter_export.check_exportable(name, resolved)
    base = _receipt(layout, Result("base", str(upstream["base"])))
    identity = Identity(base["fingerprint"], base["settings"])
    return name, Chain(results, identity, options=options, quantizations=request.quantizations, export="adapter")


def _merged_chain(layout: Layout, request: Request, receipt: t.Mapping[str, t.Any]) -> tuple[str, Chain]:
    trained = layout.receipt("train", receipt["upstream"]["train"]) or {}
    results = {
        "merge": receipt["fingerprint"],
        "base": receipt["upstream"]["base"],
        "dataset": (trained.get("upstream") or {}).get("dataset"),
    }
    name = str(receipt["options"].get("name") or "")
    return name or request.goal.value, Chain(results, options={"name": name}, quantizations=request.quantizations)


def _registration_chain(layout: Layout, wanted: Registration, receipt: t.Mapping[str, t.Any], host: Host) -> Chain:
    """Continue from a GGUF file to the served model.

    :raises InputError: if the adapter belongs to another base, or the chat template is unknown.
    """
    gguf = str(receipt["fingerprint"])
    if wanted.adapter:
        converted = _receipt(layout, Result("gguf_adapter", wanted.adapter))
        if receipt["upstream"].get("base") != converted["upstream"]["base"]:
            raise InputError("planning.adapter_of_other_base", adapter=wanted.adapter[:12], gguf=gguf[:12])
        trained = layout.receipt("train", converted["upstream"]["train"]) or {}
        dataset = (trained.get("upstream") or {}).get("dataset")
        base = str(converted["upstream"]["base"])
    else:
        merged = receipt["upstream"].get("merge")
        converted = (layout.receipt("merge", merged) if merged else None) or {}
        dataset = receipt["options"].get("dataset")
        base = str((converted.get("upstream") or receipt["upstream"]).get("base") or "")
    training = (converted.get("options") or {}).get("resolved") or {}
    template = wanted.template or training.get("template")
    if not template:
        raise InputError("planning.gguf_template_unknown", gguf=gguf[:12])
    results = (layout.receipt("dataset", dataset) or {}).get("results") or {} if dataset else {}
    about_template = inputs.check_template(layout, str(template), str(dataset or ""))
    settings, warning = inputs.register_settings(
        wanted.name, {**training, "template": template}, results, wanted.system, wanted.parameters
    )
    projector, without = None, None
    if base:
        seen = vision.of_receipt(layout, base)
        projector, without = vision.projector_step(layout, seen, training, host.toolchain, provided=False)
    return Chain(
        {"gguf_adapter": wanted.adapter},
        ggufs={str(receipt["settings"]["quantization"]): gguf},
        projector=projector,
        serving=Serving(
            settings,
            add_warnings({"name": wanted.name}, [warning, about_template, *_about_server(host), without]),
            wanted.aliases,
            wanted.gate,
            held=held_versions.registration(layout, wanted.name) if wanted.aliases else None,
        ),
    )


def _receipt(layout: Layout, result: Result) -> dict[str, t.Any]:
    receipt = layout.receipt(result.kind, result.fingerprint)
    if receipt is None:
        raise NotReadyError(
            "planning.result_missing",
            kind=result.kind,
            fingerprint=result.fingerprint[:12],
            directory=layout.parent(result.kind),
            module=module_of(result.kind),
        )
    return {**receipt, "fingerprint": result.fingerprint}


# -- warnings ----------------------------------------------------------------------------------------------------------


def warnings_of(run: Run, layout: Layout | None = None) -> list[Message]:
    """Return the warnings about a run that is valid nevertheless.

    :param layout: data directory, to check for holds; None skips that check.
    """
    warnings = []
    for step in run.steps:
        # each by itself: Ansible shows a warning once, and the next plan may know one more
        for message in read_warnings(step.spec.options):
            warnings.append(Message("planning.warnings_of", name=run.name, warnings=[message]))
    for step in run.steps if layout is not None else ():
        options = step.spec.options
        if step.spec.kind == "register" and options.get("aliases"):
            name = str(step.spec.settings["name"])
            tag = content_tag(name, step.spec.fingerprint, str(options["quantization"]))
            formerly = former_tags(name, step.spec.settings, step.spec.upstream, str(options["quantization"]))
            hold = Releases(layout, name).blocking_hold(tag, formerly) if layout is not None else None
            warnings += [hold_warning(name, tag, hold)] if hold else []
    return list(dict.fromkeys(warnings))
