# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step base: downloads a base model from a hub at a fixed commit, or refers to a local directory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ..base_models.hub_client import HubClient, read_token
from ..base_models.hub_download import PARTS, Download, bytes_missing, check_file
from ..base_models.model_files import HashCache, Inspection, directory_digest, inspect_directory, part_names
from ..base_models.resolution import HubFile, code_files, hub_files, select_files
from ..errors import CoreError, InputError, JobError, NotReadyError
from ..messages.message import Message
from ..runners.command import Command
from ..runs.job_context import StepContext
from ..runs.progress import Progress
from ..system.disk import free_bytes
from ..system.files import list_files, read_json, remove_tree, write_json
from ..system.log import log_line
from .step import Step
from .worker_command import worker_command

#: Expected and downloaded files, in the job's directory.
_LISTING = "files.json"
#: Disk space to leave free for other writers during the download, in bytes.
_DISK_RESERVE = 16 * 1024 * 1024


class BaseStep(Step):
    """Downloads ``settings["hub"]`` at ``settings["commit"]``, or checks the local directory ``options["location"]``.

    Python files of the repository are downloaded only with ``options["remote_code"]``: a step that needs them completes
    an artifact without them.

    ``results``: ``location`` (of a local directory, else None), ``template``, ``template_source``, ``model_type``,
    ``shape``, and ``hub``, ``commit``, ``bytes`` or ``directory``. ``code_left_out`` names Python files that the
    repository has and that were not downloaded.
    """

    kind = "base"
    exclusive = False

    def command(self, ctx: StepContext) -> Command | None:
        os.makedirs(ctx.work, exist_ok=True)
        return None if _is_local(ctx) else worker_command(ctx)

    def perform(self, ctx: StepContext) -> None:
        hub_id, commit = ctx.spec.settings["hub"], ctx.spec.settings["commit"]
        client = HubClient(os.environ, read_token(ctx.toolchain.token_file))
        info = client.model_info(hub_id, commit)
        if info.get("gated") or info.get("private"):
            client.check_access(hub_id, commit, "config.json")
        offered, with_code = hub_files(info), bool(ctx.spec.options.get("remote_code"))
        files = select_files(offered, hub_id, with_code)
        left_out = [] if with_code else code_files(offered)
        if left_out:
            log_line(f"Not fetched, because extra.trust_remote_code is not declared: {', '.join(left_out)}")
        _link_files(ctx, files)
        _require_disk_space(ctx, files)
        # without timestamps, so that two attempts that download the same files write the same listing
        expected = [dataclasses.asdict(file) for file in files]
        listing = os.path.join(ctx.job_dir, _LISTING)
        write_json(listing, {"wanted": expected, "code_left_out": left_out})
        log_line(f"Fetching {len(files)} files of {hub_id} at {commit} from {client.endpoint}")
        downloaded = Download(client, hub_id, commit, files, ctx.work).run(
            lambda progress: write_json(ctx.progress_file, progress.as_dict())
        )
        write_json(listing, {"wanted": expected, "found": downloaded, "code_left_out": left_out})

    def progress(self, ctx: StepContext) -> Progress | None:
        raw = read_json(ctx.progress_file)
        return Progress.from_dict(raw) if raw else None

    def finish(self, ctx: StepContext) -> dict[str, t.Any]:
        if _is_local(ctx):
            return self._finish_local(ctx)
        listing = read_json(os.path.join(ctx.job_dir, _LISTING)) or {}
        downloaded = listing.get("found")
        if not downloaded:
            raise JobError("steps.download_unfinished")
        expected = [HubFile(**entry) for entry in listing["wanted"]]
        for file in expected:
            _require_complete(os.path.join(ctx.work, file.name), file, downloaded.get(file.name) or {})
        remove_tree(os.path.join(ctx.work, PARTS))
        names = {file.name for file in expected}
        for name in list_files(ctx.work):
            if name not in names:
                os.unlink(os.path.join(ctx.work, name))
        try:
            inspection = inspect_directory(ctx.work)
        except InputError as error:
            raise JobError("steps.hub_files_incomplete", hub=ctx.spec.settings["hub"], problem=error.content) from error
        return {
            **_model_results(ctx, inspection),
            "location": None,
            "hub": ctx.spec.settings["hub"],
            "commit": ctx.spec.settings["commit"],
            "bytes": sum(file.bytes for file in expected),
            **({"code_left_out": listing["code_left_out"]} if listing.get("code_left_out") else {}),
        }

    def _finish_local(self, ctx: StepContext) -> dict[str, t.Any]:
        root = str(ctx.spec.options["location"])
        inspection = inspect_directory(root)
        cache = HashCache(ctx.layout)
        current = directory_digest(root, cache)
        cache.save()
        if current != ctx.spec.settings["directory"]:
            raise NotReadyError("steps.base_changed", root=root)
        return {**_model_results(ctx, inspection), "location": root, "directory": current, "stamps": _stamps(root)}

    def drift(self, ctx: StepContext) -> list[Message]:
        results = (ctx.layout.receipt(self.kind, ctx.spec.fingerprint) or {}).get("results") or {}
        if not _is_local(ctx):
            missing = results.get("code_left_out")
            if not missing or not ctx.spec.options.get("remote_code"):
                return []
            return [Message("steps.code_not_fetched", files=missing)]
        root = str(results.get("location"))
        try:
            if _stamps(root) == results.get("stamps"):
                return []
            same = directory_digest(root, HashCache(ctx.layout)) == ctx.spec.settings["directory"]
        except (OSError, CoreError):
            same = False
        return [] if same else [Message("steps.files_changed", directory=root)]


def _link_files(ctx: StepContext, files: t.Iterable[HubFile]) -> None:
    """Link the files of the artifact that this one replaces, so that only the others are downloaded.

    The download checks each file, and replaces one that is damaged.
    """
    earlier = ctx.layout.artifact("base", ctx.spec.fingerprint)
    for file in files:
        with contextlib.suppress(OSError):  # absent there, or linked by an earlier attempt
            os.link(os.path.join(earlier, file.name), os.path.join(ctx.work, file.name), follow_symlinks=False)


def _is_local(ctx: StepContext) -> bool:
    return "directory" in ctx.spec.settings


def _model_results(ctx: StepContext, inspection: Inspection) -> dict[str, t.Any]:
    """Results about the model: the template that was resolved, the shape from its files."""
    options = ctx.spec.options
    has_parameters = inspection.shape is not None and inspection.shape.parameters > 0
    shape = dataclasses.asdict(inspection.shape) if inspection.shape and has_parameters else options.get("shape")
    return {
        "template": options.get("template") or "",
        "template_source": options.get("template_source") or "",
        "model_type": inspection.model_type,
        "shape": shape,
    }


def _stamps(root: str) -> dict[str, list[int]]:
    """Size and modification time (ns) of each file of a local model; while unchanged, the model is not rehashed."""
    stamps = {}
    for name in part_names(root):
        stat = os.stat(os.path.join(root, name))
        stamps[name] = [stat.st_size, stat.st_mtime_ns]
    return stamps


def _require_disk_space(ctx: StepContext, files: t.Sequence[HubFile]) -> None:
    missing = bytes_missing(files, ctx.work)
    free = free_bytes(ctx.work)
    if missing + _DISK_RESERVE > free:
        hub_id = ctx.spec.settings["hub"]
        raise NotReadyError(
            "steps.no_room_for_model",
            model=hub_id,
            missing=missing,
            free=free,
            root=ctx.layout.root,
            details={"hub": hub_id, "missing_bytes": missing, "free_bytes": free, "path": ctx.layout.root},
        )


def _require_complete(path: str, file: HubFile, recorded: t.Mapping[str, t.Any]) -> None:
    """Check that a file is as downloaded. It is rehashed only when it was modified after the check of the download.

    :raises JobError: when it is missing or damaged.
    """
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        raise JobError("steps.file_missing_after_download", file=file.name) from None
    modified = [stat.st_size, stat.st_mtime_ns] != [recorded.get("bytes"), recorded.get("mtime_ns")]
    if stat.st_size != file.bytes or (modified and check_file(path, file) is None):
        raise JobError("steps.file_damaged_after_download", file=file.name)
