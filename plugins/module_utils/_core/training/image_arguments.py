# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a LLaMA-Factory takes that is in an image: asked once per image, in a container without network or mounts."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..runs.spec import Toolchain
from ..system.docker import DockerEngine
from ..system.files import make_dirs, write_atomic
from . import llamafactory_arguments


def installed(
    layout: Layout, toolchain: Toolchain, write: bool
) -> str | t.Callable[[], llamafactory_arguments.LfArguments]:
    """How to ask the LLaMA-Factory of a toolchain for its arguments (see :func:`llamafactory_arguments.check`).

    :param write: whether the answer may be kept: an image's content never changes.
    """
    if not toolchain.llamafactory_image:
        return toolchain.llamafactory_venv
    return lambda: _in_image(layout, toolchain, write)


def _in_image(layout: Layout, toolchain: Toolchain, write: bool) -> llamafactory_arguments.LfArguments:
    name = toolchain.llamafactory_image
    engine = DockerEngine(toolchain.docker_host)
    image = engine.image(name)
    if image is None:
        raise NotReadyError(f"The Docker engine has no image {name!r}.", f"Get it with 'docker pull {name}'.")
    kept = layout.path("cache", "images", f"{str(image['Id']).rpartition(':')[2][:32]}.json")
    where = f"the image {name}"
    try:
        with open(kept, "rb") as stream:
            return llamafactory_arguments.parse(stream.read(), where)
    except (FileNotFoundError, NotReadyError):
        pass
    script = 'PATH=${0:+$0:}$PATH exec python3 -I -c "$1"'
    told = engine.output(
        name, ["/bin/sh", "-c", script, toolchain.image_path, llamafactory_arguments.program()], toolchain.mounts
    )
    found = llamafactory_arguments.parse(told, where)
    if write:
        make_dirs(os.path.dirname(kept))
        write_atomic(kept, told)
    return found
