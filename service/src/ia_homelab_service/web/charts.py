# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Charts of a training."""

from __future__ import annotations

import typing as t

from ..application import schemas
from .i18n.language import Language

#: Readable on light and dark backgrounds.
_BLUE, _ORANGE, _GREY = "#3f83e0", "#c9722b", "#808a96"


def _axis(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "type": "value",
        "name": name,
        "nameLocation": "middle",
        "nameTextStyle": {"color": _GREY},
        "axisLabel": {"color": _GREY, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": _GREY}},
        "splitLine": {"lineStyle": {"color": _GREY, "opacity": 0.25}},
        **more,
    }


def _line(name: str, color: str, data: list[list[float]], dashed: bool = False) -> dict[str, t.Any]:
    return {
        "type": "line",
        "name": name,
        "data": data,
        "showSymbol": len(data) == 1,
        "lineStyle": {"width": 2, "color": color, "type": "dashed" if dashed else "solid"},
        "itemStyle": {"color": color},
    }


def _chart(language: Language, unit: str, series: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 32, "bottom": 24, "containLabel": True},
        "legend": {"top": 0, "textStyle": {"color": _GREY}, "data": [line["name"] for line in series]},
        "tooltip": {"trigger": "axis"},
        "xAxis": _axis(language("watch.steps_axis"), nameGap=26, minInterval=1),
        "yAxis": _axis("", scale=True, axisLabel={"color": _GREY, "hideOverlap": True, ":formatter": unit}),
        "series": series,
    }


def loss(language: Language, points: t.Sequence[schemas.Point]) -> dict[str, t.Any]:
    """Return the chart of training loss and validation loss, if there is one, by step."""
    series = [_line(language("watch.loss"), _BLUE, _pairs(points, "loss"))]
    validation = _pairs(points, "eval_loss")
    if validation:
        series.append(_line(language("watch.eval_loss"), _ORANGE, validation, dashed=True))
    return _chart(language, "value => String(+value.toPrecision(4))", series)


def learning_rate(language: Language, points: t.Sequence[schemas.Point]) -> dict[str, t.Any]:
    """Return the chart of the learning rate by step."""
    line = _line(language("watch.learning_rate"), _BLUE, _pairs(points, "learning_rate"))
    return _chart(language, "value => value === 0 ? '0' : value.toExponential(1)", [line])


def _pairs(points: t.Sequence[schemas.Point], key: str) -> list[list[float]]:
    return [[point.step, value] for point in points if (value := getattr(point, key)) is not None]


def loss_description(language: Language, points: t.Sequence[schemas.Point]) -> str:
    """Describe the chart of the loss for screen readers."""
    losses = [point.loss for point in points if point.loss is not None]
    if not losses:
        return language("watch.no_curve")
    return language(
        "watch.curve_words",
        first=language.number(losses[0], 3),
        last=language.number(losses[-1], 3),
        least=language.number(min(losses), 3),
        count=language.number(len(losses)),
    )
