"""A sweep for people: a table with the fitted exponents, and a plot where there is matplotlib: `pip install .[bench]`.

Rule of this room: both show what was measured, and mark what grows faster than n log n.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ops.bench.figures import Content, number
from ops.bench.fitting import Series

FASTER = "faster than n log n"
in_a_row_max = 4
margin = 5
"""Above and below, so that what is flat looks flat."""


def sheet(name: str, what: str, series: Sequence[Series], where: Content) -> str:
    """The table, in Markdown."""
    sizes = [f"{size:,}" for size in series[0].sizes]
    rows = [["", "unit", *sizes, "exponent", "latest", "n log n has", ""], ["---", *["---:"] * (len(sizes) + 5)]]
    for each in series:
        values = [number(value) for value in each.values]
        mark = f"**{FASTER}**" if each.too_fast else ""
        rows.append(
            [each.name, each.unit, *values, f"{each.exponent:.2f}", f"{each.latest:.2f}", f"{each.bound:.2f}", mark]
        )
    told = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    place = ", ".join(f"{key} {value}" for key, value in where.items())
    notes = "Latest: between the two largest sizes. What one costs may grow as log n."
    return f"# {name}: by {what}\n\n{told}\n\n{notes} {place}.\n"


def plot(file: Path, what: str, series: Sequence[Series]) -> str:
    """Draw it, each cost against the size, both as logarithms; says what became of it."""
    try:
        import matplotlib
    except ImportError:
        return f"no {file.name}: there is no matplotlib; `pip install -e .[bench]` brings it"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(series) // in_a_row_max)
    columns = -(-len(series) // rows)
    figure, places = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 3.2 * rows), squeeze=False)
    for place in places.flat[len(series) :]:
        place.axis("off")
    for place, each in zip(places.flat, series, strict=False):
        colour = "tab:red" if each.too_fast else "tab:blue"
        place.loglog(each.sizes, each.values, "o-", color=colour)
        place.set_title(
            f"{each.name}\nexponent {each.exponent:.2f}{', ' + FASTER if each.too_fast else ''}", fontsize=8
        )
        place.set_ylim(min(each.values) / margin, max(each.values) * margin)
        place.set_xlabel(what)
        place.set_ylabel(each.unit)
        place.grid(visible=True, which="major", alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=70)
    pyplot.close(figure)
    return f"{file.name} is drawn"
