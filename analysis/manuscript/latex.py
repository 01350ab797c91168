"""LaTeX of the texts for a paper, plain ASCII: whatever names the store holds, it compiles with any engine."""

import re
import unicodedata
from collections.abc import Sequence

from analysis.formatting import MISSING, format_difference, format_mean
from analysis.manuscript.results_table import ResultBlock, ResultRow, format_interval_text, make_caption_text
from analysis.manuscript.statements import Citations, Section

TABLE = "table.tex"
# Longer names of arms go over several lines.
LONG_NAME = 30
COLUMNS = ("arm", "n", "mean ± sd", "difference", "interval", "pairs", "p")
_COMMANDS = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # Between two that would be one sign, see escape_latex.
    "\u2060": "{}",
    # At the beginning of a row they would be read as an argument of the one before.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # A name may break behind it.
    "_": r"\_\allowbreak{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≠": r"$\ne$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    **{character: f"\\{character}" for character in "&%$#{}"},
}
# Combining mark -> accent of LaTeX.
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Return a text as ASCII LaTeX on one line; what LaTeX has no sign for is [U+XXXX]."""
    apart = re.sub(r"([-'`])(?=\1)", "\\1\u2060", " ".join(text.split()))
    return "".join(_escape_character(character) for character in apart)


def _escape_character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii() and character.isprintable():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    return f"{{[}}U+{ord(character):04X}{{]}}"


def render_table(blocks: tuple[ResultBlock, ...], citations: Citations) -> str:
    """Return table.tex: a booktabs table of several sweeps, with caption and label."""
    width = max(len(_name_row(row)) for block in blocks for row in block.rows)
    first = "l" if width <= LONG_NAME else r"p{0.28\linewidth}"
    header = " & ".join(escape_latex(column) for column in COLUMNS)
    lines = [
        "% \\usepackage{booktabs}; runs.csv has the runs behind each label (r1, r2, ...).",
        r"\begin{table}",
        r"\centering",
        r"\small",
        f"\\caption{{{escape_latex(make_caption_text(blocks))}}}",
        f"\\label{{tab:{make_label('-'.join(block.sweep for block in blocks))}}}",
        r"\smallskip",
        f"\\begin{{tabular}}{{@{{}}{first}rrrlrr@{{}}}}",
        r"\toprule",
        f"{header} \\\\",
    ]
    for block in blocks:
        title = f"\\multicolumn{{{len(COLUMNS)}}}{{@{{}}l}}{{\\textit{{{escape_latex(block.title)}}}}}"
        lines += [r"\midrule", f"{title} \\\\"]
        lines += [_render_row(row, block, citations) for row in block.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def make_label(name: str) -> str:
    """Return a name of letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:80] or "results"


def _name_row(row: ResultRow) -> str:
    return f"{row.name} (baseline)" if row.is_baseline else row.name


def _render_row(row: ResultRow, block: ResultBlock, citations: Citations) -> str:
    """Return a row, with the labels of its runs in a comment."""
    topic = f"{block.sweep} {row.name} {block.metric}"
    labels: dict[str, None] = {}

    def cite(name: str, text: str, runs: Sequence[str], value: float | None) -> str:
        labels.setdefault(citations.cite(TABLE, f"{topic}: {name}", text, runs, value), None)
        return escape_latex(text)

    summary, comparison = row.summary, row.comparison
    cells = [escape_latex(_name_row(row)), "", "", "", "", "", ""]
    if summary is not None:
        cells[1] = cite("n", str(summary.n), row.arm_runs, summary.n)
        nan = float("nan")
        mean, deviation = (nan if number is None else number for number in (summary.mean, summary.deviation))
        text = cite("mean", format_mean(mean, deviation, block.metric), row.arm_runs, summary.mean)
        cells[2] = _embolden(text) if row.is_better else text
    if comparison is not None:
        size = format_difference(comparison.difference, block.metric)
        text = cite("difference", size, row.pair_runs, comparison.difference)
        cells[3] = _embolden(text) if row.is_sure else text
        cells[4] = cite("interval", format_interval_text(comparison, block.pairs_noun), row.pair_runs, None)
        cells[5] = cite("pairs", str(comparison.num_pairs), row.pair_runs, comparison.num_pairs)
        p = comparison.adjusted_p
        cells[6] = cite("p", f"{p:.2g}", row.pair_runs, p) if p is not None else ""
    text = " & ".join(cell or escape_latex(MISSING) for cell in cells)
    return f"{text} \\\\ % {' '.join(filter(None, labels))}".rstrip(" %")


def _embolden(text: str) -> str:
    """Return LaTeX in bold, its signs too."""
    return f"\\textbf{{\\boldmath {text}}}"


def render_standalone(table: str) -> str:
    """Return a document with the table alone."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[margin=2cm]{geometry}",
            r"\usepackage{booktabs}",
            r"\pagestyle{empty}",
            r"\begin{document}",
            table.rstrip("\n"),
            r"\end{document}",
            "",
        ]
    )


def render_sections(sections: Sequence[Section], file: str, citations: Citations) -> str:
    """Return sections as LaTeX paragraphs, a sentence a line, with the label of its runs in a comment."""
    paragraphs = []
    for section in sections:
        lines = [f"\\paragraph{{{escape_latex(section.title)}.}}"]
        for statement in section.statements:
            label = citations.cite_statement(file, section.title, statement)
            lines.append(f"{escape_latex(statement.text)}{f' % {label}' if label else ''}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs) + "\n"
