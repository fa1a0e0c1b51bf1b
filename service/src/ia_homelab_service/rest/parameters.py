"""Parameters of requests that several subjects share."""

from __future__ import annotations

import typing as t

from fastapi import Path

JobId = t.Annotated[str, Path(description="Id of a run.", max_length=151)]
