"""The verdict as a person, a program and a browser get it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from drill_evidence import at, honest
from rich.console import Console, RenderableType

from scheduler_core.drill import picture_svg, picture_text, report
from scheduler_core.drill.checker import check
from scheduler_core.drill.document import as_document
from scheduler_core.drill.evidence import Evidence
from scheduler_core.drill.picture import compose
from scheduler_core.drill.takeover import takeover

KINDS = ("kill", "stop-10", "kill", "kill")
CONTRACT = [
    "faults",
    "kills",
    "takeover_ms",
    "fires_expected",
    "fires_recorded",
    "unaccounted",
    "duplicate_runs",
    "duplicate_executions",
    "terms",
    "verdict",
]


def document(evidence: Evidence) -> dict[str, object]:
    made = as_document(evidence, check(evidence), takeover(evidence))
    loaded: dict[str, object] = json.loads(json.dumps(made))
    return loaded


def printed(drawing: RenderableType) -> str:
    screen = io.StringIO()
    Console(file=screen, width=80).print(drawing)
    return screen.getvalue()


def page(evidence: Evidence) -> str:
    return printed(report.render(evidence, check(evidence), takeover(evidence)))


def svg(evidence: Evidence) -> str:
    title, subtitle = report.caption(evidence, check(evidence), takeover(evidence))
    return picture_svg.draw_svg(compose(evidence), title, subtitle)


def broken(evidence: Evidence, count: int = 30) -> Evidence:
    return replace(evidence, runs=evidence.runs[count:], calls=evidence.calls[2 * count :])


def test_programs_get_the_keys_of_the_contract() -> None:
    found = document(honest(KINDS))
    assert list(found)[: len(CONTRACT)] == CONTRACT
    assert (found["faults"], found["kills"], found["terms"], found["verdict"]) == (4, 3, 5, "ok")
    assert found["fires_expected"] == found["fires_recorded"]
    assert (found["unaccounted"], found["duplicate_runs"], found["duplicate_executions"]) == (0, 0, 0)
    takeover_ms = found["takeover_ms"]
    assert isinstance(takeover_ms, dict)
    assert list(takeover_ms) == ["p50", "p99", "max"]
    assert takeover_ms["p50"] == pytest.approx(32, abs=0.1)


def test_a_replica_that_the_drill_had_to_end_itself_is_told_apart() -> None:
    evidence = honest(KINDS)
    ended = replace(evidence.replicas[-1], ended_at=at(14), exit_code=-9)
    absent = replace(evidence, replicas=(*evidence.replicas[:-1], ended))
    assert (document(evidence)["kills"], document(evidence)["stayed_away"]) == (3, 0)
    assert (document(absent)["kills"], document(absent)["stayed_away"]) == (3, 1)
    assert "stayed away" in page(absent)
    assert "stayed away" not in page(evidence)


def test_findings_are_told_to_programs_with_their_promise_and_count() -> None:
    found = document(broken(honest(KINDS)))
    assert (found["verdict"], found["unaccounted"]) == ("broken", 30)
    (finding,) = found["findings"]  # type: ignore[misc]
    assert (finding["kind"], finding["count"], len(finding["first"])) == ("unaccounted", 30, 20)
    assert finding["promise"].startswith("I4")


def test_a_drill_without_faults_or_fires_has_a_document_too() -> None:
    nothing = replace(honest(()), runs=(), calls=(), jobs=())
    assert document(nothing)["takeover_ms"] == {"p50": None, "p99": None, "max": None}
    assert "Held" in page(nothing)


def test_people_get_the_figures_and_one_line_that_says_it() -> None:
    evidence = honest(KINDS)
    text = page(evidence)
    fires = f"{check(evidence).accounting.expected:,}"
    for figure in ("4 faults", "stop-10", "32.0", "3,002", fires, "unaccounted", "5", "seed 11"):
        assert figure in text
    assert text.count("Held") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_people_get_the_first_findings_and_how_to_play_it_again() -> None:
    text = page(broken(honest(KINDS)))
    assert "Broken. 30 findings of 1 kind" in text
    assert "--seed 11" in text
    assert "unaccounted × 30" in text
    assert "and 25 more" in text
    assert "docs/invariants.md" in text, "where the findings' names are explained"
    assert "Held" not in text


def test_names_are_no_markup() -> None:
    evidence = honest(())
    strange = replace(evidence, runs=(replace(evidence.runs[0], job_id="[red]<job>&"), *evidence.runs[1:]))
    assert "[red]<job>&" in page(strange)


@pytest.mark.parametrize("faults", [0, 4, 120])
def test_the_terminal_picture_fits_80_columns(faults: int) -> None:
    evidence = honest(("kill",) * faults)
    text = printed(picture_text.draw(compose(evidence)))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("replica a") <= 3
    marked = "".join(line.removeprefix("faults") for line in text.splitlines() if line.startswith("faults"))
    assert bool(marked.strip()) is (faults > 0)


def test_a_long_drill_has_few_lanes() -> None:
    """A replacement takes over the lane of the dead."""
    assert compose(honest(("kill",) * 120)).lanes <= 4


@pytest.mark.parametrize("kinds", [(), ("kill",), KINDS, ("kill",) * 120])
def test_the_svg_is_xml_that_needs_nothing_else(kinds: tuple[str, ...]) -> None:
    evidence = honest(kinds)
    drawn = svg(evidence)
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(": kill" in title for title in titles) == kinds.count("kill")
    assert "href" not in drawn
    assert "url(" not in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_the_svg_escapes_what_it_is_told() -> None:
    evidence = honest(("kill",))
    fault = replace(evidence.faults[0], target='<leader> & "friends"')
    ET.fromstring(svg(replace(evidence, faults=(fault,))))


def test_a_silence_is_marked_where_nobody_fired() -> None:
    picture = compose(honest(("stop-10",)))
    assert any(silence.since < 2.1 and silence.until > 4.9 for silence in picture.silences)
    assert picture.fires_between(2.1, 4.9) == 0
    (mark,) = picture.marks
    assert mark.until - mark.since == pytest.approx(3.002)


def test_what_happened_outside_the_window_is_left_out() -> None:
    evidence = honest(KINDS)
    picture = compose(replace(evidence, began_at=at(1), ended_at=at(3)))
    assert all(0 <= life.since <= life.until <= 2 for life in picture.lives)
    assert all(0 <= term_span.since <= term_span.until <= 2 for term_span in picture.terms)
    ET.fromstring(svg(replace(evidence, began_at=at(1), ended_at=at(3))))
