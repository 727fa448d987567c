"""The page that raters open: one HTML file, which needs no network and does not say what it shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Literal, NamedTuple

from genjax.figures.pages import render
from genjax.judging.trials import Trials


class Medium(NamedTuple):
    """How an example is shown: an image or a sound as a data URI, or a text."""

    kind: Literal["image", "sound", "text"]
    content: str


def page_name(trials: Trials, media: Mapping[str, Medium]) -> str:
    """Return the name of a page, by which answers and key find each other."""
    content = json.dumps([[trial.task, trial.options] for trial in trials.trials]) + json.dumps(media)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def make_page(trials: Trials, media: Mapping[str, Medium], *, title: str, exposure: int) -> str:
    """Return the page.

    Args:
      trials: questions.
      media: how each example is shown, by its name.
      title: title of the page, which raters see.
      exposure: time for which the examples of timed trials are shown, in milliseconds.
    """
    from markupsafe import Markup

    content = {
        "page": page_name(trials, media),
        "exposure": exposure,
        "trials": [{"task": trial.task, "options": trial.options} for trial in trials.trials],
        "media": {name: medium._asdict() for name, medium in media.items()},
    }
    embedded = Markup(json.dumps(content).replace("<", "\\u003c"))  # no text can end the element
    return render("genjax.judging", "judge", title=title, content=embedded)
