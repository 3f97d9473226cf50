"""The report of a drill as a page that explains itself: for whoever was not there. Pure.

One file that needs nothing beside itself (no script, no font, nothing from elsewhere, and a policy in its head that
forbids it); on light and dark pages, on a phone, on paper.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from scheduler_core.domain.wording import in_words
from scheduler_core.drill import picture, picture_svg, report
from scheduler_core.drill.evidence import Evidence, FaultRecord
from scheduler_core.drill.page_figures import AUDIT, Figure, figures
from scheduler_core.drill.takeover import Takeover
from scheduler_core.drill.verdict import PROMISES, Kind, Verdict

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --bed: #f6f8fa;
  --good: #00694d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --text: #e6edf3; --quiet: #9198a1; --line: #30363d;
  --bed: #151b23; --good: #3fb98c; --bad: #ff7b72; } }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { margin-top: 2.2rem; font-size: 1.2rem; }
.verdict { border-left: .4rem solid; padding: .6rem 1rem; background: var(--bed);
  font-size: 1.15rem; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .quiet { color: var(--quiet); }
.wide { overflow-x: auto; } .wide img { display: block; width: 100%; min-width: 44rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--quiet); }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl.figures > div { border-top: 1px solid var(--line); padding: .7rem 0; } dt { font-weight: 600; } dd { margin: 0; }
dd.value { font-size: 1.25rem; font-variant-numeric: tabular-nums; }
pre { margin: .4rem 0 0; padding: .6rem; background: var(--bed); overflow-x: auto; white-space: pre-wrap;
  font-size: .85rem; }
summary { cursor: pointer; color: var(--quiet); }
@media (max-width: 40rem) { body { padding: .7rem; } .stack thead { display: none; }
  .stack tr { display: block; border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .stack td { display: block; border: 0; padding: .05rem 0; text-align: left !important; white-space: normal; }
  .stack td::before { content: attr(data-label) ": "; color: var(--quiet); } }
@media print { :root { color-scheme: light; --page: #fff; --text: #000; --quiet: #444; --line: #bbb; --bed: #f4f4f4;
  --good: #00694d; --bad: #b3261e; } body { max-width: none; font-size: 10pt; } .wide img { min-width: 0; }
  dl.figures > div, tr, .verdict { break-inside: avoid; } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(evidence: Evidence, verdict: Verdict, takeover: Takeover, says: Mapping[str, str]) -> str:
    """The whole file. Parameters: says, what each kind of fault does, in a sentence."""
    title, subtitle = report.caption(evidence, verdict, takeover)
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            *_verdict(evidence, verdict),
            *_what_was_done(evidence, says),
            *_timeline(evidence, title, subtitle),
            *_promises(verdict),
            *_figures(evidence, verdict, takeover),
            *_terms(evidence),
            *_again(evidence),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _verdict(evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    due = f"{verdict.accounting.expected:,}"
    if verdict.ok:
        word, style = "Held", "good"
        told = (
            f"{_many(len(evidence.faults), 'fault')} hit while {due} occurrences were due: every one is accounted for, "
            "none was recorded twice, and none was called again without a fault that explains it."
        )
    else:
        word, style = "Broken", "bad"
        told = (
            f"{_many(sum(verdict.counts.values()), 'finding')} in {due} occurrences: promises that were not kept are "
            "named below, each with its first findings."
        )
    yield f'<p class="verdict {style}" role="status">{word}. {escape(told)}</p>'


def _what_was_done(evidence: Evidence, says: Mapping[str, str]) -> Iterator[str]:
    seconds = (evidence.ended_at - evidence.began_at).total_seconds()
    yield "<h2>What was done</h2>"
    yield (
        f"<p>{_many(len(evidence.jobs), 'job')} were due every few milliseconds for {in_words(seconds)}, from "
        f"{_moment(evidence.began_at)} to {_moment(evidence.ended_at)} by the database’s clock. Replicas, each a "
        "process of its own, had one leader among them, which fired the jobs. Real faults hit them and their servers, "
        f"one after the other. A leader’s lease lasted {evidence.lease_ttl_seconds:g} s. What should have fired was "
        "worked out from the jobs’ periods alone; what was called stands in files that the callbacks wrote themselves; "
        "both were held against the record in Postgres.</p>"
    )
    yield from _table(
        "Faults, in their order. “First fire” counts from the instant before the fault.",
        ("#", "at", "fault", "what it does", "hit", "healed after", "first fire", "term"),
        (_fault_row(evidence, fault, says) for fault in evidence.faults),
        numbers=(0, 5, 6),
    )


def _fault_row(evidence: Evidence, fault: FaultRecord, says: Mapping[str, str]) -> Sequence[str]:
    def after(instant: datetime | None, otherwise: str) -> str:
        return otherwise if instant is None else f"{(instant - fault.injected_at) / timedelta(milliseconds=1):,.1f} ms"

    at = (fault.injected_at - evidence.began_at).total_seconds()
    term = "–" if fault.term_after is None else f"{fault.term_before} → {fault.term_after}"
    return (
        str(fault.number),
        f"{at:,.1f} s",
        " + ".join(fault.kinds),
        "; ".join(says.get(kind, "") for kind in fault.kinds),
        fault.target,
        after(fault.healed_at, "–"),
        after(fault.first_fire_at, "none"),
        term,
    )


def _timeline(evidence: Evidence, title: str, subtitle: str) -> Iterator[str]:
    drawn = picture_svg.draw_svg(picture.compose(evidence), title, subtitle)
    yield "<h2>Timeline of terms and faults</h2>"
    yield (
        "<p>Each lane is a replica. A thick bar is a term, with its number; a thin line a replica that follows; the "
        "strip below, how many callbacks began. A coloured band reaches from a fault to the first fire after it. The "
        "table of terms further down tells the same in words.</p>"
    )
    yield (
        '<div class="wide" tabindex="0" role="region" aria-label="Timeline">'
        f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}"></div>'
    )


def _promises(verdict: Verdict) -> Iterator[str]:
    yield "<h2>Verdict, promise by promise</h2>"
    yield from _table(
        "What was checked. Every figure must be 0.",
        ("finding", "the promise that it would break", "found"),
        ((kind.value.replace("_", " "), PROMISES[kind], f"{verdict.counts.get(kind, 0):,}") for kind in Kind),
        numbers=(2,),
        style=lambda row: "good" if row[2] == "0" else "bad",
    )
    for kind, count in sorted(verdict.counts.items()):
        kept = [finding for finding in verdict.findings if finding.kind is kind]
        yield f'<h3 class="bad">{escape(kind.value.replace("_", " "))}: {count:,}</h3><ul>'
        yield from (f"<li>{escape(finding.subject)}: {escape(finding.sentence)}</li>" for finding in kept)
        yield "</ul>" + (f"<p>And {count - len(kept):,} more.</p>" if count > len(kept) else "")
    if (lost := verdict.witnessed.not_replicated).count:
        yield f"<h3>Acknowledged, not replicated: {lost.count:,}</h3>"
        yield (
            "<p>A standby was promoted that lacked its primary’s last commits. No scheduler can know what Postgres has "
            "lost; these runs are named, and are no broken promise.</p><ul>"
        )
        yield from (f"<li>{escape(run.subject)}: {escape(run.sentence)}</li>" for run in lost.first)
        yield "</ul>"


def _figures(evidence: Evidence, verdict: Verdict, takeover: Takeover) -> Iterator[str]:
    yield "<h2>Figures</h2>"
    yield (
        f"<p>Each with what it means, and with what asks it again. The SQL reads the views in the schema "
        f"<code>{AUDIT}</code>, which are there as long as the drill’s data are "
        "(<code>--data-dir DIR --keep</code>).</p>"
    )
    yield '<dl class="figures">'
    yield from (_figure(figure) for figure in figures(evidence, verdict, takeover))
    yield "</dl>"


def _figure(figure: Figure) -> str:
    style = "bad" if figure.is_bad else "good" if figure.must_be_nought else ""
    asks = "SQL that asks it again" if figure.is_sql else "How to count it again, in the drill’s folder"
    return (
        f'<div><dt>{escape(figure.name)}</dt><dd class="value {style}">{escape(figure.value)}</dd>'
        f"<dd>{escape(figure.means)}</dd>"
        f"<dd><details><summary>{asks}</summary><pre><code>{escape(figure.again)}</code></pre></details></dd></div>"
    )


def _terms(evidence: Evidence) -> Iterator[str]:
    def lasted(since: datetime, until: datetime | None) -> str:
        return "–" if until is None else in_words(max(0.0, (until - since).total_seconds()))

    yield "<h2>Who led when</h2>"
    yield from _table(
        "Terms, by the record. The drill’s last leader was asked to stop when all was done.",
        ("term", "replica", "from", "for", "why it ended"),
        (
            (
                str(term.term),
                term.instance_id,
                _moment(term.acquired_at),
                lasted(term.acquired_at, term.ended_at),
                term.end_reason or "–",
            )
            for term in evidence.terms
        ),
        numbers=(0,),
    )


def _again(evidence: Evidence) -> Iterator[str]:
    yield "<h2>Play it again</h2>"
    yield (
        "<p>The same seed gives the same faults in the same order, with the same pauses. It does not give the "
        "operating system’s timing again.</p>"
    )
    yield f"<pre><code>{escape(evidence.again or f'scheduler drill --seed {evidence.seed}')}</code></pre>"


def _table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    style: Callable[[Sequence[str]], str] = lambda row: "",
) -> Iterator[str]:
    yield f'<table class="stack"><caption>{escape(caption)}</caption><thead><tr>'
    yield "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings) + "</tr></thead><tbody>"
    for row in rows:
        cells = (
            f'<td data-label="{escape(headings[place])}" class="{"number " + style(row) if place in numbers else ""}">'
            f"{escape(text)}</td>"
            for place, text in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table>"


def _moment(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
