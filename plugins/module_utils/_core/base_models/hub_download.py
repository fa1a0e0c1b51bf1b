# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching files of a hub's repository: each goes on where it was broken off, and counts only once its digest is right.

Done here and not with ``huggingface_hub``: its downloads begin a file anew after their process was killed (since
https://github.com/huggingface/huggingface_hub/pull/4228), which for weights of many gigabytes means hours.
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
from ..runs.progress import Progress
from ..system.disk import disk_error
from ..system.files import sha256_file
from ..system.log import log_line
from .hub_client import HubClient, TransientError
from .resolution import HubFile

#: Beside the files, what is half there; removed when all are.
PARTS = ".download"

_CHUNK = 1024 * 1024
_WORKERS = 4
_MAX_FAILURES = 6
_LONGEST_PAUSE = 30.0
_RATE_SECONDS = 30.0


class Meter:
    """Bytes done of bytes wanted, and how long the rest will take at the rate of the last half minute."""

    def __init__(self, total: int, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        self._seen: list[tuple[float, int]] = []

    def add(self, count: int, fetched: bool = True) -> None:
        """Count bytes; ``fetched`` ones came over the network just now (and so tell its rate)."""
        with self._lock:
            self._done += count
            if not fetched:
                self._seen = [(when, done + count) for when, done in self._seen]

    def progress(self) -> Progress:
        """How far it is."""
        with self._lock:
            now = self._clock()
            self._seen = [seen for seen in self._seen if now - seen[0] <= _RATE_SECONDS] + [(now, self._done)]
            when, done = self._seen[0]
            rate = (self._done - done) / (now - when) if now > when else 0.0
            eta = round((self._total - self._done) / rate, 1) if rate > 0 else None
            return Progress(current=self._done, total=self._total, unit="B", eta_seconds=eta)


def bytes_missing(files: t.Iterable[HubFile], work: str) -> int:
    """Bytes that are still to be fetched into a directory, parts of earlier attempts taken off."""
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
    """Fetches files of one commit into a directory.

    :param client: the hub.
    :param hub_id: the repository.
    :param commit: its commit.
    :param files: what is wanted.
    :param work: directory to put them in; parts of earlier attempts there are used.
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
        """Fetch what is missing, several files at once, the biggest first.

        :param report: told how far it is, every so many seconds.
        :returns: by name, ``bytes``, ``mtime_ns`` and ``sha256`` of every file, each checked.
        :raises CoreError: when a file cannot be had; what was fetched is kept.
        """
        os.makedirs(os.path.join(self._work, PARTS), exist_ok=True)
        order = sorted(self._files, key=lambda file: -file.bytes)
        with concurrent.futures.ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            jobs = {pool.submit(self._fetch, file): file for file in order}
            try:
                waiting = set(jobs)
                while waiting:
                    done, waiting = concurrent.futures.wait(
                        waiting, timeout=every, return_when=concurrent.futures.FIRST_EXCEPTION
                    )
                    report(self.meter.progress())
                    for job in done:
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
                found = check_file(final, file)
                if found is not None:
                    self.meter.add(file.bytes, fetched=False)
                    return found
                os.unlink(final)
            self.meter.add(min(_size(part), file.bytes), fetched=False)
            for _attempt in range(2):
                self._fill(file, part)
                found = check_file(part, file)
                if found is not None:
                    with open(part, "rb") as stream:
                        os.fsync(stream.fileno())
                    os.replace(part, final)
                    return found
                self._note(f"{file.name} was not what the hub says it is: fetching it anew.")
                self.meter.add(-_size(part), fetched=False)
                os.unlink(part)
        except OSError as error:
            raise disk_error(error, final) from error
        raise RemoteError(
            f"What {self._client.endpoint} sends as {file.name} of {self._hub_id} is not what it says it is.",
            "A proxy or a mirror may be changing it.",
        )

    def _fill(self, file: HubFile, part: str) -> None:
        """Fetch until the part has its whole size, as long as something comes."""
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
                reason = "the connection was cut"
            except TransientError as error:
                reason = error.message
            if _size(part) == file.bytes:
                return
            failures = 1 if _size(part) > before else failures + 1
            if failures >= _MAX_FAILURES:
                raise RemoteError(
                    f"{file.name} of {self._hub_id} stopped at {_size(part)} of {file.bytes} bytes: {reason}",
                    "Run again when the network is back: it goes on from there.",
                )
            self._note(f"{file.name}: {reason.rstrip('.')}; going on at {_size(part)} of {file.bytes} bytes.")
            self._sleep(min(2.0 ** (failures - 1), _LONGEST_PAUSE))

    def _stream(self, file: HubFile, part: str, offset: int) -> None:
        """Append what the hub sends from an offset on.

        :raises TransientError: when it breaks off.
        """
        if self._stop.is_set():
            raise RemoteError("Stopped.")
        try:
            with self._client.open_file(self._hub_id, self._commit, file.name, offset) as response:
                if offset and response.status != 206:  # it sends all of it
                    os.truncate(part, 0)
                    self.meter.add(-offset, fetched=False)
                with open(part, "ab") as stream:
                    self._copy(response, stream)
        except (socket.timeout, ssl.SSLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or "the connection was cut"
            raise TransientError(str(words)) from None

    def _copy(self, response: http.client.HTTPResponse, stream: t.IO[bytes]) -> None:
        while not self._stop.is_set():
            chunk = response.read1(_CHUNK)
            if not chunk:
                return
            stream.write(chunk)
            self.meter.add(len(chunk))

    def _note(self, text: str) -> None:
        log_line(text)


def check_file(path: str, file: HubFile) -> dict[str, t.Any] | None:
    """Read a file and compare it with what the hub says of it; None when it differs."""
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
    """Git's name for a file's content: SHA-1 over ``blob SIZE\\0`` and the content (git-hash-object(1))."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(path, "rb") as stream:
        while True:
            chunk = stream.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
