# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the job store's schema.

A newer core reads an older store; an older core does not write to a newer one. Apart from :mod:`runs.store`, so that a
module that only has to check it does not ship the store.
"""

from __future__ import annotations

import os

from ..artifacts.layout import Layout
from ..errors import StoreError
from ..system.files import read_json, write_json

#: The schema that this core writes.
SCHEMA = 1


def check_schema(layout: Layout) -> int | None:
    """Return the schema of the job store, None if there is no store yet. Called before anything is written.

    :raises StoreError: when a newer core has written the store, or the schema cannot be read.
    """
    path = _path(layout)
    content = read_json(path)
    schema = content.get("schema") if isinstance(content, dict) else content
    if schema is None or (isinstance(schema, int) and schema <= SCHEMA):
        return schema
    if not isinstance(schema, int):
        raise StoreError("runs.schema_damaged", path=path)
    raise StoreError("runs.schema_newer", jobs=layout.jobs, schema=schema, schema_2=SCHEMA)


def prepare_schema(layout: Layout) -> None:
    """Create the tree and its schema file where they are missing.

    :raises StoreError: as :func:`check_schema`.
    """
    schema = check_schema(layout)
    layout.create()
    if schema is None:
        write_json(_path(layout), {"schema": SCHEMA})


def _path(layout: Layout) -> str:
    return os.path.join(layout.jobs, "schema.json")
