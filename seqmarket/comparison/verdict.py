"""What a comparison comes to, in words."""

from __future__ import annotations

from collections.abc import Iterator

from seqmarket.comparison.contest import Challenge, Contest, TaskContest
from seqmarket.metrics.resampling import Interval
from seqmarket.training.results import format_interval, format_number, metric_name

_LEADS = {
    "better": "is better than",
    "worse": "is worse than",
    "no difference": "shows no difference to",
}


def verdict(contest: Contest) -> str:
    """One sentence per challenger: where it is better, where worse, where nothing is shown."""
    return " ".join(_sentence(contest, challenger) for challenger in contest.challengers)


def _sentence(contest: Contest, contender: str) -> str:
    found: dict[tuple[str, str], list[str]] = {}
    for name, task in contest.tasks.items():
        challenge = task.challenge(contender, task.foremost)
        if challenge is not None:
            said = (challenge.verdict(contest.level), str(task.reference))
            found.setdefault(said, []).append(f"{name} ({_measured(challenge)})")
    parts = [
        f"{lead} {reference} at {_listed(places)}"
        for wanted, lead in _LEADS.items()
        for (said, reference), places in found.items()
        if said == wanted
    ]
    return f"{contender} {_listed(parts, last=', and ')}." if parts else ""


def _measured(challenge: Challenge) -> str:
    found = challenge.difference
    interval = Interval(found.estimate, found.low, found.high)
    return f"{metric_name(challenge.metric)} {format_interval(interval, signed=True)}"


def _listed(items: list[str], last: str = " and ") -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + last + items[-1]


def remarks(contest: Contest) -> Iterator[str]:
    """What a reader has to know to weigh the verdict."""
    n_tests = contest.n_tests
    yield (
        f"Tested: the foremost metric of each task, {n_tests} "
        f"comparison{'s' if n_tests != 1 else ''} at {contest.level:.0%} in all (Holm); "
        f"{contest.n_resamples:,} resamples of customers, paired."
    )
    single = [c.name for c in contest.contenders if len(c.kin) == 1 and c.is_network]
    if single:
        yield (
            f"One seed only: {_listed(single)}. The intervals hold other customers, not another "
            "seed; runs with further seeds are recognised and join in."
        )
    for item in contest.matching.obstacles:
        yield f"RESTRICTED to the rows that all runs share, as these differ: {item}."
    for item in contest.matching.left_out:
        yield f"Left out: {item}."


def smallest(task: TaskContest, contest: Contest) -> str:
    """The smallest differences that would have been found four times out of five, in words."""
    found = {
        c.contender: format_number(c.difference.detectable(contest.level, contest.n_tests), 4)
        for c in task.challenges
        if c.metric == task.foremost and c.contender in contest.challengers
    }
    if not found:
        return ""
    who = [f"{least} for {name}" if len(found) > 1 else least for name, least in found.items()]
    return (
        f"The smallest difference of {metric_name(task.foremost)} that this test would find four "
        f"times out of five: {_listed(who)}."
    )
