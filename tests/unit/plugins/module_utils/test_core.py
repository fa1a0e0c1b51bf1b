# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core, and processes that outlive who started them."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _core, _process, _worker
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._files import FileLock
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import forked, in_child, until

HERE = Path(_core.__file__).parent

#: The edge to Ansible is no part of the core.
EDGES = {"_edge", "_module"}


def test_the_core_is_all_of_the_directory_but_its_edge() -> None:
    listed = list(_core.module_names())
    assert [module.__name__.rpartition(".")[2] for module in _core._modules()] == listed
    assert listed == sorted(listed)
    assert set(listed) == {path.stem for path in HERE.glob("_*.py") if path.stem != "__init__"} - EDGES


def test_it_is_installed_once_and_works_from_there(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    core_dir = _core.install(layout)
    assert Path(core_dir).parent == tmp_path / "core"
    assert Path(core_dir).name.startswith(_core.VERSION + "-")
    before = {path: path.stat().st_mtime_ns for path in Path(core_dir).rglob("*")}
    assert _core.install(layout) == core_dir
    assert {path: path.stat().st_mtime_ns for path in Path(core_dir).rglob("*")} == before
    for path in before:
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    for module in _core.module_names():
        name = f"{module}.py"
        assert Path(core_dir, _core.PACKAGE, name).read_bytes() == (HERE / name).read_bytes()
    code = (
        f"from {_core.PACKAGE} import _core, _engine, _layout, _supervisor, _perform\n"
        f"assert _core.install(_layout.Layout('/nowhere')) == {core_dir!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": core_dir}, cwd="/", check=True)


def test_the_one_the_training_service_runs_from_is_copied(tmp_path: Path) -> None:
    """The next upgrade of the service replaces its code; a job goes on with the code it was started with."""
    core_dir = _core.install(Layout(str(tmp_path / "data")))
    shutil.copytree(Path(core_dir, _core.PACKAGE), tmp_path / "lib" / _core.PACKAGE)
    other = str(tmp_path / "other")
    code = f"from {_core.PACKAGE} import _core, _layout\nprint(_core.install(_layout.Layout({other!r})))"
    env = {"PYTHONPATH": str(tmp_path / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "other" / "core" / Path(core_dir).name)


def test_a_core_somebody_broke_is_put_back(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    core_dir = Path(_core.install(layout))
    shutil.rmtree(core_dir / _core.PACKAGE)
    assert not _core.is_installed(str(core_dir))
    assert _core.install(layout) == str(core_dir)
    assert _core.is_installed(str(core_dir))
    assert os.listdir(tmp_path / "core") == [core_dir.name]


def test_another_content_gets_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(str(tmp_path))
    first = _core.install(layout)
    sources = {**_core._sources(), "_run.py": b"# changed\n"}
    monkeypatch.setattr(_core, "_sources", lambda: sources)
    assert _core.install(layout) != first
    assert len(os.listdir(tmp_path / "core")) == 2


def test_an_install_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_core, "publish_dir", fails)
    with pytest.raises(OSError, match="No space"):
        _core.install(Layout(str(tmp_path)))
    assert os.listdir(tmp_path / "core") == []


def test_two_at_once_come_to_the_same(tmp_path: Path) -> None:
    children = [forked(lambda: _core.install(Layout(str(tmp_path)))) for _child in range(4)]
    for pid in [child.__enter__() for child in children]:
        assert os.waitpid(pid, 0)[1] == 0
    assert len(os.listdir(tmp_path / "core")) == 1


def test_jobs_inherit_what_they_need_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HF_TOKEN": "canary", "AWS_SECRET_ACCESS_KEY": "canary", "PYTHONPATH": "/x", "ANSIBLE_X": "1",
        "CUDA_VISIBLE_DEVICES": "0", "https_proxy": "http://proxy", "HTTPS_PROXY": "http://proxy", "LANG": "C.UTF-8",
        "SSL_CERT_FILE": "/certs",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    kept = _worker.clean_environment()
    assert "canary" not in kept.values()
    assert {"PYTHONPATH", "ANSIBLE_X"} & set(kept) == set()
    assert {"PATH", "HOME", "CUDA_VISIBLE_DEVICES", "https_proxy", "HTTPS_PROXY", "LANG", "SSL_CERT_FILE"} <= set(kept)
    for name in ("PATH", "HOME"):
        monkeypatch.delenv(name)
    kept = _worker.clean_environment()
    assert kept["PATH"] and kept["HOME"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installed core with one module that says who it is and stays a while."""
    folder = tmp_path / "core" / _core.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_stay.py").write_text(
        "import os, signal, sys, time\n"
        "print(os.getpid(), os.getppid(), os.getcwd(), os.environ.get('HF_TOKEN'), sys.path[0], flush=True)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)\n"
        "time.sleep(float(sys.argv[1]))\n"
    )
    return tmp_path / "core"


def said(log: Path) -> list[str]:
    end = time.monotonic() + 10
    while time.monotonic() < end and (not log.exists() or log.read_text().count("\n") < 2):
        time.sleep(0.01)
    return log.read_text().split()


def test_what_is_spawned_outlives_its_starter_and_is_nobody_s_child(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    log = tmp_path / "log"
    with FileLock(str(tmp_path / "lock")):

        def starter() -> dict[str, object]:
            identity = _core.spawn(str(package), sys.executable, "_stay", "30", str(log), "unit")
            assert identity is not None
            return identity.as_dict()

        told = in_child(starter)
        identity = _process.Identity.from_dict(told)
        assert identity is not None
        pid, parent, folder, token, first = said(log)[:5]
        assert int(pid) == identity.pid, "it is known for certain, at once"
        assert _process.alive(identity)
        assert int(parent) != os.getpid()
        assert (folder, first, token) == (str(package), str(package), "None")
        assert os.getsid(identity.pid) not in (identity.pid, os.getsid(0))
        opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert str(tmp_path / "lock") not in opened
    os.kill(identity.pid, 9)
    end = time.monotonic() + 5
    while _process.alive(identity) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _process.alive(identity)


def test_a_long_lived_starter_gets_no_zombies(package: Path, tmp_path: Path) -> None:
    def starter() -> list[str]:
        for _time in range(3):
            _core.spawn(str(package), sys.executable, "_stay", "0", str(tmp_path / "log"), "unit")
        end = time.monotonic() + 5
        while (tmp_path / "log").read_text().count("\n") < 6 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        try:
            return [str(os.waitpid(-1, os.WNOHANG))]
        except ChildProcessError:
            return []

    assert in_child(starter) == []


def test_an_interpreter_that_is_not_there_says_so_in_the_log(package: Path, tmp_path: Path) -> None:
    identity = _core.spawn(str(package), "/nowhere/python", "_stay", "0", str(tmp_path / "log"), "unit")
    until(lambda: identity is None or not _process.alive(identity), 60)
    assert "/nowhere/python" in (tmp_path / "log").read_text()


def test_a_core_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="could not be started"):
        _core.spawn(str(tmp_path / "nowhere"), sys.executable, "_stay", "0", str(tmp_path / "log"), "unit")


# -- under systemd (stand-ins for its two commands: there is no systemd where this runs) ---------------------------


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands called systemd-run and systemctl that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    keep = f'for word; do case $word in *EnvironmentFile=*) cp -p "${{word##*=}}" "{tmp_path}/kept.env" ;; esac; done'
    for name, then in (("systemd-run", f'{keep}\nexit "${{FAIL:-0}}"'), ("systemctl", "echo 4194300")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> "{tmp_path}/{name}.called"; done\n{then}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(_core, "_under_systemd", lambda: True)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_core, "_RUN", str(tmp_path / "run"))
    return tmp_path


def test_a_unit_of_its_own_and_its_variables_for_root_alone(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:canary@proxy")
    assert _core.spawn(str(package), sys.executable, "_stay", "0", str(systemd / "log"), "unit-1") is None
    called = (systemd / "systemd-run.called").read_text().splitlines()
    assert {"--unit=unit-1", "--collect", "--property=KillMode=process"} <= set(called)
    assert called[-4:] == [sys.executable, "-m", f"{_core.PACKAGE}._stay", "0"]
    assert not [word for word in called if "canary" in word]
    kept = systemd / "kept.env"
    assert 'https_proxy="http://user:canary@proxy"' in kept.read_text().splitlines()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert list((systemd / "run").iterdir()) == [], "it is there for as long as the unit is being started"
    assert "unit-1.service" in (systemd / "systemctl.called").read_text()


def test_variables_are_written_as_systemd_reads_them() -> None:
    """Read back by systemd 249 and 257 as they were."""
    env = {"A": "plain", "B": 'a "quote", a \\ and $HOME', "C": "two\nlines", "D": " blanks ", "E": "", "F": "tail\\"}
    assert _core.environment_file(env) == (
        'A="plain"\nB="a \\"quote\\", a \\\\ and $HOME"\nC="two\nlines"\nD=" blanks "\nE=""\nF="tail\\\\"\n'
    )


def test_where_there_is_no_room_for_them_it_is_a_plain_process(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "_RUN", str(systemd / "full"))
    _core.spawn(str(package), sys.executable, "_stay", "0", str(systemd / "log"), "unit-1")
    assert said(systemd / "log")
    assert not (systemd / "systemd-run.called").exists()


def test_a_unit_that_was_started_is_not_started_a_second_time(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where somebody has taken the file of its variables away meanwhile."""
    program = systemd / "bin" / "systemd-run"
    text = program.read_text().replace("\nexit ", f'\nrm "{systemd}"/run/*\nexit ')
    program.write_text(text)
    begun: list[str] = []
    monkeypatch.setattr(_core, "_spawn_orphan", lambda argv, *_: begun.extend(argv) or 4194300)
    _core.spawn(str(package), sys.executable, "_stay", "0", str(systemd / "log"), "unit-1")
    assert (systemd / "systemd-run.called").exists()
    assert list((systemd / "run").iterdir()) == []
    assert begun == []


def test_where_systemd_refuses_it_is_a_plain_process(
    systemd: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "1")
    _core.spawn(str(package), sys.executable, "_stay", "0", str(systemd / "log"), "unit-1")
    assert said(systemd / "log")


def test_no_import_of_the_core_is_left_out_of_a_module_s_package() -> None:
    """Ansible ships what it finds by reading imports: each module of the core has to be named in one."""
    tree = ast.parse((HERE / "_core.py").read_text())
    named = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.module
        for alias in node.names
    }  # fmt: skip
    assert {path.stem for path in HERE.glob("_*.py") if path.stem != "__init__"} - EDGES <= named
