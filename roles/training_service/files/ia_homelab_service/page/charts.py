# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves of a training."""

from __future__ import annotations

import typing as t

from .. import shapes
from .language import Language

#: Readable on a light and on a dark ground.
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


def _chart(words: Language, unit: str, series: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 32, "bottom": 24, "containLabel": True},
        "legend": {"top": 0, "textStyle": {"color": _GREY}, "data": [line["name"] for line in series]},
        "tooltip": {"trigger": "axis"},
        "xAxis": _axis(words("watch.steps_axis"), nameGap=26, minInterval=1),
        "yAxis": _axis("", scale=True, axisLabel={"color": _GREY, "hideOverlap": True, ":formatter": unit}),
        "series": series,
    }


def loss(words: Language, points: t.Sequence[shapes.Point]) -> dict[str, t.Any]:
    """Training loss, and validation loss where there is some, by step."""
    series = [_line(words("watch.loss"), _BLUE, _pairs(points, "loss"))]
    validation = _pairs(points, "eval_loss")
    if validation:
        series.append(_line(words("watch.eval_loss"), _ORANGE, validation, dashed=True))
    return _chart(words, "value => String(+value.toPrecision(4))", series)


def learning_rate(words: Language, points: t.Sequence[shapes.Point]) -> dict[str, t.Any]:
    """Learning rate by step."""
    line = _line(words("watch.learning_rate"), _BLUE, _pairs(points, "learning_rate"))
    return _chart(words, "value => value === 0 ? '0' : value.toExponential(1)", [line])


def _pairs(points: t.Sequence[shapes.Point], key: str) -> list[list[float]]:
    return [[point.step, value] for point in points if (value := getattr(point, key)) is not None]


def loss_in_words(words: Language, points: t.Sequence[shapes.Point]) -> str:
    """What the curve of the loss shows, for those who cannot see it."""
    losses = [point.loss for point in points if point.loss is not None]
    if not losses:
        return words("watch.no_curve")
    return words(
        "watch.curve_words",
        first=words.number(losses[0], 3),
        last=words.number(losses[-1], 3),
        least=words.number(min(losses), 3),
        count=words.number(len(losses)),
    )
