# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates a home directory in which ansible-test needs only a package index.

Usage: ansible_test_home.py DIRECTORY, with the Python that has ansible-test.

* pip's settings of this user, including the environment, because ansible-test does not pass them on.
* The script that installs pip into a new environment; ansible-test would download it from another site.
"""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys

BOOTSTRAP = '''\
"""Stands in for get-pip: the pip that comes with Python, then the asked versions from the configured index."""

import os
import subprocess
import sys

env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], env=env, stdout=subprocess.DEVNULL)
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
subprocess.check_call(pip + asked, env=env)
'''


def pip_version() -> str:
    """The version of pip that this ansible-test requires."""
    from ansible_test._internal import python_requirements

    class Python:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"

    return str(python_requirements.get_venv_packages(Python())["pip"])


def pip_settings() -> configparser.RawConfigParser:
    """pip's settings: those of its files, overridden by the environment."""
    settings = configparser.RawConfigParser()
    lines = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True).splitlines()
    for line in lines:
        name, found, value = line.partition("=")
        section, _dot, key = name.rpartition(".")
        if not found or not section or key == "config-file":
            continue
        section = "global" if section == ":env:" else section
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, key, str(ast.literal_eval(value)))
    return settings


def main(home: str) -> None:
    """Write both files, readable only by the owner, because the URL of an index can contain a password."""
    script = f"get_pip_{pip_version().replace('.', '_')}.py"
    with open(os.path.join(home, ".ansible", "test", "cache", script), "w", encoding="utf-8") as file:
        file.write(BOOTSTRAP)
    path = os.path.join(home, ".config", "pip", "pip.conf")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        pip_settings().write(file)


if __name__ == "__main__":
    main(sys.argv[1])
