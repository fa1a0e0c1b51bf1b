# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths below the data directory. No other module builds them."""

from __future__ import annotations

import os
import re
import typing as t

from ..errors import InputError, StoreError
from ..system.files import make_dirs, read_json
from ..system.ownership import foreign_owner, refuse_root, repair_ownership, root_processes
from .kinds import PARENTS

#: Directories whose entries are checked for files owned by root (see :meth:`Layout.repair_ownership`), beside those of
#: artifacts, and directories that are walked recursively: they are small, and files are written to them all the time.
_LISTED = {"core", "datasets", "jobs", "models", "outputs"}
_WRITTEN_TO = {"jobs/active", "jobs/ollama", "outputs/served", "datasets/.registered"}

#: A fingerprint; it must match from the start.
FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
#: Names of files in artifacts that several packages use. They are stored: an artifact is found complete by them.
RECEIPT = "receipt.json"
GGUF_FILE = "model.gguf"
GGUF_ADAPTER_FILE = "adapter.gguf"
PROJECTOR_FILE = "mmproj.gguf"
IMATRIX_FILE = "imatrix.gguf"
MODELFILE = "Modelfile"
TRAINER_LOG_FILE = "trainer_log.jsonl"
LOSS_PLOT_FILE = "training_loss.png"
PROBES_FILE = "probes.json"
MODEL_CARD_FILE = "README.md"
REPORT_FILE = "report.json"
QUESTIONS_FILE = "questions.jsonl"
ANSWERS_FILE = "answers.jsonl"
CHRF_FILE = "chrf.json"
#: What a receipt contains; docs/architecture.md has an example.
Receipt = t.Mapping[str, t.Any]
#: Prefix of a directory in which an artifact is made.
WORK_PREFIX = ".work-"


class Layout:
    """The directory tree below one data directory.

    :param data_dir: absolute path without whitespace (LLaMA-Factory's launcher splits its command line on whitespace).
    :raises InputError: if the path is not absolute or contains whitespace.
    """

    def __init__(self, data_dir: str) -> None:
        if not os.path.isabs(data_dir):
            raise InputError("artifacts.data_dir_relative", data_dir=data_dir)
        if re.search(r"\s", data_dir):
            raise InputError("artifacts.data_dir_with_blank", data_dir=data_dir)
        self.root = os.path.normpath(data_dir)

    def path(self, *parts: str) -> str:
        """A path below the data directory."""
        return os.path.join(self.root, *parts)

    def parent(self, kind: str) -> str:
        """The directory that contains all artifacts of a kind.

        :raises StoreError: if this version has no such kind.
        """
        if kind not in PARENTS:
            raise StoreError("artifacts.kind_unknown", kind=kind)
        return self.path(PARENTS[kind])

    def artifact(self, kind: str, fingerprint: str) -> str:
        """The directory of an artifact, whether it exists or not.

        :raises StoreError: if ``fingerprint`` is not 64 hexadecimal digits, or this version has no such kind.
        """
        if not FINGERPRINT.match(fingerprint):
            raise StoreError("artifacts.no_fingerprint", fingerprint=fingerprint)
        return os.path.join(self.parent(kind), fingerprint)

    def work(self, kind: str, fingerprint: str) -> str:
        """The directory an artifact is built in before it is published; kept between attempts."""
        return os.path.join(self.parent(kind), WORK_PREFIX + os.path.basename(self.artifact(kind, fingerprint)))

    def receipt(self, kind: str, fingerprint: str) -> dict[str, t.Any] | None:
        """The receipt of an artifact, also of a pruned one; None if the artifact was never published."""
        receipt = read_json(os.path.join(self.artifact(kind, fingerprint), RECEIPT))
        return receipt if isinstance(receipt, dict) else None

    @property
    def jobs(self) -> str:
        """The job store."""
        return self.path("jobs")

    @property
    def datasets(self) -> str:
        """The directory from which LLaMA-Factory and its WebUI read datasets."""
        return self.path("datasets")

    @property
    def cache(self) -> str:
        """The Hugging Face cache (``HF_HOME``)."""
        return self.path("cache", "huggingface")

    def create(self) -> None:
        """Create the tree; existing directories are left unchanged.

        :raises NotReadyError: if this process is root and another user owns the data directory.
        """
        refuse_root(self.root)
        for sub in [*PARENTS.values(), "jobs/active", "jobs/done", "core", "cache/huggingface"]:
            make_dirs(self.path(sub))

    def repair_ownership(self) -> None:
        """If root runs this and another user owns the data directory, give that user what root owns in it.

        An earlier version that was killed, or a play that copied a file, left it. Finished runs and published artifacts
        are not walked: their ownership was set when they were completed. No-op while a job of root's is active: its
        supervisor is one of an earlier version and needs its files.
        """
        owner = foreign_owner(self.root)
        if owner is not None and os.path.isdir(self.root) and not root_processes(self.root):
            repair_ownership(owner, _may_hold_roots)


def _may_hold_roots(relative: str) -> bool:
    parts = relative.split(os.sep)
    listed = relative in _LISTED or relative in PARENTS.values() or "/".join(parts[:2]) in _WRITTEN_TO
    return listed or any(part.startswith(WORK_PREFIX) for part in parts)
