# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Async Python client of the training service.

```python
async with LlamaFactoryService("http://pc-ia:8000") as service:
    job = await service.start_training("qwen2.5:7b", "/app/data/homelab.json")
    async for event in service.follow(job["job_id"]):
        print(event.name, event.data)
    await service.export_model(job["job_id"])
```

The token is read from the environment: ``LLAMAFACTORY_TOKEN``, or the file ``LLAMAFACTORY_TOKEN_FILE``.
"""

from __future__ import annotations

from ._errors import (
    BadRequest,
    Conflict,
    LlamaFactoryError,
    MethodNotAllowed,
    NotAllowed,
    NotFound,
    NotReady,
    OtherServerFailed,
    Refused,
    ServiceFailed,
    Timeout,
    TokenError,
    TokenNeeded,
    TooLarge,
    TooMany,
    TooSlow,
    Unreachable,
    UnsupportedMediaType,
    WrongField,
    WrongFields,
    WrongHost,
)
from ._events import Event
from ._service import LlamaFactoryService

__all__ = [
    "BadRequest",
    "Conflict",
    "Event",
    "LlamaFactoryError",
    "LlamaFactoryService",
    "MethodNotAllowed",
    "NotAllowed",
    "NotFound",
    "NotReady",
    "OtherServerFailed",
    "Refused",
    "ServiceFailed",
    "Timeout",
    "TokenError",
    "TokenNeeded",
    "TooLarge",
    "TooMany",
    "TooSlow",
    "Unreachable",
    "UnsupportedMediaType",
    "WrongField",
    "WrongFields",
    "WrongHost",
]
