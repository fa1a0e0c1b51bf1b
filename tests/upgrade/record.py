# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record a store with the code of a checkout: ``python tests/upgrade/record.py CHECKOUT``.

Plays of that checkout train, promote, roll back, fail and cancel with the real tools (the variables that
``./test.sh tools`` prints have to be set). Then every process is killed, as a power failure would do. What is left is
packed into ``store.tar.xz``, and what the modules of that checkout report about it is written to ``expected.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path


def wait_for(what: t.Callable[[], t.Any], seconds: float = 240) -> t.Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def kill(*records: Path) -> None:
    """SIGKILL the processes that records of the store name, and the sessions they lead."""
    for record in records:
        pid = int(json.loads(record.read_text(encoding="utf-8"))["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if record.name == "command.json":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


class Recorder:
    """One history of a site, made with real plays."""

    def __init__(self, site: t.Any, declared: list[dict[str, t.Any]]) -> None:
        self.site = site
        self.declared = {each["name"]: each for each in declared}

    def apply(self, *finetunes: dict[str, t.Any], wait: bool = True) -> t.Any:
        """Apply a declaration of these fine-tunes alone."""
        more = json.dumps({"finetunes": finetunes, "finetune_wait": wait})
        return self.site.play("finetune", "-e", more)

    def job(self, name: str, label: str, file: str) -> Path | None:
        """A file of the first attempt at a step of an active run; None while it is not there."""
        return next((self.site.data / "jobs/active").glob(f"{name}-*/{label}-1/{file}"), None)

    def promote_and_roll_back(self) -> None:
        """Two versions, a third one whose gate fails in between, and a hold at the first."""
        model = self.declared["homelab-model"]
        first = {**model, "learning_rate": 0.002}
        self.apply(first).well()
        shut = {"prompts": [{"prompt": "Bonjour", "equals": "MOT SECRET"}], "options": {"num_predict": 8}}
        refused = self.apply({**first, "system": "Tu réponds en un mot.", "gate": shut})
        assert refused.status != 0 and "The gate is shut" in refused.output, refused.output[-3000:]
        self.apply(model).well()
        self.site.play("rollback", "-e", "finetune_name=homelab-model").well()

    def cancel_a_training(self) -> None:
        """A run that was cancelled after a checkpoint. Its fine-tune is not declared any more."""
        old = {**self.declared["draft-model"], "name": "old-model", "learning_rate": 0.0004, "epochs": 400}
        self.apply(old, wait=False).well()
        wait_for(lambda: list((self.site.data / "outputs/adapters").glob(".work-*/checkpoint-*/trainer_state.json")))
        self.site.play("cancel", "-e", "finetune_name=old-model").well()

    def fail_without_ollama(self) -> None:
        """A run that fails at its registration."""
        self.site.server.stop()
        failed = self.apply(self.declared["spare-model"])
        assert failed.status != 0 and "Ollama" in failed.output, failed.output[-3000:]
        self.site.server.start()

    def cut_the_power(self) -> None:
        """One run at its registration, one in its training and one in the queue, when everything is killed."""
        server = self.site.server.process
        os.killpg(server.pid, signal.SIGSTOP)  # so that a registration does not end before it is killed
        names = ("notes-model", "draft-model", "pocket-model")
        self.apply(*(self.declared[name] for name in names), wait=False).well()
        command = wait_for(lambda: self.job("notes-model", "register-q8_0", "command.json"))
        kill(command.with_name("supervisor.json"), command)
        training = wait_for(lambda: self.job("draft-model", "train", "command.json"))
        work = self.site.data / "outputs/adapters"
        fingerprint = next(
            step["spec"]["fingerprint"]
            for step in json.loads((training.parents[1] / "run.json").read_text("utf-8"))["steps"]
            if step["label"] == "train"
        )
        wait_for(lambda: list((work / f".work-{fingerprint}").glob("checkpoint-16/trainer_state.json")))
        kill(training.with_name("supervisor.json"), training)
        self.site.server.stop(hard=True)
        self.site.server.start()


def record_probes(root: Path) -> None:
    """A second data directory, with runs of trivial commands in every state. The imports are those of the checkout."""
    from probe_runs import probe_runs

    from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

    lab = Lab(root / "probes")
    lab.root.mkdir()
    go = lab.root / "go"
    runs = probe_runs(lab)
    lab.engine.submit(runs["cancelled"])
    lab.wait_for_command(runs["cancelled"])
    lab.engine.cancel(runs["cancelled"].id)
    assert lab.engine.follow(runs["cancelled"].id, timeout=30).state == "cancelled"
    assert lab.apply(runs["failed"]).state == "failed"
    go.touch()
    assert lab.apply(runs["done"]).state == "succeeded"
    go.unlink()
    lab.engine.submit(runs["interrupted"])
    lab.wait(lambda: any(entry.step == "interrupted-0" and entry.number == 3 for entry in lab.evidence()))
    lab.engine.submit(runs["light"])
    lab.engine.submit(runs["queued"])
    lab.wait(lambda: any(entry.step == "light-0" and entry.number == 3 for entry in lab.evidence()))
    lab.close()


def expectations(site: t.Any, checkout: Path) -> dict[str, t.Any]:
    """What the code that wrote the store reports about it."""
    schema = json.loads((site.data / "jobs/schema.json").read_text(encoding="utf-8"))["schema"]
    commit = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return {
        "commit": subprocess.run(commit, check=True, capture_output=True, text=True).stdout.strip(),
        "schema": schema,
        "core": next((site.data / "core").iterdir()).name,
        "supervisor": "ia_homelab_core.engine.supervisor",
        "plan": site.plan(),
        "tags": site.tags(),
        "trained": {name: receipt["finished_at"] for name, receipt in site.receipts("outputs/adapters").items()},
        **site.report(),
    }


def main(argv: t.Sequence[str] | None = None) -> int:
    """Record the store and what is expected of it."""
    parser = argparse.ArgumentParser(description="Record the store of tests/upgrade with the code of a checkout.")
    parser.add_argument("checkout", type=Path, help="a clean checkout of the version that shall have written it")
    parser.add_argument("--keep", action="store_true", help="leave the recorded directory where it is")
    arguments = parser.parse_args(argv)
    checkout = arguments.checkout.resolve()
    sys.path.insert(0, str(checkout / "playbooks" / "collections"))
    import store_lab
    import yaml

    from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

    assert checkout == store_lab.ROOT, f"{store_lab.ROOT} was imported instead"
    root = Path(store_lab.RECORDED)
    root.mkdir()
    site = store_lab.Site(root).equip()
    try:
        shape = ("--hidden", "64", "--ffn", "128", "--heads", "2", "--kv-heads", "1", "--vocabulary", "600")
        make_tiny_base(root / "models" / "tiny-base", *shape)
        inventory = root / "site" / "inventory" / "group_vars" / "pc_ia.yml"
        recorder = Recorder(site, yaml.safe_load(inventory.read_text(encoding="utf-8"))["finetunes"])
        site.server.start()
        recorder.promote_and_roll_back()
        recorder.cancel_a_training()
        recorder.fail_without_ollama()
        recorder.cut_the_power()
        record_probes(root)
        found = expectations(site, checkout)
        site.server.stop()
        store_lab.EXPECTED.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
        tools = [os.path.realpath(root / "tools" / name) for name in ("llamafactory", "converter", "llama.cpp")]
        here = {
            f"127.0.0.1:{site.server.port}": f"127.0.0.1:{store_lab.RECORDED_PORT}",
            **{path: f"/opt/tools/{Path(path).name.partition('-')[0]}" for path in tools},
            Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(): store_lab.NO_BOOT,
            sys.executable: "/usr/bin/python3",
        }
        of_this_machine = [
            rf"\b{re.escape(socket.gethostname())}\b",
            re.escape(os.path.expanduser("~/")),
            str(checkout),
        ]
        size = store_lab.pack(site, store_lab.ARCHIVE, here, re.compile("|".join(of_this_machine)))
        print(f"{store_lab.ARCHIVE}: {store_lab.ARCHIVE.stat().st_size} bytes, {size} unpacked")
    finally:
        site.server.stop(hard=True)
        site.kill()
        if not arguments.keep:
            shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
