"""`scheduler drill`: real replicas, real faults, and a verdict with an exit code."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from scheduler_core.cli.output import console
from scheduler_core.domain.election.trust import Timing
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.domain.wording import plain
from scheduler_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from scheduler_core.drill.evidence import Evidence
    from scheduler_core.drill.schedule import DrillPlan
    from scheduler_core.drill.takeover import Takeover
    from scheduler_core.drill.verdict import Verdict

ALL_FAULTS = "all"
STANDARD_OUTPUT = "-"

# Progress is for whoever watches; standard output is for the verdict.
_progress = Console(stderr=True)


def drill(
    replicas: Annotated[int, typer.Option(min=2, max=20, help="Replica processes.")] = 3,
    kills: Annotated[int, typer.Option(min=1, max=100_000, help="How many faults in all, of the kinds given.")] = 20,
    fault: Annotated[
        list[str], typer.Option(help="Kinds of faults, with commas or repeated; `all` for every kind. See --list.")
    ] = ["kill"],  # noqa: B006 - typer copies it
    seed: Annotated[int | None, typer.Option(help="Plays the same faults in the same order again.")] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write one JSON document; - prints it instead.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the drill as an SVG.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Write a report for an auditor.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write what every replica did, an event per line.")
    ] = None,
    ttl: Annotated[float, typer.Option(metavar="SECONDS", help="The lease's time to live.")] = 3.0,
    data_dir: Annotated[Path | None, typer.Option(help="Where servers and witness files live.")] = None,
    staging: Annotated[
        bool, typer.Option("--staging", help="On the configured servers, in a schema of its own; only hits replicas.")
    ] = False,
    all_down_seconds: Annotated[float, typer.Option(min=0.0, help="How long `all-down` lasts.")] = 10.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave data behind for a look.")] = False,
    list_faults: Annotated[bool, typer.Option("--list", help="Print the kinds of faults, and do nothing.")] = False,
) -> None:
    """Hit real replicas with real faults; prove that no fire is missed and none recorded twice.

    Exit code 0: every promise was kept. 1: one was not. 2: wrong usage. 3: a server is out of reach.
    """
    from scheduler_core.drill.schedule import DrillPlan

    if list_faults:
        _list_faults()
        return
    Timing(ttl, stall_timeout_seconds=max(10.0, ttl))
    for file in (picture, html, trace, None if json_file in {None, STANDARD_OUTPUT} else Path(str(json_file))):
        _check_writable(file)
    plan = DrillPlan(
        replicas=replicas,
        faults=_fault_names(fault),
        count=kills,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        lease_ttl_seconds=ttl,
        data_dir=data_dir,
        staging=staging_settings() if staging else None,
        all_down_seconds=all_down_seconds,
        keep=keep,
        trace=trace,
    )
    _judge(_play(plan), json_file, picture, html)


def _list_faults() -> None:
    from scheduler_core.drill.faults import FAULTS

    width = max(map(len, FAULTS))
    for name, fault in FAULTS.items():
        console.print(f"{name:{width}}  {fault.says}", markup=False, highlight=False, soft_wrap=True)


def _fault_names(given: list[str]) -> tuple[str, ...]:
    """The kinds asked for, each once, in the order of asking."""
    from scheduler_core.drill.schedule import FAULT_NAMES

    asked = [name.strip().lower() for words in given for name in words.split(",") if name.strip()]
    unknown = [name for name in asked if name not in {*FAULT_NAMES, ALL_FAULTS}]
    if unknown or not asked:
        said = f"no such fault: {', '.join(unknown)}" if unknown else "no fault was named"
        raise InvalidSettingsError(f"{said}; choose from {ALL_FAULTS}, {', '.join(FAULT_NAMES)}")
    return FAULT_NAMES if ALL_FAULTS in asked else tuple(dict.fromkeys(asked))


def staging_settings() -> Settings:
    """The configured servers. Raises InvalidSettingsError if one of the two has no URL."""
    settings = load_settings()
    missing = [name for name in ("database_url", "redis_url") if not getattr(settings, name)]
    if missing:
        raise InvalidSettingsError(f"--staging uses configured servers: set {' and '.join(missing)} first")
    return settings


def _check_writable(file: Path | None) -> None:
    # Before the drill: an hour of faults should not end in a wrong path.
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InvalidSettingsError(f"{file} can't be written: name a file in a folder that exists")


def _play(plan: DrillPlan) -> Evidence:
    from scheduler_core.drill.drill import run_drill
    from scheduler_core.drill.schedule import replay_command

    began = time.monotonic()
    _progress.print(f"to play this drill again: {replay_command(plan)}", markup=False, highlight=False, soft_wrap=True)

    def tell(line: str) -> None:
        _progress.print(
            f"[dim]{time.monotonic() - began:7.1f} s[/dim]  {escape(line)}", highlight=False, soft_wrap=True
        )

    watched = _progress.status("the drill runs; Ctrl-C ends it") if _progress.is_terminal else nullcontext()
    try:
        with watched:
            return asyncio.run(run_drill(plan, tell))
    except KeyboardInterrupt:
        tell("interrupted: replicas and servers are stopped, and nothing is judged")
        raise


def _judge(evidence: Evidence, json_file: str | None, picture: Path | None, html: Path | None) -> None:
    from scheduler_core.drill.checker import check
    from scheduler_core.drill.document import as_document
    from scheduler_core.drill.takeover import takeover

    verdict, times = check(evidence), takeover(evidence)
    document = json.dumps(as_document(evidence, verdict, times), default=plain, ensure_ascii=False, indent=2)
    if json_file == STANDARD_OUTPUT:
        print(document)
    else:
        if json_file is not None:
            Path(json_file).write_text(document + "\n", encoding="utf-8")
        _show(evidence, verdict, times)
    if picture is not None:
        _draw(evidence, verdict, times, picture)
    if html is not None:
        _write_html(evidence, verdict, times, html)
    if not verdict.ok:
        raise typer.Exit(1)


def _show(evidence: Evidence, verdict: Verdict, times: Takeover) -> None:
    from scheduler_core.drill import picture, picture_text, report

    # 80 columns wherever it goes: a log that is read later has no width.
    page: Any = console if sys.stdout.isatty() else Console(width=80)
    page.print(picture_text.draw(picture.compose(evidence)))
    page.print(report.render(evidence, verdict, times))


def _draw(evidence: Evidence, verdict: Verdict, times: Takeover, file: Path) -> None:
    from scheduler_core.drill import picture, picture_svg, report

    title, subtitle = report.caption(evidence, verdict, times)
    file.write_text(picture_svg.draw_svg(picture.compose(evidence), title, subtitle), encoding="utf-8")
    _progress.print(f"picture: {file}", markup=False, highlight=False, soft_wrap=True)


def _write_html(evidence: Evidence, verdict: Verdict, times: Takeover, file: Path) -> None:
    from scheduler_core.drill.faults import FAULTS
    from scheduler_core.drill.page import render_page

    says = {name: fault.says for name, fault in FAULTS.items()}
    file.write_text(render_page(evidence, verdict, times, says), encoding="utf-8")
    _progress.print(f"report: {file}", markup=False, highlight=False, soft_wrap=True)
