# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie under the data directory. The one place that knows a path."""

from __future__ import annotations

import os
import re
import typing as t

from ._errors import InputError, StoreError
from ._files import make_dirs, read_json
from ._owner import mend, watch

#: The steps that leave an artifact, in the order of the flow.
KINDS = ("base", "dataset", "train", "train_node", "merge", "gguf", "gguf_adapter", "register", "promote", "retain")

#: Which of them each step module answers for.
KINDS_OF_MODULE = {
    "base": ("base",),
    "train": ("train", "train_node"),
    "merge": ("merge",),
    "gguf": ("gguf", "gguf_adapter"),
    "ollama_model": ("register", "promote", "retain"),
    "job": KINDS,
}

#: Where each kind of artifact lies.
PARENTS = {
    "base": "models/base",
    "dataset": "datasets/versions",
    "train": "outputs/adapters",
    "train_node": "outputs/nodes",
    "merge": "models/merged",
    "gguf": "models/gguf",
    "gguf_adapter": "models/gguf_adapters",
    "register": "outputs/models",
    "promote": "outputs/promotions",
    "retain": "outputs/retained",
    "probe": "outputs/probes",
    "light_probe": "outputs/probes",
}

#: Directories whose entries are looked at for what is root's (see :meth:`Layout.mend_owner`), and those that are
#: walked: things are written there all the time, and they are small.
_LISTED = {"core", "datasets", "jobs", "models", "outputs", *PARENTS.values()}
_WRITTEN_TO = {"jobs/active", "outputs/served", "datasets/.registered"}

#: The schema of the job store that this core writes (see ``_store``).
SCHEMA = 1

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
RECEIPT = "receipt.json"


class Layout:
    """The tree under one data directory.

    :param data_dir: absolute path without blanks (LLaMA-Factory's launcher splits its command line on them).
    :raises InputError: for a path that cannot serve.
    """

    def __init__(self, data_dir: str) -> None:
        if not os.path.isabs(data_dir):
            raise InputError(f"The data directory must be an absolute path, not {data_dir!r}.")
        if re.search(r"\s", data_dir):
            raise InputError(
                f"The data directory {data_dir!r} has a blank in its path.",
                "LLaMA-Factory's launcher splits its command line on blanks: choose another path.",
            )
        self.root = os.path.normpath(data_dir)
        watch(self.root)

    def path(self, *parts: str) -> str:
        """A path below the data directory."""
        return os.path.join(self.root, *parts)

    def parent(self, kind: str) -> str:
        """The directory that holds a step's artifacts."""
        return self.path(PARENTS[kind])

    def artifact(self, kind: str, fingerprint: str) -> str:
        """The directory of an artifact, whether it is there or not."""
        if not _FINGERPRINT.match(fingerprint):
            raise StoreError(f"{fingerprint!r} is not a fingerprint (64 hexadecimal digits).")
        return os.path.join(self.parent(kind), fingerprint)

    def work(self, kind: str, fingerprint: str) -> str:
        """Where an artifact is made before it gets its name; kept between attempts."""
        return os.path.join(self.parent(kind), ".work-" + os.path.basename(self.artifact(kind, fingerprint)))

    def receipt(self, kind: str, fingerprint: str) -> dict[str, t.Any] | None:
        """The receipt of an artifact, pruned or not; None when it was never made."""
        found = read_json(os.path.join(self.artifact(kind, fingerprint), RECEIPT))
        return found if isinstance(found, dict) else None

    @property
    def jobs(self) -> str:
        """The job store."""
        return self.path("jobs")

    @property
    def datasets(self) -> str:
        """The directory LLaMA-Factory and its WebUI read datasets from."""
        return self.path("datasets")

    @property
    def cache(self) -> str:
        """The Hugging Face cache (``HF_HOME``)."""
        return self.path("cache", "huggingface")

    def create(self) -> None:
        """Make the tree; directories that are there are left as they are."""
        for sub in [*PARENTS.values(), "jobs/active", "jobs/done", "core", "cache/huggingface"]:
            make_dirs(self.path(sub))

    @property
    def schema_file(self) -> str:
        """The file that holds the schema of the job store."""
        return os.path.join(self.jobs, "schema.json")

    def check_schema(self) -> int | None:
        """The schema of the job store; None when there is no store yet. Called before anything is written.

        :raises StoreError: when a newer core has written the store, or the schema cannot be read.
        """
        found = read_json(self.schema_file)
        number = found.get("schema") if isinstance(found, dict) else found
        if number is None or (isinstance(number, int) and number <= SCHEMA):
            return number
        if not isinstance(number, int):
            raise StoreError(f"{self.schema_file} is damaged.", 'If all of jobs/ is of this version: {"schema": 1}.')
        raise StoreError(
            f"The job store {self.jobs} has schema {number}, this core writes {SCHEMA}.",
            "A newer version of the collection has been here: upgrade this one.",
        )

    def mend_owner(self) -> None:
        """Where root works in somebody else's data directory, give its owner what a killed root left as its own.

        What has been given whole is not walked again: neither runs that have ended nor artifacts.
        """
        mend(self.root, _may_hold_roots)


def _may_hold_roots(relative: str) -> bool:
    parts = relative.split(os.sep)
    return relative in _LISTED or "/".join(parts[:2]) in _WRITTEN_TO or any(part.startswith(".work-") for part in parts)
