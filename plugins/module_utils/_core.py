# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core: supervisors outlive the module that started them, so they run from a copy on the host.

Ansible deletes a module's code when the module ends. The copy lies under ``core/VERSION-DIGEST`` of the data
directory, is published by one rename and never changed: a job goes on with the code it was started with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import types
import typing as t

from ._errors import NotReadyError
from ._files import publish_dir
from ._layout import Layout

VERSION = "0.1.0"

#: The name under which the installed copy is imported.
PACKAGE = "ia_homelab_core"


def _modules() -> tuple[types.ModuleType, ...]:
    """All modules of the core. A test holds this list to the directory."""
    # Written as imports so that Ansible, which ships only what a module imports, ships all of it.
    from . import (
        _chain,
        _core,
        _engine,
        _errors,
        _files,
        _fingerprint,
        _flow,
        _layout,
        _process,
        _progress,
        _runner,
        _runner_process,
        _step_probe,
        _steps,
        _store,
        _supervisor,
        _view,
        _worker,
    )

    return (
        _chain,
        _core,
        _engine,
        _errors,
        _files,
        _fingerprint,
        _flow,
        _layout,
        _process,
        _progress,
        _runner,
        _runner_process,
        _step_probe,
        _steps,
        _store,
        _supervisor,
        _view,
        _worker,
    )


_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HF_ENDPOINT")


def clean_environment() -> dict[str, str]:
    """The part of this process's environment that jobs inherit: an allowlist, so that no secret slips in."""
    kept = {}
    for name, value in os.environ.items():
        if (
            name in _INHERITED
            or name in _CERTIFICATES
            or name.lower() in _PROXIES
            or name.startswith(_INHERITED_PREFIXES)
        ):
            kept[name] = value
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    kept.setdefault("HOME", os.path.expanduser("~"))
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    return kept


def _sources() -> dict[str, bytes]:
    found = {}
    for module in _modules():
        loader: t.Any = getattr(module.__spec__, "loader", None)
        source = loader.get_source(module.__name__) if loader else None
        if not source:
            raise NotReadyError(f"The source of {module.__name__} cannot be read.")
        found[module.__name__.rpartition(".")[2] + ".py"] = source.encode("utf-8")
    return found


def install(layout: Layout) -> str:
    """Put a copy of this very core under the data directory, unless it is there.

    :returns: the directory to put on ``PYTHONPATH``.
    """
    if (__package__ or "") == PACKAGE:
        return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources = _sources()
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    final = layout.path("core", f"{VERSION}-{digest.hexdigest()[:12]}")
    if os.path.isdir(final):
        return final
    os.makedirs(layout.path("core"), exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=".new-", dir=layout.path("core"))
    package = os.path.join(fresh, PACKAGE)
    os.makedirs(package)
    for name, data in {**sources, "__init__.py": b""}.items():
        with open(os.path.join(package, name), "wb") as stream:
            stream.write(data)
    os.chmod(fresh, 0o755)
    publish_dir(fresh, final)
    return final


def _under_systemd() -> bool:
    return os.geteuid() == 0 and os.path.isdir("/run/systemd/system") and shutil.which("systemd-run") is not None


def spawn(core_dir: str, python: str, module: str, argument: str, log: str, unit: str) -> None:
    """Start a module of the installed core so that it outlives the caller, its session and the SSH connection.

    As root under systemd it becomes a transient unit (``KillMode=process``: the supervisor looks after its own
    command); elsewhere a process of a session of its own whose parent has gone.

    :param argument: its one argument.
    :param log: file its output is appended to.
    :param unit: name of the unit.
    :raises NotReadyError: when it cannot be started.
    """
    env = {**clean_environment(), "PYTHONPATH": core_dir}
    argv = [python, "-m", f"{PACKAGE}.{module}", argument]
    if _under_systemd():
        settings = [f"--setenv={name}={value}" for name, value in env.items()]
        result = subprocess.run(
            ["systemd-run", "--quiet", "--collect", "--no-block", f"--unit={unit}", "--property=KillMode=process",
             f"--property=StandardOutput=append:{log}", f"--property=StandardError=append:{log}",
             *settings, "--", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        if result.returncode == 0:
            return
    with open(log, "ab") as stream:
        try:
            # the shell ends at once: what it leaves behind belongs to nobody's process tree
            subprocess.run(
                ["/bin/sh", "-c", '"$0" "$@" &', *argv],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=env, cwd="/",
                start_new_session=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotReadyError(f"The supervisor could not be started: {error}.") from error


def this_python() -> str:
    """The interpreter that runs this code, for supervisors to run with."""
    return sys.executable
