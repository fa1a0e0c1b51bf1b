# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenAI's fine-tuning jobs, mapped to runs of the store."""

from __future__ import annotations

import typing as t

from ia_homelab_core.errors import InputError
from ia_homelab_core.messages.message import Message
from ia_homelab_core.runs.names import slug
from ia_homelab_core.system.clock import age_seconds, parse_utc
from ia_homelab_core.training import options

from ..application import finetune_request
from ..application.errors import FieldError, FieldErrors, NotFoundError
from ..application.operations import Operations
from ..application.schemas import Event, Job
from .files import Files, has_result, result_id

#: Keys of OpenAI's request. Options of a fine-tune are accepted in addition.
KEYS = (
    "model",
    "training_file",
    "validation_file",
    "hyperparameters",
    "method",
    "suffix",
    "seed",
    "metadata",
    "integrations",
)
_HYPER = ("n_epochs", "batch_size", "learning_rate_multiplier")
#: OpenAI's methods: the stage of each, and its hyperparameters.
_METHODS = {"supervised": ("sft", _HYPER), "dpo": ("dpo", (*_HYPER, "beta"))}
_MAX_METADATA = 16
#: Largest length of a name that a suffix becomes, as with OpenAI.
_MAX_SUFFIX = 64


def default_learning_rate() -> float:
    """Return the learning rate that ``learning_rate_multiplier`` is relative to."""
    return float(options.BY_NAME["learning_rate"].default)


def create(operations: Operations, files: Files, body: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Submit a fine-tune on an uploaded file, up to the registered model.

    :raises FieldErrors: with every invalid field.
    """
    request, client_data = _finetune_options(body)
    file_id = str(client_data["training_file"])
    try:
        path = files.path(file_id)
    except NotFoundError as error:
        raise FieldErrors([FieldError("training_file", error.content)]) from None
    label = str(files.get(file_id)["filename"])
    operations.datasets.publish_file(file_id, path, label)
    request["dataset"] = file_id
    default = finetune_request.default_name(str(request["base_model"]), file_id[5:13])
    request.setdefault("name", default)
    submitted = operations.train(request, "model", "openai", client_data)
    return to_job(operations, submitted)


def _finetune_options(body: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return the equivalent options of a fine-tune, and the values to store for the client."""
    errors: list[FieldError] = []
    request: dict[str, t.Any] = {}
    fields = finetune_request.known_fields()
    own = ("base_model", "dataset", "goal", "method")
    for key, value in body.items():
        name = fields.get(finetune_request.normalize_key(key))
        if key in KEYS:
            continue
        if name is None or name in own:
            errors.append(
                finetune_request.unknown_field(key, [*KEYS, *(one for one in fields if fields[one] not in own)])
            )
        else:
            request[key] = value
    for key in ("model", "training_file"):
        if not isinstance(body.get(key), str) or not body[key]:
            code = "service.field_missing" if body.get(key) is None else "service.field_no_text"
            errors.append(FieldError(key, Message(code, field=key)))
    request["base_model"] = body.get("model")
    if body.get("validation_file") is not None:
        errors.append(FieldError("validation_file", Message("service.no_validation_file")))
    if body.get("integrations"):
        errors.append(FieldError("integrations", Message("service.no_integrations")))
    _add_suffix(body, request, errors)
    metadata = body.get("metadata")
    if metadata is not None and not (
        isinstance(metadata, dict)
        and len(metadata) <= _MAX_METADATA
        and all(isinstance(value, str) and len(value) <= 512 and len(key) <= 64 for key, value in metadata.items())
    ):
        errors.append(FieldError("metadata", Message("service.metadata_invalid", limit=_MAX_METADATA)))
    _add_hyperparameters(body, request, errors)
    if errors:
        raise FieldErrors(errors)
    client_data = {"training_file": body["training_file"], "metadata": metadata}
    return request, {key: value for key, value in client_data.items() if value is not None}


def _add_suffix(body: t.Mapping[str, t.Any], request: dict[str, t.Any], errors: list[FieldError]) -> None:
    """Add the name of the model: ``suffix`` with OpenAI, and an option here."""
    suffix = body.get("suffix")
    if suffix is not None and not isinstance(suffix, str):
        errors.append(FieldError("suffix", Message("service.field_no_text", field="suffix")))
    elif suffix:
        name = slug(suffix)
        if not name or len(name) > _MAX_SUFFIX:
            errors.append(FieldError("suffix", Message("service.suffix_invalid", suffix=suffix, limit=_MAX_SUFFIX)))
        else:
            _put(request, errors, "suffix", name=name)


def _put(request: dict[str, t.Any], errors: list[FieldError], field: str, **values: t.Any) -> None:
    """Set options that a field of OpenAI's stands for, unless the request has one of them as well.

    :param field: name of the field, for the error.
    """
    fields = finetune_request.known_fields()
    given = {fields.get(finetune_request.normalize_key(key)): key for key in request}
    for option, value in values.items():
        if option not in given or request[given[option]] == value:
            request[given.get(option, option)] = value
        else:
            errors.append(FieldError(field, Message("service.field_given_twice", field=field, other=given[option])))


def _add_hyperparameters(body: t.Mapping[str, t.Any], request: dict[str, t.Any], errors: list[FieldError]) -> None:
    hyperparameters: t.Any = body.get("hyperparameters")
    known: tuple[str, ...] = _HYPER
    method, place = body.get("method"), "hyperparameters"
    if isinstance(method, dict):
        kind = method.get("type")
        if kind not in _METHODS:
            errors.append(FieldError("method.type", Message("service.method_unknown", method=kind)))
        else:
            stage, known = _METHODS[kind]
            if stage != "sft":
                _put(request, errors, "method", stage=stage)
            place = f"method.{kind}.hyperparameters"
            hyperparameters = _of_method(kind, method.get(kind), hyperparameters, errors)
        for key in method:
            if key not in ("type", kind):
                errors.append(finetune_request.unknown_field(f"method.{key}", ["method.type", f"method.{kind}"]))
    elif isinstance(method, str):
        request["method"] = method  # an extension: lora, qlora, full, freeze, auto
    elif method is not None:
        errors.append(FieldError("method", Message("service.method_no_object")))
    if hyperparameters is not None and not isinstance(hyperparameters, dict):
        errors.append(FieldError(place, Message("service.hyperparameters_no_object")))
        hyperparameters = None
    for key, value in (hyperparameters or {}).items():
        field = f"{place}.{key}"
        if key not in known:
            errors.append(finetune_request.unknown_field(field, [f"{place}.{one}" for one in known]))
        elif value in (None, "auto"):
            continue
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            errors.append(FieldError(field, Message("service.number_or_auto", field=key)))
        elif key == "n_epochs":
            _put(request, errors, field, epochs=value)
        elif key == "beta":
            _put(request, errors, field, pref_beta=value)
        elif key == "batch_size":
            # rows per optimizer step: a batch size of 1 on the GPU needs least memory
            _put(request, errors, field, batch_size=1, gradient_accumulation=value)
        else:
            _put(request, errors, field, learning_rate=default_learning_rate() * value)
    if body.get("seed") is not None:
        _put(request, errors, "seed", seed=body["seed"])


def _of_method(kind: str, raw: t.Any, former: t.Any, errors: list[FieldError]) -> t.Any:
    """Return the hyperparameters in a method, or those beside it, where OpenAI's clients sent them formerly."""
    if raw is None:
        return former
    if not isinstance(raw, dict):
        errors.append(FieldError(f"method.{kind}", Message("service.method_no_object")))
        return former
    for key in raw:
        if key != "hyperparameters":
            errors.append(finetune_request.unknown_field(f"method.{kind}.{key}", [f"method.{kind}.hyperparameters"]))
    inside = raw.get("hyperparameters")
    if inside and former and inside != former:
        field = f"method.{kind}.hyperparameters"
        errors.append(FieldError(field, Message("service.field_given_twice", field=field, other="hyperparameters")))
    return inside or former


# -- reading -------------------------------------------------------------------------------------------------------


def list_jobs(operations: Operations, after: str = "", limit: int = 20) -> dict[str, t.Any]:
    """Return a page of fine-tuning jobs, the latest first.

    :param after: id of the last job of the previous page.
    """
    jobs = [job for job in operations.list_jobs(1000) if job.goal in ("train", "model")]
    jobs.sort(key=lambda job: (job.submitted_at, job.job_id), reverse=True)
    return _page(
        [to_job(operations, job) for job in _items_after(jobs, after, lambda job: job.job_id)[: limit + 1]], limit
    )


def get(operations: Operations, job_id: str) -> dict[str, t.Any]:
    """Return a job by its id."""
    return to_job(operations, operations.get_job(job_id))


def events(operations: Operations, job_id: str, after: str = "", limit: int = 20) -> dict[str, t.Any]:
    """Return a page of events of a job, the latest first.

    :param after: id of the last event of the previous page.
    """
    number = after.rpartition("-")[2] if after.startswith("ftevent-") else ""
    # no event precedes the first one: an id of another kind has nothing after it
    before = int(number) if number.isdecimal() and len(number) < 16 else 1
    latest_first = operations.latest_events(job_id, before if after else None, limit + 1)
    return _page([to_event(event) for event in latest_first], limit)


def checkpoints(operations: Operations, job_id: str, after: str = "", limit: int = 10) -> dict[str, t.Any]:
    """Return a page of checkpoints of a job, the last first."""
    job = operations.get_job(job_id)
    items = [
        {
            "id": f"ftckpt-{job_id}-{one.step}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(one.created_at),
            "fine_tuned_model_checkpoint": f"{job.name}:ckpt-step-{one.step}",
            "fine_tuning_job_id": job_id,
            "metrics": {"step": one.step, "train_loss": one.loss, "valid_loss": one.eval_loss},
            "step_number": one.step,
        }
        for one in operations.checkpoints(job_id)
    ]
    return paginate(items, after, limit)


_T = t.TypeVar("_T")


def _items_after(items: list[_T], after: str, name: t.Callable[[_T], str]) -> list[_T]:
    if not after:
        return items
    place = next((index for index, one in enumerate(items) if name(one) == after), len(items))
    return items[place + 1 :]


def _page(items: list[dict[str, t.Any]], limit: int) -> dict[str, t.Any]:
    data = items[:limit]
    return {
        "object": "list",
        "data": data,
        "has_more": len(items) > limit,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def paginate(items: list[dict[str, t.Any]], after: str, limit: int) -> dict[str, t.Any]:
    """Return a page of a list, starting after the item with that id."""
    return _page(_items_after(items, after, lambda one: str(one["id"]))[: limit + 1], limit)


def to_event(event: Event) -> dict[str, t.Any]:
    """Convert an event to OpenAI's format."""
    return {
        "id": f"ftevent-{event.job_id}-{event.id}",
        "object": "fine_tuning.job.event",
        "created_at": _seconds(event.at),
        "level": event.level,
        "message": event.message,
        "type": "metrics" if event.type == "metrics" else "message",
        "data": _metrics(event) if event.type == "metrics" else event.data,
    }


def _metrics(event: Event) -> dict[str, t.Any]:
    names = {"current": "step", "total": "total_steps", "loss": "train_loss", "eval_loss": "valid_loss"}
    return {names.get(key, key): value for key, value in event.data.items() if key not in ("step", "offset", "attempt")}


def _seconds(at: str) -> int:
    try:
        return int(parse_utc(at))
    except ValueError:
        return 0


def to_job(operations: Operations, job: Job) -> dict[str, t.Any]:
    """Convert a job to OpenAI's format."""
    declared: dict[str, t.Any] = {}
    try:
        declared = operations.jobs.run(job.job_id).declaration
    except InputError:
        pass
    client_data = declared.get("request") or {}
    options = job.hyperparameters
    hyperparameters = {
        "n_epochs": _as_integer(options.get("epochs")),
        "batch_size": (options.get("batch_size") or 1) * (options.get("gradient_accumulation") or 1),
        "learning_rate_multiplier": round(float(options.get("learning_rate") or 0) / default_learning_rate(), 6),
    }
    method = next((name for name, (stage, _known) in _METHODS.items() if stage == job.stage), "supervised")
    preference = {"beta": options.get("pref_beta")} if method == "dpo" else {}
    trained = job.results.get("train") or {}
    eta = job.progress.eta_seconds if job.progress and job.current_step == "train" else None
    error = None
    if job.status == "failed":
        problem = job.error
        message = f"{problem.message} {problem.hint}".strip() if problem else "It failed."
        error = {"code": (problem.step if problem else "") or "failed", "message": message, "param": None}
    return {
        "id": job.job_id,
        "object": "fine_tuning.job",
        "created_at": _seconds(job.submitted_at),
        "finished_at": _seconds(job.finished_at) if job.ended and job.finished_at else None,
        "model": job.base_model,
        "fine_tuned_model": job.version or None,
        "organization_id": "",
        "status": job.status,
        "training_file": str(client_data.get("training_file") or job.dataset),
        "validation_file": None,
        "result_files": [result_id(job)] if has_result(job) else [],
        "hyperparameters": hyperparameters,
        "method": {"type": method, method: {"hyperparameters": {**hyperparameters, **preference}}},
        "trained_tokens": trained.get("total_tokens"),
        "error": error,
        "seed": int(options.get("seed") or 0),
        "estimated_finish": _seconds(job.submitted_at) + int(age_seconds(job.submitted_at) + eta) if eta else None,
        "integrations": [],
        "metadata": client_data.get("metadata"),
    }


def _as_integer(value: t.Any) -> t.Any:
    return int(value) if isinstance(value, float) and value == int(value) else value
