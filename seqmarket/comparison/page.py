"""The report as one HTML file, for a reviewer with five minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from seqmarket.comparison.changes import COSTS, changes, costs
from seqmarket.comparison.charts import Whisker, legend, whiskers
from seqmarket.comparison.checks import Check
from seqmarket.comparison.contest import Contest, TaskContest
from seqmarket.comparison.curves import curves
from seqmarket.comparison.slices import LEAST_CUSTOMERS, worst
from seqmarket.comparison.verdict import remarks, smallest, verdict
from seqmarket.metrics.resampling import Interval
from seqmarket.page.frame import Section, render
from seqmarket.page.markup import Markup, join, table, tag
from seqmarket.training.results import (
    HIGHER_IS_BETTER,
    format_interval,
    format_number,
    main_metrics,
    metric_name,
)

_WORDS = {"holds": "holds", "look": "look at this", "fact": ""}
_SHOWN_CHANGES = 40


def render_page(
    contest: Contest, slices: pl.DataFrame, small_cells: int, checks: Sequence[Check]
) -> str:
    """The whole report.

    Args:
        contest: The comparison.
        slices: Of `slices.slice_table`.
        small_cells: Cells that it leaves out.
        checks: Of `checks.checklist`.
    """
    names = [contender.name for contender in contest.contenders]
    sections = [
        Section("verdict", "Verdict", _verdict(contest, slices, checks)),
        Section("results", "Results", _results(contest)),
        Section("curves", "Curves", _curves(contest, names)),
        Section("slices", "Where it holds", _slices(contest, slices, small_cells)),
        Section("changes", "What changed, and its price", _changes(contest)),
        Section("fairness", "Data and leakage", _checklist(checks)),
        Section("method", "How it was computed", _method(contest)),
    ]
    log = contest.contenders[0].runs[0].terms["log"]["name"]
    tasks = ", ".join(contest.tasks)
    first = contest.contenders[0]
    within = len({run.key for c in contest.contenders for run in c.runs}) == 1 and first.is_own
    title = f"{names[0]} and its baselines" if within else f"Comparison: {', '.join(names)}"
    return render(
        title,
        title,
        f"On {log}: {tasks}. Differences are paired on the same rows, customers drawn together.",
        sections,
    )


def _verdict(contest: Contest, slices: pl.DataFrame, checks: Sequence[Check]) -> Markup:
    said = verdict(contest) or "There is nothing that could be compared."
    parts = [tag("p", said, class_="verdict")]
    concerns = [f"{c.name}: {c.text}." for c in checks if c.outcome == "look"]
    concerns += _worst_cells(contest, slices)
    if concerns:
        parts.append(tag("ol", *(tag("li", text) for text in concerns), class_="warnings"))
    parts += [tag("p", text, class_="quiet") for text in remarks(contest)]
    rows = [
        Whisker(
            f"{task.matched.task}, {name}" if len(contest.challengers) > 1 else task.matched.task,
            challenge.difference.estimate,
            challenge.difference.low,
            challenge.difference.high,
            [c.name for c in contest.contenders].index(name),
            challenge.verdict(contest.level) in ("better", "worse"),
        )
        for name in contest.challengers
        for task in contest.tasks.values()
        if (challenge := task.challenge(name, task.foremost)) is not None
    ]
    return join([*parts, *_whiskers(contest, rows)])


def _whiskers(contest: Contest, rows: Sequence[Whisker]) -> Iterator[Markup]:
    """One chart per foremost metric and kind of task, as their units differ."""
    units = dict.fromkeys((task.foremost, task.matched.kind) for task in contest.tasks.values())
    for metric, kind in units:
        tasks = {
            name
            for name, task in contest.tasks.items()
            if (task.foremost, task.matched.kind) == (metric, kind)
        }
        own = [row for row in rows if row.text.partition(",")[0] in tasks]
        if own:
            better = ("worse", "better") if HIGHER_IS_BETTER[metric] else ("better", "worse")
            yield whiskers(
                f"differences-{metric}-{kind}",
                f"Difference of {metric_name(metric)} to the reference, "
                f"with {contest.level:.0%} intervals; filled: beyond chance",
                own,
                left=better[0],
                right=better[1],
            )


def _results(contest: Contest) -> Markup:
    content: list[Markup] = []
    for name, task in contest.tasks.items():
        main = main_metrics(name, task.matched.kind)
        others = [metric for metric in task.metrics if metric not in main]
        heads = ("", *(metric_name(m) for m in main), "difference", "p, corrected", "P(better)")
        rows = [_result(contest, task, contender, main) for contender in task.members]
        caption = (
            f"{len(task.matched):,} rows of {task.matched.n_customers:,} customers; difference of "
            f"{metric_name(task.foremost)} to {task.reference}"
        )
        content += [tag("h3", name), table(caption, heads, rows)]
        least = smallest(task, contest)
        if least:
            content.append(tag("p", least, class_="quiet"))
        further = (
            (contender, *(_value(task, contender, metric) for metric in others))
            for contender in task.members
        )
        content.append(
            tag(
                "details",
                tag("summary", "Further metrics"),
                table(
                    f"Further metrics of {name}, not tested",
                    ("", *(metric_name(metric) for metric in others)),
                    further,
                ),
            )
        )
    return join(content)


def _result(
    contest: Contest, task: TaskContest, contender: str, metrics: Sequence[str]
) -> tuple[str, ...]:
    values = [_value(task, contender, metric) for metric in metrics]
    seeds = len(task.members[contender])
    title = f"{contender} ({seeds} seeds)" if seeds > 1 else contender
    challenge = task.challenge(contender, task.foremost)
    if challenge is None:
        return title, *values, "reference", "", ""
    p_value = (
        "not tested"
        if challenge.adjusted != challenge.adjusted
        else ("<.001" if challenge.adjusted < 0.001 else format_number(challenge.adjusted))
    )
    found = challenge.difference
    difference = format_interval(Interval(found.estimate, found.low, found.high), signed=True)
    return title, *values, difference, p_value, f"{found.better:.0%}"


def _value(task: TaskContest, contender: str, metric: str) -> str:
    text = format_interval(task.interval(contender, metric))
    seeds = task.seeds(contender, metric)
    return f"{text}, seeds ±{format_number(float(seeds.std(ddof=1)))}" if len(seeds) > 1 else text


def _curves(contest: Contest, names: list[str]) -> Markup:
    drawn = {name: curves(task, names) for name, task in contest.tasks.items()}
    if not any(drawn.values()):
        return tag("p", "No task is a yes or no, so there is nothing to draw.", class_="quiet")
    content: list[Markup] = []
    for name, charts in drawn.items():
        if charts:
            shown = legend(names, contest.tasks[name].members)
            content += [tag("h3", name), shown, tag("div", *charts, class_="pair")]
    return join(content)


def _slices(contest: Contest, slices: pl.DataFrame, small_cells: int) -> Markup:
    content: list[Markup] = []
    named = _worst_cells(contest, slices)
    if named:
        content.append(tag("ul", *(tag("li", text) for text in named)))
    else:
        none = "Where a challenger is not worse as a whole, it is in no slice worse beyond chance."
        content.append(tag("p", none, class_="fine"))
    if small_cells:
        hidden = (
            f"{small_cells:,} cells with fewer than {LEAST_CUSTOMERS} customers, or of a yes or "
            "no with fewer of either answer, are not shown."
        )
        content.append(tag("p", hidden, class_="quiet"))
    for (task,), part in slices.group_by("task", maintain_order=True):
        body = []
        for (kind,), cells in part.group_by("slice", maintain_order=True):
            body.append(_cells(contest, str(task), str(kind), cells))
        content.append(tag("details", tag("summary", str(task)), *body))
    return join(content)


def _cells(contest: Contest, task: str, kind: str, cells: pl.DataFrame) -> Markup:
    metric = metric_name(cells["metric"][0])
    binary = cells["calibration"].null_count() < len(cells)
    heads = [kind, "", "customers", metric, "difference"] + (["too high by"] if binary else [])
    rows = []
    for (value,), part in cells.group_by("value", maintain_order=True):
        for place, row in enumerate(part.to_dicts()):
            cell = [
                str(value) if place == 0 else "",
                row["contender"],
                f"{row['customers']:,}" if place == 0 else "",
                format_number(row["estimate"]),
                _interval(row, "difference"),
            ]
            rows.append([*cell, _interval(row, "calibration")] if binary else cell)
    caption = f"{task} by {kind}; difference to {contest.tasks[task].reference}"
    return table(caption, heads, rows, text_columns=2)


def _interval(row: dict[str, float | None], name: str) -> str:
    estimate, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if estimate is None or low is None or high is None:
        return ""
    return format_interval(Interval(estimate, low, high), signed=True)


def _worst_cells(contest: Contest, slices: pl.DataFrame) -> list[str]:
    """Of each challenger, at the tasks where it is not worse as a whole: there it is no news."""
    found = []
    for name in contest.challengers:
        news = [
            task
            for task, contested in contest.tasks.items()
            if (challenge := contested.challenge(name, contested.foremost)) is not None
            and challenge.verdict(contest.level) != "worse"
        ]
        cells = worst(slices.filter(pl.col("task").is_in(news)), name, contest.level)
        found += [_worst_cell(name, cell) for cell in cells]
    return found


def _worst_cell(name: str, cell: object) -> str:
    assert isinstance(cell, dict)
    return (
        f"{name} is worse at {cell['task']} where the {cell['slice']} is {cell['value']}: "
        f"{metric_name(cell['metric'])} {_interval(cell, 'difference')}, "
        f"{cell['customers']:,} customers."
    )


def _changes(contest: Contest) -> Markup:
    names = [contender.name for contender in contest.contenders]
    content = []
    found = changes(contest.contenders)
    for group in dict.fromkeys(group for group, _, _ in found):
        rows = [(key, *map(_short, values)) for of, key, values in found if of == group]
        shown = table(f"{group}, where it differs", ("", *names), rows, text_columns=len(names) + 1)
        folded = len(rows) > _SHOWN_CHANGES
        content.append(
            tag("details", tag("summary", f"{group}: {len(rows)} keys"), shown) if folded else shown
        )
    if not found:
        content.append(tag("p", "Nothing but the seeds.", class_="fine"))
    priced = ((c.name, *costs(c)) for c in contest.contenders)
    content.append(table("Price of the fit, the mean over seeds", ("", *COSTS), priced))
    return join(content)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _checklist(checks: Sequence[Check]) -> Markup:
    rows = (
        (
            check.name,
            tag("span", _WORDS[check.outcome], class_="look")
            if check.outcome == "look"
            else _WORDS[check.outcome],
            check.text,
        )
        for check in checks
    )
    return table("Whether the comparison is fair", ("", "", ""), rows, text_columns=3)


def _method(contest: Contest) -> Markup:
    runs = {run.key: run for c in contest.contenders for run in c.runs}
    rows = (
        (
            contender.name,
            str(run.seed),
            run.mlflow_id or run.key,
            run.tags.get("seqmarket.git_commit", run.tags.get("seqmarket.version", ""))[:12],
        )
        for contender in contest.contenders
        for run in contender.runs
    )
    text = (
        f"{len(runs)} runs, from the predictions that were logged with them; nothing was trained "
        f"anew. {contest.n_resamples:,} resamples of the customers, the same for everybody "
        "(cluster bootstrap, percentile intervals). Where a model has several seeds, the variance "
        "between them is added, with Satterthwaite's degrees of freedom. P-values: two-sided, "
        "Holm's correction over the foremost metric of all tasks and challengers. Slices: "
        "intervals from each row's influence, clustered by customer (of the AUROC: DeLong's "
        "placements), and between seeds, corrected for the cells of each task."
    )
    heads = ("", "seed", "run", "commit")
    return join([tag("p", text), table("The runs", heads, rows, text_columns=4), _cross(contest)])


def _cross(contest: Contest) -> Markup:
    rows = [
        (
            name,
            challenge.contender,
            metric_name(challenge.metric),
            format_number(challenge.difference.error, 4),
            format_number(challenge.check, 4),
        )
        for name, task in contest.tasks.items()
        for challenge in task.challenges
        if challenge.metric == task.foremost and challenge.contender in contest.challengers
    ]
    heads = ("task", "challenger", "metric", "bootstrap", "influence (AUROC: DeLong)")
    caption = "Standard error of the difference, computed in two ways"
    return table(caption, heads, rows, text_columns=3)
