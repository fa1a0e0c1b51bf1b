# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories that arguments in ``extra`` name. They are part of a training by their content.

By their path, a training would be kept although its DeepSpeed configuration has changed, and repeated although a file
has only been moved.
"""

from __future__ import annotations

import datetime
import os
import typing as t

from ..artifacts.layout import Layout
from ..base_models.model_files import HashCache
from ..errors import InputError, NotReadyError
from ..fingerprint import digest, fingerprint
from ..system.files import list_files, sha256_file
from . import hyperparameters
from .hyperparameters import Hyperparameters

#: Arguments of LLaMA-Factory that name an input, or several separated by commas. Those of models may be names on a hub.
_INPUTS = (
    "deepspeed", "fsdp_config", "accelerator_config", "new_special_tokens_config", "generation_config", "vllm_config",
    "sglang_config", "ref_model", "ref_model_adapters", "reward_model", "reward_model_adapters", "kt_weight_path",
    "kt_expert_checkpoint_path",
)  # fmt: skip
#: Arguments that name what is written, and texts that may begin with a slash.
_NO_INPUTS = (
    "offload_folder", "profiler_output_dir", "swanlab_logdir", "logging_dir", "default_system", "reward_model_type",
)  # fmt: skip
#: Size in bytes from which the digest of a file is cached; hashing a smaller one takes no noticeable time.
_LARGE_BYTES = 16 * 1024 * 1024
_PREFIX = "sha256:"


def paths(extra: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The existing files and directories that each argument names; arguments without any are left out."""
    found = {}
    for name, value in extra.items():
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
        if name not in _NO_INPUTS and parts and all(os.path.isabs(part) and os.path.exists(part) for part in parts):
            found[name] = parts
    return found


def check(extra: t.Mapping[str, t.Any]) -> None:
    """Check that the inputs exist on this host.

    :raises InputError: for the first path that does not.
    """
    for name in _INPUTS:
        value = extra.get(name)
        for part in value.split(",") if isinstance(value, str) else []:
            path = part.strip()
            if os.path.isabs(path) and not os.path.exists(path):
                raise InputError("training.extra_path_missing", name=name, path=path, details={"options": ["extra"]})


def with_contents(layout: Layout, hyper: Hyperparameters, write: bool = False) -> Hyperparameters:
    """The same hyperparameters, which know the content of the files that ``extra`` names.

    :param write: whether digests of large files may be cached.
    :raises NotReadyError: if a file cannot be read.
    """
    named = paths(hyper.extra)
    if not named:
        return hyper
    cache = HashCache(layout)
    contents = {name: _PREFIX + _digest(each, cache) for name, each in named.items()}
    if write:
        cache.save()
    return hyper.with_contents(contents)


def _digest(named: t.Sequence[str], cache: HashCache) -> str:
    """The digest of files and directories; of a single file, the one of its bytes."""
    if len(named) == 1 and os.path.isfile(named[0]):
        return _sha256(named[0], cache)
    return digest(
        [
            _sha256(path, cache)
            if os.path.isfile(path)
            else [[name, _sha256(os.path.join(path, name), cache)] for name in sorted(list_files(path))]
            for path in named
        ]
    )


def _sha256(path: str, cache: HashCache) -> str:
    try:
        return cache.sha256(path) if os.path.getsize(path) >= _LARGE_BYTES else sha256_file(path)
    except OSError as error:
        raise NotReadyError("errors.unreadable", path=error.filename or path, reason=error.strerror) from error


def settings(layout: Layout, hyper: Hyperparameters, upstream: t.Mapping[str, str], nodes: int = 1) -> dict[str, t.Any]:
    """The settings of a training, for its fingerprint.

    A training of an earlier version has the paths in its settings. It is kept as long as the files are older than it.

    :param hyper: result of :func:`with_contents`; :param upstream: fingerprints of the inputs of the training.
    :param nodes: hosts that train together.
    """
    # the rows are divided among the hosts, so a step processes more of them and the result differs
    more = {"nodes": nodes} if nodes > 1 else {}
    current = {**hyperparameters.settings(hyper), **more}
    if not hyper.contents:
        return current
    earlier = {**hyperparameters.settings(hyper.with_contents({})), **more}
    receipt = layout.receipt("train", fingerprint("train", earlier, dict(upstream)))
    if receipt is None or not receipt.get("started_at"):
        return current
    started = datetime.datetime.fromisoformat(str(receipt["started_at"]).replace("Z", "+00:00")).timestamp()
    return earlier if _newest(hyper.extra) < started else current


def _newest(extra: t.Mapping[str, t.Any]) -> float:
    """The time of the last change of the files, in seconds since 1970."""
    files = [
        file
        for named in paths(extra).values()
        for path in named
        for file in ([path] if os.path.isfile(path) else [os.path.join(path, name) for name in list_files(path)])
    ]
    return max((os.stat(file).st_mtime for file in files), default=0.0)


def require_unchanged(layout: Layout, planned: t.Mapping[str, t.Any], extra: t.Mapping[str, t.Any]) -> None:
    """Check that files have the content that the training was planned with.

    :param planned: settings of the training; :param extra: its arguments.
    :raises InputError: if one has changed or is missing.
    """
    contents = {
        name: value
        for name, value in (planned.get("extra") or {}).items()
        if isinstance(value, str) and value.startswith(_PREFIX) and extra.get(name) != value
    }
    if not contents:
        return
    cache = HashCache(layout)
    found = paths(extra)
    for name, value in contents.items():
        if name not in found or _PREFIX + _digest(found[name], cache) != value:
            raise InputError("training.extra_file_changed", name=name, path=extra.get(name))
