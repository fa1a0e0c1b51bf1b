# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process behind a job: ``python -m PACKAGE.main supervise JOB_DIR``.

It outlives the SSH connection, the controller and the service. If it is killed, the next
reconcile starts another one for the same job, which finds out how far the first had come:
the artifact published, the command ended, the command still running, or never started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
import typing as t

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import RECEIPT, Layout
from ..distributed.node_link import Link, NodeLost
from ..errors import CoreError, JobError, StoreError, as_error
from ..releases.model_card import CARD, model_card
from ..runners.command import Command
from ..runners.registry import get_runner
from ..runners.runner import Probe, Runner
from ..runs.job_context import load_context, load_run
from ..runs.run import CANCELLED, FAILED, SUCCEEDED, WAITING, read_outcome
from ..steps.registry import get_step
from ..steps.step import Step
from ..steps.tool_errors import RAM_HINT, is_echo
from ..system import processes
from ..system.clock import utc_now
from ..system.disk import DiskFullError, disk_errors, free_bytes, gigabytes
from ..system.files import (
    list_files,
    make_dirs,
    publish_dir,
    read_record,
    remove_tree,
    sha256_file,
    sweep,
    tail_lines,
    write_atomic,
    write_json,
)
from ..system.locks import FileLock
from ..system.log import log_line
from ..system.ownership import foreign_owner, give_to_owner
from ..version import VERSION
from . import gpu_users
from .gpu_lease import GpuLease
from .reconciler import Reconciler

#: A command that was lost this often (with its supervisor: a crash, a reboot) is given up.
MAX_STARTS = 20
_POLL_SECONDS = 0.1

#: Between two looks at who is on the GPU: the driver's tool takes a good part of a second.
_GPU_SECONDS = 2.0

#: The one before may just be dying, or its command may be about to be started and hold the lock till then.
_LOCK_SECONDS = 5.0

#: How often, and after how many seconds at first, what is next is started again when that could not be done.
_NEXT_ATTEMPTS, _NEXT_SECONDS = 8, 1.0

#: A command that failed with less than this left on the disk most likely failed for that.
_TIGHT_BYTES = 1024 * 1024


class Supervisor:
    """Takes one job from wherever it stands to its outcome."""

    def __init__(self, job_dir: str) -> None:
        self.job_dir = os.path.abspath(job_dir)
        self.layout, self.run, _label = load_run(job_dir)
        self.ctx = load_context(job_dir)
        self.step: Step = get_step(self.ctx.spec.kind)
        job = read_record(self._path("job.json")) or {}
        self.runner: Runner = get_runner(str(job.get("runner") or self.run.runner))
        self.started_at = utc_now()
        self._stop_deadline: float | None = None
        self._link: Link | None = None
        self._told = ""

    def _path(self, name: str) -> str:
        return os.path.join(self.job_dir, name)

    def supervise(self) -> None:
        """Do it. Returns when the outcome is written, or when another supervisor has the job.

        :raises DiskFullError: when what has become of it cannot be written: the next supervisor finds it out again.
        """
        lock = FileLock(self._path("supervisor.lock"), timeout=_LOCK_SECONDS)
        if not lock.acquire():
            return
        try:
            # the one before may have just ended the job, and its run been moved away: no outcome is here then
            if read_outcome(self.job_dir) is None and os.path.isdir(self.job_dir):
                earlier = read_record(self._path("supervisor.json")) or {}
                before = earlier.get("starts")
                starts = (before if isinstance(before, int) else 0) + 1
                self.started_at = str(earlier.get("at") or self.started_at)
                me = processes.this_process().as_dict()
                write_json(
                    self._path("supervisor.json"),
                    {**me, "at": self.started_at, "starts": starts, "core_version": VERSION},
                )
                outcome = self._outcome(starts)
                # before anybody knows that the job has ended: what comes next may want Ollama
                for problem in GpuLease(self.layout, self.job_dir, self.ctx.toolchain).restore():
                    self._note(problem)
                outcome.update(started_at=self.started_at, finished_at=utc_now())
                sweep(self.job_dir)
                write_json(self._path("outcome.json"), outcome)
        finally:
            lock.release()

    def _outcome(self, starts: int) -> dict[str, t.Any]:
        try:
            if starts > MAX_STARTS:
                raise JobError(f"Given up: the supervisor of this job was lost {MAX_STARTS} times.")
            with disk_errors(self.ctx.work):
                return {"state": SUCCEEDED, "results": self._make()}
        except Exception as error:
            if not isinstance(error, CoreError):
                traceback.print_exc()
            error = self._blame(error)
            told = as_error(error)
            state = CANCELLED if self._cancelled() and isinstance(error, CoreError) else FAILED
            try:
                self.runner.clear(self.job_dir)
            except CoreError as stuck:
                told = {**told, "message": f"{told['message']} {stuck.message}"}
            return {"state": state, "error": told}

    def _blame(self, error: Exception) -> Exception:
        """The error to tell of a failure: what another node told, where this one only failed along with it."""
        link, self._link = self._link, None
        if link is None or isinstance(error, NodeLost):
            return error
        told = as_error(error)
        echo = is_echo(tail_lines(self._path("log.txt"), 200)) and not self._cancelled()
        link.tell(str(told["message"]), str(told["hint"]), echo)
        other = link.news() if echo else None
        link.close()
        return other or error

    def _cancelled(self) -> bool:
        return os.path.exists(os.path.join(os.path.dirname(self.job_dir), "cancel.json"))

    def _make(self) -> dict[str, t.Any]:
        spec = self.ctx.spec
        if not artifact_defect(self.layout, spec.kind, spec.fingerprint) and not self.step.drift(self.ctx):
            self.runner.clear(self.job_dir)
            results = dict((self.layout.receipt(spec.kind, spec.fingerprint) or {}).get("results") or {})
        else:
            make_dirs(self.ctx.work)
            results = self._run_and_publish()
        remove_tree(self.ctx.work)  # what was left of it when it was published
        sweep(self.layout.parent(spec.kind))
        return results

    def _run_and_publish(self) -> dict[str, t.Any]:
        probe = self.runner.refresh(self.job_dir)
        if probe.state != "absent" and self._new_link() is not None:
            raise JobError(
                "The supervisor of this node's part of the training was lost, and with it the line to the other nodes.",
                "Apply again.",
            )
        if probe.state == "running":
            self._note("The command still runs: following it.")
            probe = self._wait()
        if probe.state == "ended" and probe.exit_code is None:
            # nobody saw it end: what it left tells whether it had come to its end
            if read_record(self._path("error.json")):
                raise self._failure(probe)
            try:
                return self._publish(self.step.finish(self.ctx))
            except DiskFullError:
                raise
            except Exception:  # it is not whole, in whatever way
                self._note("The command was lost with its supervisor: starting it again.")
            self.runner.forget(self.job_dir)
            probe = Probe("absent")
        if probe.state == "absent":
            probe = self._start_and_wait()
        if probe.exit_code != 0:
            raise self._failure(probe)
        if self._link is not None:
            self._link.done()
        return self._publish(self.step.finish(self.ctx))

    def _new_link(self) -> Link | None:
        return self.step.link(self.ctx, f"{self.run.id}:{self.run.round}")

    def _start_and_wait(self) -> Probe:
        if self._cancelled():
            raise JobError(f"{self.step.kind} was cancelled before it began.")
        if os.path.exists(self._path("error.json")):
            os.unlink(self._path("error.json"))
        self._link = self._new_link()
        if self._link is not None:
            self._meet(self._link)
        if self.step.on_gpu(self.ctx):
            self._wait_for_gpu()
        command: Command | None = self.step.command(self.ctx)
        if command is None:
            return Probe("ended", 0)
        if self._link is not None:
            with self._waiting():
                self._link.ready(self._pause)
        self._hand_over(command)
        self.runner.start(command, self.job_dir)
        return self._wait()

    def _hand_over(self, command: Command) -> None:
        """Give what was made ready to the user that the command will run as, where that is not us."""
        owner = foreign_owner(self.ctx.work)
        if owner is not None:
            for path in (self.job_dir, self.ctx.work, self.layout.path("cache")):
                give_to_owner(path, deep=True)
            if command.container is None:
                owner.require([("-w", self.ctx.work), ("-w", self.job_dir)])

    def _meet(self, link: Link) -> None:
        """Come together with the other nodes. Where they have nothing to do any more, they are let go."""
        with self._waiting():
            agreed = link.meet(self._pause)
        if agreed.trained:
            link.done()
            link.close()
            self._link = None

    @contextlib.contextmanager
    def _waiting(self) -> t.Iterator[None]:
        """While somebody is waited for (:meth:`_wait_for`)."""
        self._told = ""
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(WAITING))

    def _wait_for(self, words: str, seconds: float) -> None:
        """Tell what is waited for, and wait for it for a moment.

        :raises JobError: when the run is cancelled meanwhile.
        """
        if words != self._told:
            self._note(f"Waiting for {words}.")
            write_json(self._path(WAITING), {"for": words, "since": utc_now()})
            self._told = words
        if self._cancelled():
            raise JobError(f"{self.step.kind} was cancelled before it began.")
        if self._link is not None:
            self._link.check()
        time.sleep(seconds)

    def _pause(self, words: str) -> None:
        self._wait_for(words, _POLL_SECONDS)

    def _wait_for_gpu(self) -> None:
        """Wait until no stranger computes on the GPU, then have those give way who do for a training.

        :raises JobError: when the run is cancelled meanwhile.
        """
        lease = GpuLease(self.layout, self.job_dir, self.ctx.toolchain)
        lease.look()
        with self._waiting():
            while True:
                words = gpu_users.foreign_processes(lease.covers)
                if not words:
                    break
                self._wait_for(words, _GPU_SECONDS)
        for line in lease.take():
            self._note(line)

    def _wait(self) -> Probe:
        while True:
            probe = self.runner.refresh(self.job_dir)
            if probe.state != "running":
                return probe
            if not os.path.isdir(self.job_dir):
                raise StoreError(f"The job's directory {self.job_dir} was taken away while it ran.")
            if self._cancelled():
                self._stop()
            elif self._link is not None:
                self._link.check()
            time.sleep(_POLL_SECONDS)

    def _stop(self) -> None:
        now = time.monotonic()
        if self._stop_deadline is None:
            self._note("Asked to stop.")
            grace = self.step.stop(self.ctx, lambda number: self.runner.signal(self.job_dir, number))
            self._stop_deadline = now + grace
        elif now > self._stop_deadline:
            self._note("It did not stop in time: killed.")
            self.runner.clear(self.job_dir)
            self._stop_deadline = now + 3600

    def _failure(self, probe: Probe) -> CoreError:
        details: dict[str, t.Any] = {"exit_code": probe.exit_code, "log": self._path("log.txt")}
        if self._cancelled():
            return JobError(f"{self.step.kind} was cancelled.", "", details)
        recorded = read_record(self._path("error.json"))
        if recorded:
            more = recorded.get("details")
            return JobError(
                str(recorded.get("message")),
                str(recorded.get("hint", "")),
                {**(more if isinstance(more, dict) else {}), **details},
            )
        tail = tail_lines(self._path("log.txt"), 40)
        message, hint = self.step.explain(tail)
        code = probe.exit_code or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        details["log_tail"] = tail[-15:]
        free = free_bytes(self.ctx.work)
        if free < _TIGHT_BYTES or any("No space left on device" in line for line in tail):
            full = f"The disk is full: {gigabytes(free)} free at {self.ctx.work}."
            message = full if message == "The disk is full." else f"{message} {full}"
            hint = "Make room on that filesystem and run again: what was finished before is kept."
            details["free_bytes"] = free
        elif probe.out_of_memory:
            limit = self.run.toolchain.memory_limit if self.runner.name == "docker" else ""
            message += " The kernel ended a process for want of memory (RAM) while it ran"
            message += f": its container may use {limit} (memory_limit)." if limit else "."
            hint = " ".join(dict.fromkeys((RAM_HINT, hint)))
        return JobError(f"{self.step.kind} {how}: {message}", hint, details)

    def _publish(self, results: dict[str, t.Any]) -> dict[str, t.Any]:
        spec, work = self.ctx.spec, self.ctx.work
        argv = (read_record(self._path("command.json")) or {}).get("argv", [])
        sweep(work, deep=True)
        made = {**spec.as_dict(), "results": results}
        card = model_card(self.layout, made)
        if card:
            write_atomic(os.path.join(work, CARD), card)
        files = {}
        for name in list_files(work, skip=(RECEIPT,)):
            path = os.path.join(work, name)
            stat = os.stat(path)
            files[name] = {"bytes": stat.st_size, "sha256": sha256_file(path), "mtime_ns": stat.st_mtime_ns}
        receipt = {
            **made,
            "schema": 1,
            "files": files,
            "command": argv,
            "run": self.run.id,
            "job": os.path.basename(self.job_dir),
            "started_at": self.started_at,
            "finished_at": utc_now(),
            "core_version": VERSION,
        }
        write_json(os.path.join(work, RECEIPT), receipt)
        final = self.layout.artifact(spec.kind, spec.fingerprint)
        if os.path.isdir(final):  # pruned, damaged, or its copy outside drifted: it makes room for the whole one
            remove_tree(final)
        publish_dir(work, final)
        return results

    def _note(self, text: str) -> None:
        log_line(f"{utc_now()} {text}")


def start_next(layout: Layout) -> str | None:
    """Start what is next: nobody else may be there to do it, so not only once.

    :returns: the directory of a job that is left to this process.
    """
    reconciler = Reconciler(layout, idle=True)
    for attempt in range(_NEXT_ATTEMPTS):
        try:
            reconciler.reconcile()
            break
        except CoreError as error:
            log_line(f"{utc_now()} What is next could not be started: {error}")
        if reconciler.mine is not None:
            break
        time.sleep(_NEXT_SECONDS * 2**attempt)
    return reconciler.mine


def write_to(log: str) -> None:
    """Have all that this process says go to the end of another file."""
    sys.stdout.flush()
    sys.stderr.flush()
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)
    give_to_owner(log)


def main(job_dir: str) -> int:
    """Supervise the job, then start what is next: the one job after the other, as long as they are left to us."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a shell in the background, or nohup, had them ignored
    os.umask(0o022)
    following: str | None = job_dir
    while following is not None:
        supervisor = Supervisor(following)
        try:
            supervisor.supervise()
        except DiskFullError as error:
            log_line(f"{utc_now()} {error}")
            return 1
        following = start_next(supervisor.layout)
        if following is not None:
            write_to(os.path.join(following, "supervisor.log"))
    return 0
