# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets: list, check, publish from an upload, delete."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from ia_homelab_core.artifacts.layout import Layout
from ia_homelab_core.datasets import registry
from ia_homelab_core.datasets.dataset_info_file import InfoFile, version_of
from ia_homelab_core.datasets.registry import DatasetInfo, Declaration
from ia_homelab_core.datasets.sources import Source
from ia_homelab_core.datasets.unused_versions import remove_unused
from ia_homelab_core.errors import CoreError, InputError
from ia_homelab_core.messages.message import Message
from ia_homelab_core.system.files import discard, make_dirs
from ia_homelab_core.version import VERSION

from ..settings import Settings
from .errors import NotFoundError
from .schemas import Dataset, DatasetChange, MessageBody
from .upload_quota import PUBLISHER, Reservation, UploadQuota

_CHUNK = 1024 * 1024


class Datasets:
    """The datasets of a data directory."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout
        self.quota = UploadQuota(settings, layout)

    def all(self) -> list[Dataset]:
        """Return all datasets by name, including those registered by other tools."""
        info = InfoFile(registry.info_path(self.layout))
        datasets = []
        for name, entry in sorted(info.entries.items()):
            try:
                datasets.append(to_dataset(registry.load(self.layout, name)))
            except CoreError:
                datasets.append(Dataset(name=name, digest=version_of(entry), managed=False))
        return datasets

    def get(self, name: str) -> Dataset:
        """Return a dataset by its name.

        :raises NotFoundError: when there is none.
        """
        return to_dataset(self.load(name))

    def load(self, name: str) -> DatasetInfo:
        """Return the core's description of a dataset.

        :raises NotFoundError: when there is none.
        """
        try:
            return registry.load(self.layout, registry.dataset_name(name))
        except InputError as error:
            if error.code in ("datasets.unknown", "datasets.none_yet"):
                raise NotFoundError(error.content, details=error.details) from error
            raise

    def sample(self, name: str, count: int = 5) -> list[str]:
        """Return the first published rows, each as a JSON object."""
        with contextlib.suppress(FileNotFoundError):
            with open(self.load(name).data_file, encoding="utf-8") as stream:
                return [line.rstrip("\n") for line, _number in zip(stream, range(count), strict=False)]
        return []

    def apply(
        self,
        name: str,
        sources: t.Sequence[Source],
        format: str = "auto",
        columns: t.Mapping[str, str] | None = None,
        ignore_fields: t.Sequence[str] = (),
        force: bool = False,
        check: bool = False,
    ) -> DatasetChange:
        """Publish rows under a name; with ``check`` only report what would change.

        Invalid rows do not raise an error: the result lists each of them with file, row and field.
        """
        declaration = Declaration(name, format, dict(columns or {}), tuple(ignore_fields))
        try:
            outcome = registry.apply(
                self.layout,
                declaration,
                sources,
                check=check,
                compare=True,
                force=force,
                core_version=VERSION,
                publisher=PUBLISHER,
            )
        except InputError as error:
            problems = error.details.get("problems")
            if problems is None:
                raise
            return DatasetChange(
                valid=False, problems=problems, problems_total=int(error.details.get("problems_total") or len(problems))
            )
        if not check and outcome.dataset is not None and outcome.before != outcome.dataset.fingerprint:
            remove_unused(self.layout, outcome.before, PUBLISHER)
        return DatasetChange(
            valid=True,
            published=not check,
            changed=outcome.changed,
            dataset=to_dataset(outcome.dataset) if outcome.dataset else None,
            reasons=outcome.reasons,
            reason_messages=[MessageBody(**cause.as_dict()) for cause in outcome.causes],
            changes={key: outcome.changes[key] for key in ("added", "removed", "changed") if key in outcome.changes},
        )

    def publish_file(self, name: str, path: str, label: str) -> None:
        """Publish the rows of a file that was validated before.

        :raises InputError: when they are invalid nevertheless.
        """
        change = self.apply(name, [Source(label, path)])
        if not change.valid:
            first = change.problems[0]
            raise InputError(row_problem(first))

    def delete(self, name: str, purge: bool = False) -> bool:
        """Delete a dataset by its name; False when it did not exist.

        A version that was uploaded goes with it, unless another name, a training or an active run uses it.
        """
        self.load(name)
        outcome = registry.absent(self.layout, registry.dataset_name(name), purge)
        remove_unused(self.layout, outcome.before, PUBLISHER)
        return outcome.changed

    # -- uploads ---------------------------------------------------------------------------------------------------

    @property
    def uploads(self) -> str:
        """The directory of uploads in progress."""
        return self.settings.path("uploads")

    @contextlib.contextmanager
    def receive_file(self, filename: str, reservation: Reservation) -> t.Iterator[IncomingFile]:
        """Provide a temporary file for an upload, and delete it afterwards.

        :param filename: the client's name for it: only its last part is displayed, and no file is named after it.
        :param reservation: holds the bytes that are written.
        """
        make_dirs(self.uploads)
        handle, path = tempfile.mkstemp(prefix="upload-", dir=self.uploads)
        incoming_file = IncomingFile(path, os.fdopen(handle, "wb"), safe_label(filename), reservation)
        try:
            yield incoming_file
        finally:
            incoming_file.close()
            discard(path)


class IncomingFile:
    """An upload that is being written to disk."""

    def __init__(self, path: str, stream: t.BinaryIO, label: str, reservation: Reservation) -> None:
        self.path = path
        self.label = label
        self.size = 0
        self._stream = stream
        self._reservation = reservation

    def write(self, chunk: bytes) -> None:
        """Append a chunk.

        :raises TooLargeError: when the upload exceeds the limit or the quota.
        """
        self.size += len(chunk)
        self._reservation.reach(self.size)
        self._stream.write(chunk)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def source(self) -> Source:
        """Return the upload as a source of rows."""
        self._stream.flush()
        return Source(self.label, self.path)


def row_problem(problem: t.Mapping[str, t.Any]) -> Message:
    """Return the message for a problem of a dataset of which only the row is told, and not the name of the file."""
    defect = Message.from_stored({**problem, "text": problem.get("what"), "hint": problem.get("fix")})
    return Message("service.row_invalid", row=problem.get("row"), defect=defect)


def safe_label(filename: str) -> str:
    """Return the last part of a client's file name, without characters that are special in terminals or paths."""
    leaf = filename.replace("\\", "/").rpartition("/")[2]
    text = "".join(letter for letter in leaf if letter.isprintable()).strip()
    return text[:200] or "upload.jsonl"


def to_dataset(info: DatasetInfo) -> Dataset:
    """Convert the core's description of a dataset."""
    return Dataset(
        name=info.name,
        digest=info.fingerprint,
        rows=info.rows,
        format=str(info.results.get("format") or ""),
        bytes=info.results.get("bytes"),
        systems=dict(info.results.get("systems") or {}),
        sources=[{key: value for key, value in one.items() if key != "identity"} for one in info.sources],
    )
