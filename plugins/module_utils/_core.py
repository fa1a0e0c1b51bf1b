# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core: supervisors outlive the module that started them, so they run from a copy on the host.

Ansible deletes a module's code when the module ends. The copy lies under ``core/VERSION-DIGEST`` of the data
directory, is published by one rename and never changed: a job goes on with the code it was started with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import types
import typing as t

from ._errors import NotReadyError
from ._files import NEW, aside, discard, make_dirs, make_temporary_dir, publish_dir, remove_tree, sweep
from ._layout import Layout
from ._owner import give
from ._process import Identity, identify
from ._version import VERSION
from ._worker import PACKAGE, clean_environment


def _modules() -> tuple[types.ModuleType, ...]:
    """All modules of the core. A test holds this list to the directory. Nobody calls it."""
    # Written as imports so that Ansible, which ships only what a module imports, ships all of it.
    from . import (
        _chain,
        _checkpoints,
        _console,
        _core,
        _daemon_json,
        _dataset,
        _dataset_compare,
        _dataset_findings,
        _dataset_forms,
        _dataset_info,
        _dataset_json,
        _dataset_kinds,
        _dataset_problems,
        _dataset_read,
        _dataset_render,
        _dataset_rows,
        _dataset_sources,
        _dataset_split,
        _dataset_text,
        _dataset_turns,
        _dataset_versions,
        _docker_engine,
        _engine,
        _errors,
        _evaluate,
        _explain,
        _export,
        _files,
        _finetune,
        _finetune_made,
        _finetune_nodes,
        _fingerprint,
        _flow,
        _gate,
        _gguf,
        _gpu,
        _gpu_guests,
        _gpu_loan,
        _host,
        _hub,
        _hub_client,
        _hub_download,
        _hyperparameters,
        _hyperparameters_table,
        _image_arguments,
        _layout,
        _length_program,
        _lf_arguments,
        _lf_arguments_program,
        _lf_program,
        _lineage,
        _listeners,
        _local_server,
        _memory,
        _memory_fit,
        _model_card,
        _models,
        _models_data,
        _models_dir,
        _node_line,
        _node_link,
        _nodes,
        _ollama,
        _ollama_text,
        _owner,
        _perform,
        _plan,
        _plan_causes,
        _plan_saved,
        _plan_text,
        _plan_time,
        _plans,
        _process,
        _progress,
        _reconcile,
        _regenerate,
        _release,
        _retention,
        _run,
        _runner,
        _runner_docker,
        _runner_process,
        _safetensors,
        _sizing,
        _stages,
        _step_base,
        _step_environment,
        _step_gguf,
        _step_gguf_adapter,
        _step_merge,
        _step_probe,
        _step_promote,
        _step_register,
        _step_retain,
        _step_train,
        _step_train_base,
        _step_train_node,
        _steps,
        _store,
        _supervisor,
        _templates,
        _token_program,
        _trainer_log,
        _truncation,
        _version,
        _versions,
        _view,
        _worker,
    )

    return (
        _chain,
        _checkpoints,
        _console,
        _core,
        _daemon_json,
        _dataset,
        _dataset_compare,
        _dataset_findings,
        _dataset_forms,
        _dataset_info,
        _dataset_json,
        _dataset_kinds,
        _dataset_problems,
        _dataset_read,
        _dataset_render,
        _dataset_rows,
        _dataset_sources,
        _dataset_split,
        _dataset_text,
        _dataset_turns,
        _dataset_versions,
        _docker_engine,
        _engine,
        _errors,
        _evaluate,
        _explain,
        _export,
        _files,
        _finetune,
        _finetune_made,
        _finetune_nodes,
        _fingerprint,
        _flow,
        _gate,
        _gguf,
        _gpu,
        _gpu_guests,
        _gpu_loan,
        _host,
        _hub,
        _hub_client,
        _hub_download,
        _hyperparameters,
        _hyperparameters_table,
        _image_arguments,
        _layout,
        _length_program,
        _lf_arguments,
        _lf_arguments_program,
        _lf_program,
        _lineage,
        _listeners,
        _local_server,
        _memory,
        _memory_fit,
        _model_card,
        _models,
        _models_data,
        _models_dir,
        _node_line,
        _node_link,
        _nodes,
        _ollama,
        _ollama_text,
        _owner,
        _perform,
        _plan,
        _plan_causes,
        _plan_saved,
        _plan_text,
        _plan_time,
        _plans,
        _process,
        _progress,
        _reconcile,
        _regenerate,
        _release,
        _retention,
        _run,
        _runner,
        _runner_docker,
        _runner_process,
        _safetensors,
        _sizing,
        _stages,
        _step_base,
        _step_environment,
        _step_gguf,
        _step_gguf_adapter,
        _step_merge,
        _step_probe,
        _step_promote,
        _step_register,
        _step_retain,
        _step_train,
        _step_train_base,
        _step_train_node,
        _steps,
        _store,
        _supervisor,
        _templates,
        _token_program,
        _trainer_log,
        _truncation,
        _version,
        _versions,
        _view,
        _worker,
    )


def module_names() -> tuple[str, ...]:
    """All modules of the core, by name: what :func:`_modules` would import, which takes half a second."""
    return _modules.__code__.co_varnames


def _sources() -> dict[str, bytes]:
    found = {"__init__.py": b""}
    for name in module_names():
        module = f"{__package__}.{name}"
        spec = importlib.util.find_spec(module)
        loader: t.Any = spec.loader if spec else None
        source = loader.get_source(module) if loader else None
        if not source:
            raise NotReadyError(f"The source of {module} cannot be read.")
        found[f"{name}.py"] = source.encode("utf-8")
    return found


def running_from() -> str:
    """The directory, as on ``PYTHONPATH``, that this very core lies in."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def install(layout: Layout) -> str:
    """Put a copy of this very core under the data directory, unless it is there.

    :returns: the directory to put on ``PYTHONPATH``.
    """
    mine = running_from()
    # one without the version in its name is the training service's own, which its next upgrade replaces
    if (__package__ or "") == PACKAGE and os.path.basename(mine).startswith(f"{VERSION}-"):
        return mine
    sources = _sources()
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    parent = layout.path("core")
    final = os.path.join(parent, f"{VERSION}-{digest.hexdigest()[:12]}")
    if is_installed(final):
        return final
    make_dirs(parent)
    sweep(parent)
    fresh = make_temporary_dir(aside(NEW), parent)
    try:
        os.chmod(fresh, 0o755)
        package = os.path.join(fresh, PACKAGE)
        make_dirs(package)
        for name, data in sources.items():
            path = os.path.join(package, name)
            with open(path, "wb") as stream:
                stream.write(data)
            os.chmod(path, 0o644)
        remove_tree(final)  # somebody took files out of it
        publish_dir(fresh, final)
    except BaseException:
        discard(fresh)
        raise
    return final


def is_installed(core_dir: str, module: str = "__init__") -> bool:
    """Whether a core lies there, and has that module: one of another version may name its modules otherwise."""
    return os.path.isfile(os.path.join(core_dir, PACKAGE, *module.split(".")) + ".py")


#: The module that supervises a job.
SUPERVISOR = "_supervisor"

_RUN = "/run"


def _under_systemd() -> bool:
    return os.geteuid() == 0 and os.path.isdir("/run/systemd/system") and shutil.which("systemd-run") is not None


def spawn(core_dir: str, python: str, module: str, argument: str, log: str, unit: str) -> Identity | None:
    """Start a module of the installed core so that it outlives the caller, its session and the SSH connection.

    As root under systemd it becomes a transient unit (``KillMode=process``: the supervisor looks after its own
    command); elsewhere a process of a session of its own whose parent has gone.

    :param argument: its one argument.
    :param log: file its output is appended to.
    :param unit: name of the unit.
    :returns: who it is; None when it has ended already.
    :raises NotReadyError: when it cannot be started.
    """
    env = {**clean_environment(), "PYTHONPATH": core_dir}
    argv = [python, "-m", f"{PACKAGE}.{module}", argument]
    os.close(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
    os.chmod(log, 0o644)
    give(log)
    pid = _spawn_unit(argv, env, log, unit) if _under_systemd() else None
    if pid is None:
        pid = _spawn_orphan(argv, env, log)
    return identify(pid)


def _spawn_unit(argv: list[str], env: dict[str, str], log: str, unit: str) -> int | None:
    plain: dict[str, t.Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True}
    # Neither an argument list nor the properties of a unit, which everybody may read, are a place for a proxy's
    # password; and what lies in /run is gone after a crash of the machine.
    variables = ""
    try:
        fd, variables = tempfile.mkstemp(prefix="ia-homelab-", suffix=".env", dir=_RUN)
        with os.fdopen(fd, "wb") as stream:
            stream.write(os.fsencode(environment_file(env)))
        started = subprocess.run(
            ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec",
             "--property=KillMode=process", "--property=OOMPolicy=continue", "--property=TasksMax=infinity",
             f"--property=WorkingDirectory={env['PYTHONPATH']}", f"--property=EnvironmentFile={variables}",
             f"--property=StandardOutput=append:{log}", f"--property=StandardError=append:{log}", "--", *argv],
            stdout=subprocess.DEVNULL, check=False, **plain,
        )  # fmt: skip
    except OSError:  # such as a full /run: nothing has been started
        return None
    finally:
        discard(variables)
    if started.returncode != 0:
        return None
    shown = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", f"{unit}.service"],
        stdout=subprocess.PIPE,
        check=False,
        **plain,
    )
    # 0 when it has ended already: no process has that id
    return int(shown.stdout.strip() or 0) if shown.returncode == 0 else 0


def environment_file(env: t.Mapping[str, str]) -> str:
    """Variables as systemd reads them from a file (``EnvironmentFile=`` in systemd.exec(5)): between double quotes, in
    which a backslash takes the meaning from a quote or a backslash, and a line break is one."""
    return "".join(
        '{}="{}"\n'.format(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in env.items()
    )


def _spawn_orphan(argv: list[str], env: dict[str, str], log: str) -> int:
    try:
        # the shell ends at once: what it leaves behind belongs to nobody's process tree, and nobody's zombie it will be
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >>"$0" 2>&1 & echo $!', log, *argv],
            stdin=subprocess.DEVNULL, capture_output=True,
            env=env, cwd=env["PYTHONPATH"], start_new_session=True, check=True, text=True,
        )  # fmt: skip
        return int(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise NotReadyError(f"The supervisor could not be started: {error}.") from error


def this_python() -> str:
    """The interpreter that runs this code, for supervisors to run with."""
    return sys.executable
