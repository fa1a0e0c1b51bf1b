# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests for evaluations of versions: reports, questions with answers, comparisons."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from ..application.operations import Operations
from ..application.schemas import Comparison, Evaluation, QuestionPage
from ..http.access import READ
from ..http.security import needs
from .responses import error_responses, json_response
from .schemas import EvaluationList

#: Media type of JSON lines.
_LINES = "application/x-ndjson"

Tag = t.Annotated[str, Query(min_length=1, description="A version: its content tag, or a name that is served.")]


def add_evaluation_routes(router: APIRouter, operations: Operations) -> None:
    evaluations = operations.evaluations

    @router.get("/evaluations", dependencies=[needs(READ)], response_model=EvaluationList)
    def listed(name: str = "") -> Response:
        return json_response(EvaluationList(evaluations=evaluations.all(name)))

    @router.get(
        "/evaluations/report", dependencies=[needs(READ)], response_model=Evaluation, responses=error_responses(404)
    )
    def report(tag: Tag) -> Response:
        return json_response(evaluations.get(tag))

    @router.get(
        "/evaluations/questions",
        dependencies=[needs(READ)],
        response_model=QuestionPage,
        responses=error_responses(404),
        summary="Questions with the answers of all models, those that became worse first",
    )
    def questions(
        tag: Tag,
        against: t.Annotated[str, Query(description="served, base, another label of the report, or a version.")] = "",
        after: t.Annotated[int, Query(ge=0, le=2**31, description="How many questions to skip.")] = 0,
        limit: t.Annotated[int, Query(ge=1, le=200)] = 20,
    ) -> Response:
        return json_response(evaluations.questions(tag, against, after, limit))

    @router.get(
        "/evaluations/comparison",
        dependencies=[needs(READ)],
        response_model=Comparison,
        responses=error_responses(404),
        summary="Two versions compared by the questions that both have answered",
    )
    def comparison(tag: Tag, against: Tag) -> Response:
        return json_response(evaluations.compare(tag, against))

    @router.get(
        "/evaluations/answers",
        dependencies=[needs(READ)],
        response_class=StreamingResponse,
        responses={
            **error_responses(404),
            200: {"description": "A question with its answers in each line", "content": {_LINES: {}}},
        },
        summary="All questions with the answers of all models, as JSON lines",
    )
    def answers(tag: Tag) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="evaluation.jsonl"'}
        return StreamingResponse(evaluations.answers(tag), headers=headers, media_type=_LINES)
