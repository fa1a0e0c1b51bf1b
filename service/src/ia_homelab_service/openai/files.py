# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenAI's files: uploads for fine-tuning jobs. The id is derived from the content."""

from __future__ import annotations

import os
import re
import shutil
import time
import typing as t

from ia_homelab_core.datasets.sources import Source
from ia_homelab_core.messages.message import Message
from ia_homelab_core.system.clock import parse_utc
from ia_homelab_core.system.files import make_dirs, publish_dir, read_record, sha256_file, write_json

from ..application.datasets import IncomingFile, row_problem
from ..application.errors import FieldError, FieldErrors, NotFoundError
from ..application.operations import Operations
from ..application.schemas import Job

_ID = re.compile(r"file-[0-9a-f]{24}\Z")
_RESULT = re.compile(r"result-(.+)\Z")
_CONTENT = "content.jsonl"


def result_id(job: Job) -> str:
    """Return the id of the result file of a job."""
    return f"result-{job.job_id}"


def has_result(job: Job) -> bool:
    """Whether a job has a result file."""
    return job.status == "succeeded"


class Files:
    """The uploaded files."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.settings = operations.settings

    def _folder(self, file_id: str) -> str:
        if not _ID.match(file_id):
            raise NotFoundError("service.file_unknown", file_id=file_id)
        return self.settings.path("files", file_id)

    def path(self, file_id: str) -> str:
        """Return the path of a file's content.

        :raises NotFoundError: when there is no such file.
        """
        folder = self._folder(file_id)  # a result is no file to train on
        self.get(file_id)
        return os.path.join(folder, _CONTENT)

    def store(self, incoming_file: IncomingFile, purpose: str) -> dict[str, t.Any]:
        """Store an upload.

        :raises FieldErrors: for an unsupported purpose, and for invalid rows.
        """
        if purpose != "fine-tune":
            raise FieldErrors([FieldError("purpose", Message("service.purpose_unknown", purpose=purpose))])
        source = Source(
            incoming_file.label if "." in incoming_file.label else f"{incoming_file.label}.jsonl",
            incoming_file.source().path,
        )
        change = self.operations.datasets.apply("upload", [source], check=True)
        if not change.valid:
            raise FieldErrors([FieldError("file", row_problem(change.problems[0]))])
        file_id = f"file-{sha256_file(incoming_file.path)[:24]}"
        final = self._folder(file_id)
        if not os.path.isdir(final):
            work = f"{final}.{os.getpid()}-{time.monotonic_ns()}"
            make_dirs(work)
            try:
                shutil.copyfile(incoming_file.path, os.path.join(work, _CONTENT))
                metadata = {"filename": source.label, "bytes": incoming_file.size, "created_at": int(time.time())}
                write_json(os.path.join(work, "about.json"), {**metadata, "purpose": purpose})
                publish_dir(work, final)
            except OSError:
                shutil.rmtree(work, ignore_errors=True)
                if not os.path.isdir(final):
                    raise
        return self.get(file_id)

    def get(self, file_id: str) -> dict[str, t.Any]:
        """Return a file in OpenAI's format.

        :raises NotFoundError: when there is no such file.
        """
        result = _RESULT.match(file_id)
        if result is not None:
            return self._result(file_id, result.group(1))
        metadata = read_record(os.path.join(self._folder(file_id), "about.json"))
        if metadata is None:
            raise NotFoundError("service.file_unknown", file_id=file_id)
        return {"id": file_id, "object": "file", "status": "processed", **metadata}

    def _result(self, file_id: str, job_id: str) -> dict[str, t.Any]:
        """Return the result file of a job: it is made from the job's log each time it is read."""
        job = self.operations.get_job(job_id)
        if not has_result(job):
            raise NotFoundError("service.file_unknown", file_id=file_id)
        return {
            "id": file_id, "object": "file", "status": "processed", "filename": "step_metrics.csv",
            "bytes": len(self._metrics(job_id)), "created_at": int(parse_utc(job.finished_at)),
            "purpose": "fine-tune-results",
        }  # fmt: skip

    def all(self) -> list[dict[str, t.Any]]:
        """Return all files, the latest first."""
        try:
            names = os.listdir(self.settings.path("files"))
        except FileNotFoundError:
            return []
        files = []
        for name in names:
            if _ID.match(name):
                try:
                    files.append(self.get(name))
                except NotFoundError:
                    continue
        return sorted(files, key=lambda file: (-int(file["created_at"]), str(file["id"])))

    def delete(self, file_id: str) -> dict[str, t.Any]:
        """Delete a file; datasets created from it remain."""
        folder = self._folder(file_id)  # a result stays with its job
        self.get(file_id)
        shutil.rmtree(folder, ignore_errors=True)
        return {"id": file_id, "object": "file", "deleted": True}

    def content(self, file_id: str) -> tuple[str, str]:
        """Return the content of a file: its path, or the text of a job's result file.

        :returns: path and text, one of them empty.
        """
        result = _RESULT.match(file_id)
        if result is None:
            return self.path(file_id), ""
        self.get(file_id)
        return "", self._metrics(result.group(1))

    def _metrics(self, job_id: str) -> str:
        rows = ["step,train_loss,valid_loss,learning_rate"]
        for point in self.operations.curve(job_id, 1_000_000):
            cells = (int(point.step), point.loss, point.eval_loss, point.learning_rate)
            rows.append(",".join("" if cell is None else str(cell) for cell in cells))
        return "\n".join(rows) + "\n"
