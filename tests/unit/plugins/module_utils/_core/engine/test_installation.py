# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core, and processes that outlive the process that started them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation, launcher
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import environment, processes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.locks import FileLock
from ansible_collections.ia_homelab.llamafactory.tests.support import probe_core
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import forked, in_child, until

CORE = Path(installation.__file__).parents[1]


@pytest.fixture(autouse=True)
def _shipped_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests install the core as it is shipped, without the steps of the tests."""
    monkeypatch.setattr(installation, "_sources", probe_core.shipped_sources)


def test_the_core_consists_of_all_files_of_its_directory() -> None:
    files = {path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py")}
    assert len(files) > 100
    assert set(installation._sources()) == {*files, "_supervisor.py"}
    names = installation.module_names()
    assert names == sorted(names)
    assert {name.replace(".", "/") + ".py" for name in names} == {
        name for name in files if not name.endswith("__init__.py")
    }


def test_no_step_of_the_tests_is_shipped(tmp_path: Path) -> None:
    """A step that runs any command is a way to run anything as the owner of the jobs."""
    code = (
        f"from {installation.PACKAGE}.artifacts.layout import PARENTS\n"
        f"from {installation.PACKAGE}.errors import InputError\n"
        f"from {installation.PACKAGE}.steps.registry import get_step\n"
        "assert get_step('train').kind == 'train'\n"
        "assert 'probe' not in PARENTS\n"
        "try:\n"
        "    get_step('probe')\n"
        "except InputError as error:\n"
        "    print(error.message)\n"
    )
    env = {"PYTHONPATH": installation.install(Layout(str(tmp_path))), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True, capture_output=True, text=True)
    assert process.stdout == "There is no step 'probe' that runs as a job.\n"


def test_the_core_is_installed_once_and_runs_from_the_copy(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    core_dir = installation.install(layout)
    assert Path(core_dir).parent == tmp_path / "core"
    assert Path(core_dir).name.startswith(installation.VERSION + "-")
    before = {path: path.stat().st_mtime_ns for path in Path(core_dir).rglob("*")}
    assert installation.install(layout) == core_dir
    assert {path: path.stat().st_mtime_ns for path in Path(core_dir).rglob("*")} == before
    for path in before:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    for path in CORE.rglob("*.py"):
        copied = Path(core_dir, installation.PACKAGE, path.relative_to(CORE))
        assert copied.read_bytes() == path.read_bytes()
    code = (
        f"from {installation.PACKAGE}.engine import engine, installation, supervisor, worker\n"
        f"from {installation.PACKAGE}.artifacts.layout import Layout\n"
        f"assert installation.install(Layout('/nowhere')) == {core_dir!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": core_dir}, cwd="/", check=True)


def test_the_core_of_the_training_service_is_copied(tmp_path: Path) -> None:
    """The next upgrade of the service replaces its code, but a job continues with the code it was started with."""
    core_dir = installation.install(Layout(str(tmp_path / "data")))
    shutil.copytree(Path(core_dir, installation.PACKAGE), tmp_path / "lib" / installation.PACKAGE)
    other = str(tmp_path / "other")
    code = (
        f"from {installation.PACKAGE}.artifacts.layout import Layout\n"
        f"from {installation.PACKAGE}.engine.installation import install\n"
        f"print(install(Layout({other!r})))"
    )
    env = {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True, capture_output=True, text=True)
    assert process.stdout.strip() == str(tmp_path / "other" / "core" / Path(core_dir).name)


def test_an_incomplete_core_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = installation.module_names()
    monkeypatch.setattr(installation, "module_names", lambda: [name for name in names if name != "main"])
    with pytest.raises(NotReadyError, match="a part of the core"):
        installation.install(Layout(str(tmp_path)))


def test_the_core_of_the_first_version_does_not_count_as_installed(tmp_path: Path) -> None:
    """It had no main.py: the command of the current version cannot start its supervisors."""
    old = tmp_path / installation.PACKAGE
    old.mkdir()
    (old / "__init__.py").touch()
    (old / "_supervisor.py").touch()
    assert not installation.is_installed(str(tmp_path))


def test_a_damaged_installation_is_restored(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    core_dir = Path(installation.install(layout))
    shutil.rmtree(core_dir / installation.PACKAGE)
    assert not installation.is_installed(str(core_dir))
    assert installation.install(layout) == str(core_dir)
    assert installation.is_installed(str(core_dir))
    assert os.listdir(tmp_path / "core") == [core_dir.name]


def test_different_content_gets_a_different_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(str(tmp_path))
    first = installation.install(layout)
    sources = {**installation._sources(), "runs/run.py": b"# changed\n"}
    monkeypatch.setattr(installation, "_sources", lambda: sources)
    assert installation.install(layout) != first
    assert len(os.listdir(tmp_path / "core")) == 2


def test_a_failed_installation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installation, "publish_dir", fails)
    with pytest.raises(OSError, match="No space"):
        installation.install(Layout(str(tmp_path)))
    assert os.listdir(tmp_path / "core") == []


def test_concurrent_installations_produce_one_copy(tmp_path: Path) -> None:
    children = [forked(lambda: installation.install(Layout(str(tmp_path)))) for _child in range(4)]
    for pid in [child.__enter__() for child in children]:
        assert os.waitpid(pid, 0)[1] == 0
    assert len(os.listdir(tmp_path / "core")) == 1


def test_jobs_inherit_required_variables_but_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HF_TOKEN": "canary", "AWS_SECRET_ACCESS_KEY": "canary", "PYTHONPATH": "/x", "ANSIBLE_X": "1",
        "CUDA_VISIBLE_DEVICES": "0", "https_proxy": "http://proxy", "HTTPS_PROXY": "http://proxy", "LANG": "C.UTF-8",
        "SSL_CERT_FILE": "/certs",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    inherited = environment.clean_environment()
    assert "canary" not in inherited.values()
    assert {"PYTHONPATH", "ANSIBLE_X"} & set(inherited) == set()
    assert {"PATH", "HOME", "CUDA_VISIBLE_DEVICES", "https_proxy", "HTTPS_PROXY", "LANG", "SSL_CERT_FILE"} <= set(
        inherited
    )
    for name in ("PATH", "HOME"):
        monkeypatch.delenv(name)
    inherited = environment.clean_environment()
    assert inherited["PATH"] and inherited["HOME"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installed core with one module that prints its process ids and its environment, and then sleeps."""
    folder = tmp_path / "core" / installation.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "main.py").write_text(
        "import os, signal, sys, time\n"
        "print(os.getpid(), os.getppid(), os.getcwd(), os.environ.get('HF_TOKEN'), sys.path[0], flush=True)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    return tmp_path / "core"


def log_words(log: Path) -> list[str]:
    end = time.monotonic() + 60
    while time.monotonic() < end and (not log.exists() or log.read_text().count("\n") < 2):
        time.sleep(0.01)
    return log.read_text().split()


def test_a_spawned_process_outlives_its_starter_and_is_reparented(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    log = tmp_path / "log"
    with FileLock(str(tmp_path / "lock")):

        def starter() -> dict[str, object]:
            identity = launcher.spawn(str(package), sys.executable, "stay", "30", str(log), "unit")
            assert identity is not None
            return identity.as_dict()

        identity = processes.Identity.from_dict(in_child(starter))
        assert identity is not None
        pid, parent, folder, token, first = log_words(log)[:5]
        assert int(pid) == identity.pid, "spawn must return the identity of the process itself"
        assert processes.alive(identity)
        assert int(parent) != os.getpid()
        assert (folder, first, token) == (str(package), str(package), "None")
        assert os.getsid(identity.pid) not in (identity.pid, os.getsid(0))
        opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert str(tmp_path / "lock") not in opened
    os.kill(identity.pid, 9)
    end = time.monotonic() + 60
    while processes.alive(identity) and time.monotonic() < end:
        time.sleep(0.01)
    assert not processes.alive(identity)


def test_a_long_lived_starter_gets_no_zombies(package: Path, tmp_path: Path) -> None:
    def starter() -> list[str]:
        for _time in range(3):
            launcher.spawn(str(package), sys.executable, "stay", "0", str(tmp_path / "log"), "unit")
        end = time.monotonic() + 60
        while (tmp_path / "log").read_text().count("\n") < 6 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        try:
            return [str(os.waitpid(-1, os.WNOHANG))]
        except ChildProcessError:
            return []

    assert in_child(starter) == []


def test_a_missing_interpreter_is_reported_in_the_log(package: Path, tmp_path: Path) -> None:
    identity = launcher.spawn(str(package), "/nowhere/python", "stay", "0", str(tmp_path / "log"), "unit")
    until(lambda: identity is None or not processes.alive(identity), 60)
    assert "/nowhere/python" in (tmp_path / "log").read_text()


def test_a_missing_core(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="could not be started"):
        launcher.spawn(str(tmp_path / "nowhere"), sys.executable, "stay", "0", str(tmp_path / "log"), "unit")


# -- under systemd (with fakes of its two commands, because the tests run without systemd) -------------------------


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fakes of systemd-run and systemctl that record their arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    keep = f'for word; do case $word in *EnvironmentFile=*) cp -p "${{word##*=}}" "{tmp_path}/kept.env" ;; esac; done'
    for name, then in (("systemd-run", f'{keep}\nexit "${{FAIL:-0}}"'), ("systemctl", "echo 4194300")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> "{tmp_path}/{name}.called"; done\n{then}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(launcher, "_under_systemd", lambda: True)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(launcher, "_RUN", str(tmp_path / "run"))
    return tmp_path


def test_the_variables_of_the_unit_are_readable_by_root_only(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:canary@proxy")
    assert launcher.spawn(str(package), sys.executable, "stay", "0", str(systemd / "log"), "unit-1") is None
    called = (systemd / "systemd-run.called").read_text().splitlines()
    assert {"--unit=unit-1", "--collect", "--property=KillMode=process"} <= set(called)
    assert called[-5:] == [sys.executable, "-m", f"{installation.PACKAGE}.main", "stay", "0"]
    assert not [word for word in called if "canary" in word]
    kept = systemd / "kept.env"
    assert 'https_proxy="http://user:canary@proxy"' in kept.read_text().splitlines()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list((systemd / "run").iterdir()) == [], "the file must exist only while the unit is started"
    assert "unit-1.service" in (systemd / "systemctl.called").read_text()


def test_variables_are_quoted_for_systemd() -> None:
    """systemd 249 and 257 read these lines back as the original values."""
    env = {"A": "plain", "B": 'a "quote", a \\ and $HOME', "C": "two\nlines", "D": " blanks ", "E": "", "F": "tail\\"}
    assert launcher.environment_file(env) == (
        'A="plain"\nB="a \\"quote\\", a \\\\ and $HOME"\nC="two\nlines"\nD=" blanks "\nE=""\nF="tail\\\\"\n'
    )


def test_without_space_in_run_a_plain_process_starts(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_RUN", str(systemd / "full"))
    launcher.spawn(str(package), sys.executable, "stay", "0", str(systemd / "log"), "unit-1")
    assert log_words(systemd / "log")
    assert not (systemd / "systemd-run.called").exists()


def test_a_started_unit_is_not_started_again(systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if another process has removed the file of its variables in the meantime."""
    program = systemd / "bin" / "systemd-run"
    text = program.read_text().replace("\nexit ", f'\nrm "{systemd}"/run/*\nexit ')
    program.write_text(text)
    started: list[str] = []
    monkeypatch.setattr(launcher, "_spawn_orphan", lambda argv, *_: started.extend(argv) or 4194300)
    launcher.spawn(str(package), sys.executable, "stay", "0", str(systemd / "log"), "unit-1")
    assert (systemd / "systemd-run.called").exists()
    assert list((systemd / "run").iterdir()) == []
    assert started == []


def test_a_refusal_of_systemd_starts_a_plain_process(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "1")
    launcher.spawn(str(package), sys.executable, "stay", "0", str(systemd / "log"), "unit-1")
    assert log_words(systemd / "log")
