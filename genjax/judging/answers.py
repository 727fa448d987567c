"""Answers of raters, read with the key of their page and scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.judging.scores import Confidence, bradley_terry, krippendorff_alpha, share_interval
from genjax.judging.trials import CHECK, DATA

MAX_FAILED = 0.25  # share of attention checks that a rater may fail


class Answer(NamedTuple):
    """An answer of a rater: its trial, and the entries of the chosen example and of the other one."""

    rater: str
    trial: int
    task: str
    option: int
    chosen: str
    other: str


def read_key(path: Path) -> dict[str, Any]:
    """Return the key of a page.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, or no key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; pass --key with the file that judge wrote beside the page")
    key = _read_json(path)
    if not isinstance(key, dict) or not {"page", "entries", "trials", "contents"} <= key.keys():
        raise ValueError(f"{path} is no key; pass --key with the file that judge wrote beside the page")
    return key


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); ask its rater to save it again") from None


def read_answers(files: Sequence[Path], key: Mapping[str, Any]) -> list[Answer]:
    """Return the answers in the files of one page.

    Raises:
      ValueError: if a file is damaged or of another page, or two are of one rater.
    """
    answers: list[Answer] = []
    sessions: dict[str, Path] = {}
    for path in files:
        content = _read_json(path)
        has_answers = isinstance(content, dict) and isinstance(content.get("answers"), list)
        if not has_answers or not {"page", "session"} <= content.keys():
            raise ValueError(f"{path} has no answers; pass files that raters saved at the end of the page")
        if content["page"] != key["page"]:
            raise ValueError(f"{path} is of page {content['page']}, but the key of page {key['page']}; use its own key")
        session = str(content["session"])
        if session in sessions:
            raise ValueError(f"{sessions[session]} and {path} are of one rater; leave one out")
        sessions[session] = path
        trials: set[int] = set()
        for entry in content["answers"]:
            answer = _answer(session, entry, key)
            if answer is None or answer.trial in trials:
                raise ValueError(f"{path} has the answer {entry}, which fits no question; leave the file out")
            trials.add(answer.trial)
            answers.append(answer)
    return answers


def _answer(session: str, entry: Any, key: Mapping[str, Any]) -> Answer | None:
    """Return an answer, or None if it fits no trial."""
    trials = key["trials"]
    if not isinstance(entry, dict) or type(entry.get("trial")) is not int or not 0 <= entry["trial"] < len(trials):
        return None
    trial = trials[entry["trial"]]
    if entry.get("chosen") not in trial["options"]:
        return None
    option = trial["options"].index(entry["chosen"])
    chosen, other = (key["contents"][trial["options"][index]] for index in (option, 1 - option))
    return Answer(session, entry["trial"], trial["task"], option, chosen, other)


def score(
    answers: Sequence[Answer],
    entries: Sequence[str],
    *,
    max_failed: float = MAX_FAILED,
    confidence: Confidence = 0.95,
) -> dict[str, Any]:
    """Return the scores of answers as JSON.

    The error rate of an entry is the share of its examples that were taken for real ones; at 0.5, raters do not tell
    them apart (Sharon Zhou et al. 2019, arXiv:1904.01121, whose rate is that of single images). Raters who fail too
    many attention checks are left out.

    Args:
      answers: answers to the questions of one page.
      entries: names of the models.
      max_failed: share of attention checks that a rater may fail.
      confidence: probability that an interval holds the true value.
    """
    raters = sorted({answer.rater for answer in answers})
    shares = {rater: _failed_checks([a for a in answers if a.rater == rater]) for rater in raters}
    careless = {rater: share for rater, share in shares.items() if share > max_failed}
    valid = [a for a in answers if a.rater not in careless and CHECK not in (a.chosen, a.other)]
    preferences = [answer for answer in valid if answer.task == "preference"]
    return {
        "raters": len(raters),
        "left_out": careless,
        "answers": len(valid),
        "confidence": confidence,
        "error_rate": {
            task: {entry: _error_rate([a for a in valid if a.task == task], entry, confidence) for entry in entries}
            for task in ("real", "timed")
            if any(answer.task == task for answer in valid)
        },
        "ranking": _ranking(preferences, entries, confidence) if preferences else [],
        "agreement": _agreement(valid),
    }


def _failed_checks(answers: Sequence[Answer]) -> float:
    """Return the share of attention checks in which a rater chose the noise, 0 without any."""
    checks = [answer.chosen == CHECK for answer in answers if CHECK in (answer.chosen, answer.other)]
    return sum(checks) / len(checks) if checks else 0.0


def _error_rate(answers: Sequence[Answer], entry: str, confidence: float) -> dict[str, float] | None:
    own = [answer for answer in answers if entry in (answer.chosen, answer.other)]
    if not own:
        return None
    wrong = np.array([answer.chosen != DATA for answer in own])
    estimate = share_interval(wrong, _numbers(own), confidence=confidence)
    return {**estimate._asdict(), "answers": len(own)}


def _ranking(answers: Sequence[Answer], entries: Sequence[str], confidence: float) -> list[dict[str, Any]]:
    winners, losers = (
        np.array([entries.index(getattr(answer, name)) for answer in answers]) for name in ("chosen", "other")
    )
    strengths = bradley_terry(winners, losers, _numbers(answers), len(entries), confidence=confidence)
    rows = [
        {"entry": entry, **strength._asdict(), "wins": int(np.sum(winners == i)), "losses": int(np.sum(losers == i))}
        for i, (entry, strength) in enumerate(zip(entries, strengths, strict=True))
    ]
    return sorted(rows, key=lambda row: -row["value"])


def _numbers(answers: Sequence[Answer]) -> np.ndarray:
    """Return a number for the rater of each answer."""
    return np.unique([answer.rater for answer in answers], return_inverse=True)[1]


def _agreement(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Return Krippendorff's alpha of the answers of each task."""
    units: dict[str, dict[int, list[int]]] = {}
    for answer in answers:
        units.setdefault(answer.task, {}).setdefault(answer.trial, []).append(answer.option)
    return {task: krippendorff_alpha(list(trials.values())) for task, trials in units.items()}


def describe(scores: Mapping[str, Any]) -> str:
    """Return scores as text."""
    left_out = scores["left_out"]
    lines = [f"{scores['raters']} raters, {scores['answers']} answers; intervals of {scores['confidence']:.0%}"]
    lines += [
        f"left out: rater {rater} failed {share:.0%} of the attention checks" for rater, share in left_out.items()
    ]
    titles = {"real": "taken for real", "timed": "taken for real when shown for a moment"}
    for task, rates in scores["error_rate"].items():
        lines.append(f"\n{titles[task]} (50% is indistinguishable){_alpha(scores, task)}")
        for entry, rate in sorted(rates.items(), key=lambda item: -item[1]["value"] if item[1] else 1.0):
            text = "no answers" if rate is None else f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
            lines.append(f"  {entry:40s} {text}")
    if scores["ranking"]:
        lines.append(f"\nranking by preference, Bradley-Terry strengths{_alpha(scores, 'preference')}")
    for place, row in enumerate(scores["ranking"], 1):
        interval = f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        lines.append(f"  {place}. {row['entry']:37s} {interval}, chosen {row['wins']} of {row['wins'] + row['losses']}")
    return "\n".join(lines)


def _alpha(scores: Mapping[str, Any], task: str) -> str:
    alpha = scores["agreement"].get(task)
    return "" if alpha is None else f"; agreement of raters, Krippendorff's alpha: {alpha:.2f}"
