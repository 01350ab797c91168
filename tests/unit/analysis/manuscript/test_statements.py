"""Numbers have labels that stand for sets of runs."""

import csv
import io

from analysis.manuscript.statements import Citations, Section, Statement, render_bullets, render_paragraph, render_runs


def test_the_same_runs_have_the_same_label_in_all_files() -> None:
    citations = Citations()
    assert citations.cite("a", "n", "3", ("x", "y")) == "r1"
    assert citations.cite("a", "n", "4", ("z",)) == "r2"
    assert citations.cite("b", "n", "5", ("x", "y", "x")) == "r1"


def test_a_text_without_numbers_or_runs_needs_no_label() -> None:
    citations = Citations()
    assert citations.cite("a", "t", "no number", ("x",)) == citations.cite("a", "t", "5", ()) == ""
    assert list(csv.reader(io.StringIO(citations.numbers_csv()))) == [["file", "topic", "text", "value", "runs"]]


def test_numbers_are_unrounded_and_name_the_label_of_their_runs() -> None:
    citations = Citations()
    citations.cite("table.tex", "mean", "37.1", ("x",), 0.37123456789012345)
    (row,) = csv.DictReader(io.StringIO(citations.numbers_csv()))
    assert float(row["value"]) == 0.37123456789012345 and (row["text"], row["runs"]) == ("37.1", "r1")
    rows = list(csv.DictReader(io.StringIO(citations.runs_csv({}))))
    assert [(row["runs"], row["run_id"], row["sweep"]) for row in rows] == [("r1", "x", "")]


def test_sentences_are_escaped_and_labelled_one_by_one() -> None:
    citations = Citations()
    section = Section("T", (Statement("3 of a*b.", ("x",)), Statement("None.", ("x",)), Statement("4.", ("y",))))
    assert render_paragraph(section, "a.md", citations) == r"3 of a\*b. [r1] None. 4. [r2]"
    assert render_bullets(section, "b.md", citations)[1] == "- None."
    assert "- r1: run x\n- r2: run y\n" in render_runs("a.md", citations)
    assert render_runs("c.md", citations) == ""


def test_of_many_runs_a_text_names_some() -> None:
    citations = Citations()
    citations.cite("a", "n", "1", [f"{number:032x}" for number in range(15)])
    (line,) = citations.list_runs("a")
    assert line.startswith("r1: 15 runs: 00000000, ") and line.endswith(" and 3 more")
