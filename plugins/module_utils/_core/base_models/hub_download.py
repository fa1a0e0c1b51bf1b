# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download of files from a hub: each file resumes after an interruption and counts only once its digest is verified.

``huggingface_hub`` is not used because it restarts a file from zero after its process was killed (since
https://github.com/huggingface/huggingface_hub/pull/4228), which costs hours for weights of many gigabytes.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import http.client
import os
import socket
import ssl
import threading
import time
import typing as t

from ..errors import RemoteError
from ..messages.message import Message
from ..runs.progress import Progress
from ..system.disk import disk_error
from ..system.files import sha256_file
from ..system.log import log_line
from .hub_client import HubClient, TransientError
from .resolution import HubFile

#: Subdirectory with partial files; removed when all files are complete.
PARTS = ".download"

_CHUNK = 1024 * 1024
_WORKERS = 4
_MAX_FAILURES = 6
_LONGEST_PAUSE = 30.0
_RATE_SECONDS = 30.0


class Meter:
    """Progress of a download, with an estimate of the remaining time at the rate of the last half minute."""

    def __init__(self, total: int, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        self._samples: list[tuple[float, int]] = []

    def add(self, count: int, fetched: bool = True) -> None:
        """Count bytes.

        :param fetched: whether they arrived over the network just now; only those contribute to the rate.
        """
        with self._lock:
            self._done += count
            if not fetched:
                self._samples = [(when, done + count) for when, done in self._samples]

    def progress(self) -> Progress:
        """Return the current progress."""
        with self._lock:
            now = self._clock()
            recent = [sample for sample in self._samples if now - sample[0] <= _RATE_SECONDS]
            self._samples = [*recent, (now, self._done)]
            when, earlier = self._samples[0]
            rate = (self._done - earlier) / (now - when) if now > when else 0.0
            eta = round((self._total - self._done) / rate, 1) if rate > 0 else None
            return Progress(current=self._done, total=self._total, unit="B", eta_seconds=eta)


def bytes_missing(files: t.Iterable[HubFile], work: str) -> int:
    """Return the bytes still to be downloaded into a directory, without the partial files of earlier attempts."""
    missing = 0
    for file in files:
        if not os.path.exists(os.path.join(work, file.name)):
            missing += max(0, file.bytes - _size(_part(work, file)))
    return missing


def _part(work: str, file: HubFile) -> str:
    return os.path.join(work, PARTS, file.name + ".part")


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


class Download:
    """Downloads files of one commit into a directory.

    :param client: client of the hub.
    :param hub_id: id of the repository.
    :param commit: commit of the repository.
    :param files: files to download.
    :param work: target directory; partial files of earlier attempts in it are resumed.
    """

    def __init__(
        self,
        client: HubClient,
        hub_id: str,
        commit: str,
        files: t.Sequence[HubFile],
        work: str,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._hub_id = hub_id
        self._commit = commit
        self._files = files
        self._work = work
        self._sleep = sleep
        self._stop = threading.Event()
        self.meter = Meter(sum(file.bytes for file in files))

    def run(self, report: t.Callable[[Progress], None], every: float = 1.0) -> dict[str, t.Any]:
        """Download the missing files concurrently, the largest first.

        :param report: callback that receives the progress.
        :param every: seconds between two calls of ``report``.
        :returns: ``bytes``, ``mtime_ns`` and ``sha256`` of every file by name, all verified.
        :raises CoreError: if a file cannot be downloaded; complete and partial files are kept.
        """
        os.makedirs(os.path.join(self._work, PARTS), exist_ok=True)
        order = sorted(self._files, key=lambda file: -file.bytes)
        with concurrent.futures.ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            jobs = {pool.submit(self._fetch, file): file for file in order}
            try:
                waiting = set(jobs)
                while waiting:
                    finished, waiting = concurrent.futures.wait(
                        waiting, timeout=every, return_when=concurrent.futures.FIRST_EXCEPTION
                    )
                    report(self.meter.progress())
                    for job in finished:
                        job.result()
            except BaseException:
                self._stop.set()
                for job in jobs:
                    job.cancel()
                raise
        return {file.name: job.result() for job, file in jobs.items()}

    def _fetch(self, file: HubFile) -> dict[str, t.Any]:
        final, part = os.path.join(self._work, file.name), _part(self._work, file)
        try:
            if os.path.exists(final):
                facts = check_file(final, file)
                if facts is not None:
                    self.meter.add(file.bytes, fetched=False)
                    return facts
                os.unlink(final)
            self.meter.add(min(_size(part), file.bytes), fetched=False)
            for _attempt in range(2):
                self._fetch_part(file, part)
                facts = check_file(part, file)
                if facts is not None:
                    with open(part, "rb") as stream:
                        os.fsync(stream.fileno())
                    os.replace(part, final)
                    return facts
                log_line(f"{file.name} does not match the size or digest the hub reports: downloading it again.")
                self.meter.add(-_size(part), fetched=False)
                os.unlink(part)
        except OSError as error:
            raise disk_error(error, final) from error
        raise RemoteError(
            "base_models.file_differs", endpoint=self._client.endpoint, file=file.name, model=self._hub_id
        )

    def _fetch_part(self, file: HubFile, part: str) -> None:
        """Download until the partial file has its full size; give up after :data:`_MAX_FAILURES` without progress."""
        failures = 0
        while True:
            before = _size(part)
            if before > file.bytes:
                os.truncate(part, 0)
                self.meter.add(-file.bytes, fetched=False)
                before = 0
            if before == file.bytes:
                if before == 0:
                    open(part, "ab").close()
                return
            try:
                self._stream(file, part, before)
                reason = Message("base_models.connection_cut")
            except TransientError as error:
                reason = error.content
            if _size(part) == file.bytes:
                return
            failures = 1 if _size(part) > before else failures + 1
            if failures >= _MAX_FAILURES:
                raise RemoteError(
                    "base_models.download_stopped",
                    file=file.name,
                    model=self._hub_id,
                    current=_size(part),
                    total=file.bytes,
                    reason=reason,
                )
            log_line(f"{file.name}: {reason.text.rstrip('.')}; resuming at {_size(part)} of {file.bytes} bytes.")
            self._sleep(min(2.0 ** (failures - 1), _LONGEST_PAUSE))

    def _stream(self, file: HubFile, part: str, offset: int) -> None:
        """Append the content from an offset on to the partial file.

        :raises TransientError: if the connection is interrupted.
        """
        if self._stop.is_set():
            raise RemoteError("base_models.stopped")
        try:
            with self._client.open_file(self._hub_id, self._commit, file.name, offset) as response:
                if offset and response.status != 206:  # the server ignores ranges and sends the full file
                    os.truncate(part, 0)
                    self.meter.add(-offset, fetched=False)
                with open(part, "ab") as stream:
                    self._copy(response, stream)
        except (socket.timeout, ssl.SSLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or Message("base_models.connection_cut")
            raise TransientError("base_models.connection_failed", reason=reason) from None

    def _copy(self, response: http.client.HTTPResponse, stream: t.IO[bytes]) -> None:
        while not self._stop.is_set():
            chunk = response.read1(_CHUNK)
            if not chunk:
                return
            stream.write(chunk)
            self.meter.add(len(chunk))


def check_file(path: str, file: HubFile) -> dict[str, t.Any] | None:
    """Compare a file with the size and digests that the hub reports.

    :returns: ``bytes``, ``mtime_ns`` and ``sha256`` of the file; None if it differs.
    """
    stat = os.stat(path)
    if stat.st_size != file.bytes:
        return None
    sha256 = sha256_file(path)
    if file.sha256 and sha256 != file.sha256:
        return None
    if file.git_oid and _git_oid(path, stat.st_size) != file.git_oid:
        return None
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}


def _git_oid(path: str, size: int) -> str:
    """Return the git object id of a file: SHA-1 over ``blob SIZE\\0`` and the content (git-hash-object(1))."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
