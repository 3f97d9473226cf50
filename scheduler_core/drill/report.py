"""The verdict for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log10

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scheduler_core.domain.wording import in_words
from scheduler_core.drill.document import kills, pairs_played, stayed_away
from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.takeover import Spread, Takeover
from scheduler_core.drill.verdict import PROMISES, Kind, NotReplicated, Verdict

SCALE_MS = (1.0, 100_000.0)
SCALE_WIDTH = 21
FINDINGS_SHOWN_PER_KIND = 5


def caption(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> tuple[str, str]:
    """Title and subtitle of the picture."""
    seconds = (evidence.ended_at - evidence.began_at).total_seconds()
    outcome = "every fire accounted for" if verdict.ok else f"{_many(sum(verdict.counts.values()), 'finding')}"
    spread = takeover.all
    return (
        f"Failover drill: {_many(len(evidence.faults), 'fault')} in {in_words(seconds)}, {outcome}",
        f"from the fault to the successor's first fire: p50 {_ms(spread.p50)} ms, p99 {_ms(spread.p99)} ms, max "
        f"{_ms(spread.max)} ms  ·  {verdict.accounting.expected:,} fires  ·  {_many(verdict.terms, 'term')}  ·  "
        f"lease TTL {evidence.lease_ttl_seconds:g} s  ·  seed {evidence.seed}",
    )


def render(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> RenderableType:
    """The verdict for people, 80 columns wide: what was done, how long it took, what came of it, the verdict."""
    return Group(
        Text(),
        _headline(evidence),
        Padding(_takeover_table(takeover), (1, 0)),
        _accounts_table(evidence, verdict, takeover),
        Padding(_verdict_line(evidence, verdict), (1, 0)),
        *_not_replicated(verdict),
        *_findings(verdict),
        *([Text(f"again: {evidence.again}", style="dim")] if verdict.ok and evidence.again else []),
    )


def _headline(evidence: Evidence) -> Text:
    seconds = (evidence.ended_at - evidence.began_at).total_seconds()
    return Text.assemble(
        ("Failover drill", "bold"),
        f"  {_many(len(evidence.faults), 'fault')} in {in_words(seconds)} on {len(evidence.jobs)} jobs, "
        f"lease TTL {evidence.lease_ttl_seconds:g} s",
        (f"  seed {evidence.seed}", "dim"),
    )


def _takeover_table(takeover: Takeover) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("fault → next fire, ms", no_wrap=True)
    for heading in ("n", "p50", "p99", "max", "silent"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(_scale_heading(), no_wrap=True)
    for kind, spread in sorted(takeover.by_fault.items(), key=lambda item: (item[1].p50 or 0.0, item[0])):
        table.add_row(kind, *_figures(spread), _ms(takeover.silences[kind].max), _bar(spread))
    if len(takeover.by_fault) > 1:
        table.add_row("all takeovers", *_figures(takeover.all), "", _bar(takeover.all), style="bold")
    return table


def _figures(spread: Spread) -> Iterator[str]:
    yield str(spread.n)
    yield from (_ms(value) for value in (spread.p50, spread.p99, spread.max))


def _scale_heading() -> str:
    marks = [" "] * (SCALE_WIDTH + 4)
    for label, value in (("1ms", 1.0), ("0.1s", 100.0), ("10s", 10_000.0)):
        place = _place(value)
        marks[place : place + len(label)] = label
    return "".join(marks).rstrip()


def _bar(spread: Spread) -> Text:
    """The sample on a logarithmic scale: ● the median, a line on to the 99th percentile and the maximum."""
    if spread.p50 is None or spread.p99 is None or spread.max is None:
        return Text("no fire", style="red")
    middle, high, top = _place(spread.p50), _place(spread.p99), _place(spread.max)
    return Text.assemble(
        ("·" * middle, "dim"),
        ("●", "cyan"),
        ("━" * (high - middle), "cyan"),
        ("─" * (top - high), "cyan"),
        ("·" * (SCALE_WIDTH - 1 - top), "dim"),
    )


def _place(ms: float) -> int:
    low, high = (log10(bound) for bound in SCALE_MS)
    share = (log10(max(ms, SCALE_MS[0])) - low) / (high - low)
    return min(SCALE_WIDTH - 1, round(share * (SCALE_WIDTH - 1)))


def _accounts_table(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> Table:
    accounting, witnessed = verdict.accounting, verdict.witnessed
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    missed = sum(accounting.missed.values())
    executed = {status: count for status, count in verdict.statuses.items() if status != "missed"}
    table.add_row("fires expected", f"{accounting.expected:,}", "starts_at + k × every, nothing else asked")
    table.add_row("  recorded", f"{accounting.recorded:,}", _listed(executed))
    table.add_row("  counted as missed", f"{missed:,}", _listed(accounting.missed))
    table.add_row("  unaccounted", *_nought(verdict.counts.get(Kind.UNACCOUNTED, 0)))
    table.add_row("  with two rows", *_nought(verdict.counts.get(Kind.DUPLICATE_RUN, 0)))
    per_fire = "" if witnessed.per_fire is None else f"{witnessed.per_fire:.5f} per fire that was called"
    table.add_row("calls witnessed", f"{witnessed.calls:,}", per_fire)
    table.add_row("  again after a fault", f"{witnessed.repeated_after_fault:,}", _again(verdict))
    table.add_row("  again without one", *_nought(verdict.duplicate_executions))
    if (lost := witnessed.not_replicated).count:
        table.add_row(Text("not replicated", style="yellow"), f"{lost.count:,}", _lost(lost))
    if played := len(pairs_played(evidence)):
        table.add_row("pairs of faults", f"{played:,}", f"of {evidence.pairs:,} that can hit at once")
    table.add_row("terms", f"{verdict.terms:,}", f"{_many(kills(evidence), 'replica')} killed with -9")
    if absent := stayed_away(evidence):
        table.add_row(Text("stayed away", style="yellow"), f"{absent:,}", "lived, took part no more, were replaced")
    late = takeover.lateness
    table.add_row("lateness", _ms(late.p50) + " ms", f"the median; p99 {_ms(late.p99)} ms, max {_ms(late.max)} ms")
    if silence := takeover.longest_silence:
        at = (silence.since - evidence.began_at).total_seconds()
        table.add_row("longest silence", f"{_ms(silence.ms)} ms", f"{at:.1f} s after the begin")
    return table


def _again(verdict: Verdict) -> str:
    witnessed = verdict.witnessed
    notes = ["each after its owner died, hung or was cut off"] if witnessed.repeated_after_fault else []
    if witnessed.concurrent_after_fault:
        notes.append(f"{witnessed.concurrent_after_fault} beside a first call that a fault had held up")
    if witnessed.begun_on_waking:
        notes.append(f"{witnessed.begun_on_waking} begun on waking from a stop")
    return "; ".join(notes)


def _lost(lost: NotReplicated) -> str:
    once = f", {lost.at_most_once_again:,} at_most_once" if lost.at_most_once_again else ""
    return f"the promoted standby lacked it; {lost.called_again:,} called again{once}"


def _nought(count: int) -> tuple[Text, Text]:
    """A figure that has to be nought."""
    if count:
        return Text(f"{count:,}", style="bold red"), Text("✗ must be 0", style="bold red")
    return Text("0", style="green"), Text("✓", style="green")


def _verdict_line(evidence: Evidence, verdict: Verdict) -> Text:
    if verdict.ok:
        return Text(
            f"✓ Held. {_many(len(evidence.faults), 'fault')}, {verdict.accounting.expected:,} fires: "
            "every one accounted for, none recorded twice.",
            style="bold green",
        )
    found = sum(verdict.counts.values())
    return Text(
        f"✗ Broken. {_many(found, 'finding')} of {_many(len(verdict.counts), 'kind')}; "
        f"play it again: {evidence.again or f'--seed {evidence.seed}'}",
        style="bold red",
    )


def _findings(verdict: Verdict) -> Iterator[RenderableType]:
    if verdict.counts:
        yield Text("I1 to I7, L1, L2: docs/invariants.md says what each is and what holds it", style="dim")
    for kind, count in sorted(verdict.counts.items()):
        yield Text.assemble((f"{kind.value} × {count:,}", "bold red"), (f"   {PROMISES[kind]}", "dim"))
        kept = [finding for finding in verdict.findings if finding.kind is kind]
        shown = kept[:FINDINGS_SHOWN_PER_KIND]
        yield _sentences([(finding.subject, finding.sentence) for finding in shown], count - len(shown))


def _not_replicated(verdict: Verdict) -> Iterator[RenderableType]:
    lost = verdict.witnessed.not_replicated
    if not lost.count:
        return
    yield Text.assemble(
        (f"acknowledged, not replicated × {lost.count:,}", "bold yellow"),
        ("   an asynchronous standby was promoted: no broken promise", "dim"),
    )
    shown = lost.first[:FINDINGS_SHOWN_PER_KIND]
    yield _sentences([(run.subject, run.sentence) for run in shown], lost.count - len(shown))


def _sentences(lines: Sequence[tuple[str, str]], more: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for subject, sentence in lines:
        table.add_row(escape(subject), escape(sentence))
    if more > 0:
        table.add_row("…", f"and {more:,} more", style="dim")
    return table


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
