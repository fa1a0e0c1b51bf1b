# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step's own work as a job's command, ``python -m PACKAGE._perform JOB_DIR``.

So that it can be watched, stopped and killed as any other command.
"""

from __future__ import annotations

import os
import sys

from ._owner import heir
from ._steps import Command, StepContext

#: The name under which the installed copy of the core is imported.
PACKAGE = "ia_homelab_core"

#: The core takes nothing but the standard library.
_SYSTEM_PYTHON = "/usr/bin/python3"

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


def worker_command(ctx: StepContext) -> Command:
    """The command that performs a step in a process of its own."""
    package = __package__ or ""
    root = os.path.abspath(__file__)
    for _part in package.split("."):
        root = os.path.dirname(root)
    env = {**clean_environment(), **ctx.toolchain.environment, "PYTHONPATH": os.path.dirname(root)}
    env["PYTHONUNBUFFERED"] = "1"
    return Command([_python(ctx), "-m", f"{package}._perform", ctx.job_dir], env, os.path.dirname(root))


def _python(ctx: StepContext) -> str:
    """The interpreter that runs this code; the system's, where the one whom it has to run for reaches only that."""
    owner = heir(ctx.job_dir)
    if owner is not None and owner.refused([("-x", sys.executable)]) and not owner.refused([("-x", _SYSTEM_PYTHON)]):
        return _SYSTEM_PYTHON
    return sys.executable
