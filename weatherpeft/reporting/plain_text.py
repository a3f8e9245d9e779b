"""Tables as plain text."""

from collections.abc import Sequence


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """A head and lines in aligned columns, the first to the left and the others to the right.

    >>> print(table_text([["name", "mean"], ["lora", "1"]]))
    name  mean
    ----  ----
    lora     1
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in (rows[0], rule, *rows[1:])
    )
