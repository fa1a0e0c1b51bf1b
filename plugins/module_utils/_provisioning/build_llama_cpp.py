# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command that builds llama.cpp in a container image, with the sources, options and checks of a host.

The build context contains this package, the errors of the core beside it, and the lock files:

    python3 -m module_utils._provisioning.build_llama_cpp --tools-dir DIR --requirements-dir DIR [--index-url URL]
"""

from __future__ import annotations

import argparse
import sys
import typing as t

from .._core.errors import CoreError
from .installation import install
from .toolchain import Settings, Toolchain, read_pins


def main(arguments: t.Sequence[str]) -> int:
    """Build llama.cpp and print its directory.

    :returns: the exit status: 1 if it cannot be built, with the reason on standard error.
    """
    parser = argparse.ArgumentParser(prog="build_llama_cpp", description="Build llama.cpp.")
    parser.add_argument("--tools-dir", required=True, help="directory that llama.cpp is built below")
    parser.add_argument("--requirements-dir", required=True, help="directory of the lock files")
    parser.add_argument("--index-url", default="", help="package index (that of pip's configuration)")
    options = parser.parse_args(arguments)
    toolchain = Toolchain(Settings(options.tools_dir, read_pins(options.requirements_dir), accelerator="cpu"))
    try:
        install(toolchain, ["llama_cpp"], options.requirements_dir, index_url=options.index_url)
    except CoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(toolchain.components["llama_cpp"].path + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
