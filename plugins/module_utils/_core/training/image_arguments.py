# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of a LLaMA-Factory in a container image: queried once per image, in a container without network access."""

from __future__ import annotations

import hashlib
import os
import typing as t

from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..runs.spec import Toolchain
from ..system.docker import DockerEngine
from ..system.files import make_dirs, write_atomic
from . import llamafactory_arguments


def arguments_source(
    layout: Layout, toolchain: Toolchain, write: bool
) -> str | t.Callable[[], llamafactory_arguments.LfArguments]:
    """Where to query LLaMA-Factory's arguments from, as :func:`llamafactory_arguments.check` expects it.

    :param write: whether the answer may be cached; an image's content never changes.
    :returns: the virtual environment, or a function that queries the image.
    """
    if not toolchain.llamafactory_image:
        return toolchain.llamafactory_venv
    return lambda: _query_image(layout, toolchain, write)


def _query_image(layout: Layout, toolchain: Toolchain, write: bool) -> llamafactory_arguments.LfArguments:
    name = toolchain.llamafactory_image
    engine = DockerEngine(toolchain.docker_host)
    image = engine.image(name)
    if image is None:
        raise NotReadyError("training.image_missing", image=name)
    program = hashlib.sha256(llamafactory_arguments.program_source().encode()).hexdigest()[:8]
    cache_file = layout.path("cache", "images", f"{str(image['Id']).rpartition(':')[2][:32]}-{program}.json")
    where = f"the image {name}"
    try:
        with open(cache_file, "rb") as stream:
            return llamafactory_arguments.parse(stream.read(), where)
    except (FileNotFoundError, NotReadyError):
        pass
    script = 'PATH=${0:+$0:}$PATH exec python3 -I -c "$1"'
    output = engine.output(
        name, ["/bin/sh", "-c", script, toolchain.image_path, llamafactory_arguments.program_source()], toolchain.mounts
    )
    arguments = llamafactory_arguments.parse(output, where)
    if write:
        make_dirs(os.path.dirname(cache_file))
        write_atomic(cache_file, output)
    return arguments
