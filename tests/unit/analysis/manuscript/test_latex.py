"""Names of the store as LaTeX: ASCII that means the same and can end no row, argument or comment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.manuscript.latex import escape_latex, make_label, render_standalone


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("from_regression", r"from\_\allowbreak{}regression"),
        ("50 % & $5 #1 {x}", r"50 \% \& \$5 \#1 \{x\}"),
        (r"a\b ^ ~", r"a\textbackslash{}b \textasciicircum{} \textasciitilde{}"),
        ("<a>|b", r"\textless{}a\textgreater{}\textbar{}b"),
        # Behind \\ they would be an argument.
        ("[1] *x*", "{[}1{]} {*}x{*}"),
        # No dash and no quotes of ligatures.
        ("a--b 'c' ''", "a-{}-b 'c' '{}'"),
        ("−2.4 ± 0.3", r"$-$2.4 $\pm$ 0.3"),
        ("Größe, naïve, Ångström, Łódź", r"Gr\"{o}\ss{}e, na\"{i}ve, \r{A}ngstr\"{o}m, \L{}\'{o}d\'{z}"),
        ("中 🙂 α", "{[}U+4E2D{]} {[}U+1F642{]} {[}U+03B1{]}"),
        ("a\nb\t\tc", "a b c"),
        ("bell\x07", "bell{[}U+0007{]}"),
        ("it's", "it's"),
    ],
)
def test_special_characters_are_written_as_what_they_are(text: str, latex: str) -> None:
    assert escape_latex(text) == latex


@given(st.text())
def test_any_text_is_one_line_of_printable_ascii_with_balanced_braces(text: str) -> None:
    latex = escape_latex(text)
    assert latex.isascii() and (latex.isprintable() or latex == "")
    bare = latex.replace(r"\{", "").replace(r"\}", "")
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0


@given(st.text())
def test_no_character_is_left_that_latex_reads_otherwise(text: str) -> None:
    latex = escape_latex(text)
    for character in "%&#$_":
        position = latex.find(character)
        while position >= 0:
            is_escaped = latex[:position].endswith("\\")
            # The signs are written in math.
            assert is_escaped or character == "$"
            position = latex.find(character, position + 1)
    assert "~" not in latex.replace(r"\~{", "")


def test_a_label_has_letters_digits_and_dashes() -> None:
    assert make_label("a_b.c <x>") == "a-b-c-x"
    assert make_label("中") == "results"


def test_a_document_holds_the_table_once() -> None:
    document = render_standalone("TABLE\n")
    assert document.count("TABLE") == 1 and document.endswith("\\end{document}\n")
