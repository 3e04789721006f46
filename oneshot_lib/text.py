"""Tables as text: aligned columns, whole cells, and nothing that only a terminal understands."""

import io
from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], heading: Sequence[str] | None = None) -> str:
    """The rows as lines, in columns as wide as their widest cell on the screen, under their heading.

    >>> print(columns([["a", "1"], ["bcd", "2"]], ["name", "n"]))
    name  n
    a     1
    bcd   2
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=heading is not None, header_style="")
    for name in heading if heading is not None else rows[0] if rows else ():
        table.add_column(Text(name if heading is not None else ""), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=1_000_000, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
