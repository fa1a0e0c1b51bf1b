# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets: listed, checked, published from an upload, taken away."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from ia_homelab_core import _dataset
from ia_homelab_core._dataset import DatasetInfo, Declaration
from ia_homelab_core._dataset_info import InfoFile, version_of
from ia_homelab_core._dataset_sources import Source
from ia_homelab_core._errors import CoreError, InputError
from ia_homelab_core._files import discard, make_dirs
from ia_homelab_core._layout import Layout
from ia_homelab_core._version import VERSION

from ..settings import Settings
from .errors import NotFoundError, TooLargeError
from .schemas import Dataset, DatasetChange

_CHUNK = 1024 * 1024


class Datasets:
    """The datasets of one data directory."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout

    def all(self) -> list[Dataset]:
        """All of them by name, those of other people too."""
        info = InfoFile(_dataset.info_path(self.layout))
        found = []
        for name, entry in sorted(info.entries.items()):
            try:
                found.append(to_dataset(_dataset.load(self.layout, name)))
            except CoreError:
                found.append(Dataset(name=name, digest=version_of(entry), managed=False))
        return found

    def get(self, name: str) -> Dataset:
        """One by its name.

        :raises NotFoundError: when there is none.
        """
        return to_dataset(self.load(name))

    def load(self, name: str) -> DatasetInfo:
        """The core's own value of it.

        :raises NotFoundError: when there is none.
        """
        try:
            return _dataset.load(self.layout, _dataset.dataset_name(name))
        except InputError as error:
            if error.details.get("datasets") is not None or error.message.startswith("There is no"):
                raise NotFoundError(error.message, error.hint, error.details) from error
            raise

    def sample(self, name: str, count: int = 5) -> list[str]:
        """The first rows as they were published, a JSON object each."""
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
        """Publish rows under a name; with ``check`` only tell what that would do.

        Rows that are wrong are no error here: they are told, each with file, row and field.
        """
        declaration = Declaration(name, format, dict(columns or {}), tuple(ignore_fields))
        try:
            outcome = _dataset.apply(
                self.layout, declaration, sources, check=check, compare=True, force=force, core_version=VERSION
            )
        except InputError as error:
            problems = error.details.get("problems")
            if problems is None:
                raise
            return DatasetChange(
                valid=False, problems=problems, problems_total=int(error.details.get("problems_total") or len(problems))
            )
        return DatasetChange(
            valid=True,
            changed=outcome.changed,
            dataset=to_dataset(outcome.dataset) if outcome.dataset else None,
            reasons=outcome.reasons,
            changes={key: outcome.changes[key] for key in ("added", "removed", "changed") if key in outcome.changes},
        )

    def publish_file(self, name: str, path: str, label: str) -> None:
        """Publish the rows of a file that was checked before.

        :raises InputError: when they are wrong after all.
        """
        change = self.apply(name, [Source(label, path)])
        if not change.valid:
            first = change.problems[0]
            raise InputError(f"Row {first.get('row')}: {first.get('what')}.", str(first.get("fix") or ""))

    def delete(self, name: str, purge: bool = False) -> bool:
        """Take a name away; False when it was not there."""
        self.load(name)
        return _dataset.absent(self.layout, _dataset.dataset_name(name), purge).changed

    # -- uploads ---------------------------------------------------------------------------------------------------

    @property
    def uploads(self) -> str:
        """Where what is being uploaded lies."""
        return self.settings.path("uploads")

    @contextlib.contextmanager
    def receive_file(self, filename: str) -> t.Iterator[IncomingFile]:
        """A file that is being uploaded; gone afterwards.

        :param filename: what the client calls it; only its last part is ever shown, and it names no file here.
        """
        make_dirs(self.uploads)
        handle, path = tempfile.mkstemp(prefix="upload-", dir=self.uploads)
        incoming_file = IncomingFile(path, os.fdopen(handle, "wb"), safe_label(filename), self._available_bytes())
        try:
            yield incoming_file
        finally:
            incoming_file.close()
            discard(path)

    def _available_bytes(self) -> int:
        """Bytes that one more upload may have."""
        used = 0
        for folder in (self.uploads, self.settings.path("files")):
            for root, _dirs, names in os.walk(folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        used += os.lstat(os.path.join(root, name)).st_size
        return min(self.settings.max_upload_bytes, max(0, self.settings.upload_quota_bytes - used))


class IncomingFile:
    """An upload on its way to the disk."""

    def __init__(self, path: str, stream: t.BinaryIO, label: str, room: int) -> None:
        self.path = path
        self.label = label
        self.size = 0
        self._stream = stream
        self._available_bytes = room

    def write(self, chunk: bytes) -> None:
        """Take one more piece.

        :raises TooLargeError: when it is more than may be stored.
        """
        self.size += len(chunk)
        if self.size > self._available_bytes:
            raise TooLargeError(
                f"The upload is larger than the {self._available_bytes} bytes there is room for.",
                "Delete files that are no longer needed, or raise training_service_upload_quota_bytes.",
            )
        self._stream.write(chunk)

    def close(self) -> None:
        """All of it was written."""
        self._stream.close()

    def source(self) -> Source:
        """The rows in it."""
        self._stream.flush()
        return Source(self.label, self.path)


def safe_label(filename: str) -> str:
    """The last part of a client's name for a file, without anything a terminal or a path would take for more."""
    leaf = filename.replace("\\", "/").rpartition("/")[2]
    text = "".join(letter for letter in leaf if letter.isprintable()).strip()
    return text[:200] or "upload.jsonl"


def to_dataset(info: DatasetInfo) -> Dataset:
    """A dataset that is there."""
    return Dataset(
        name=info.name,
        digest=info.fingerprint,
        rows=info.rows,
        format=str(info.results.get("format") or ""),
        bytes=info.results.get("bytes"),
        systems=dict(info.results.get("systems") or {}),
        sources=[{key: value for key, value in one.items() if key != "identity"} for one in info.sources],
    )
