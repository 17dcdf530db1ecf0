"""The markup that pages have in common: one file without scripts that loads nothing, for a screen, a phone or paper."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pentimento.runtime import atomic_write

__all__ = ["body", "row", "short_hash", "table", "titled", "wide", "write_page"]

_PAGE = Path(__file__).with_name("page.html")


def write_page(path: Path, title: str, lead: str, contents: str, made: tuple[str, str]) -> None:
    """Write a page; what stands at `path` is replaced at once or not at all.

    Args:
        path: of the page.
        title: as HTML.
        lead: a paragraph, as HTML.
        contents: as HTML, with headings of the second level.
        made: the version of Pentimento that made the numbers, and when (ISO 8601).

    Raises:
        StorageError: the disk is full or refuses.
    """
    parts = {
        "title": title,
        "lead": lead,
        "body": contents,
        "version": html.escape(made[0]),
        "time": html.escape(made[1].replace("T", " ").replace("+00:00", " UTC")),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _PAGE.read_text(encoding="utf-8"))
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def titled(sections: Mapping[str, str]) -> str:
    """Sections under their titles; empty ones are left out."""
    return "\n".join(f"<h2>{name}</h2>\n{section}" for name, section in sections.items() if section)


def short_hash(digest: str) -> str:
    """The beginning of a hash; the whole of it on demand."""
    return f"<code class='hash' title='{html.escape(digest)}'>{html.escape(digest[:12])}</code>" if digest else ""


def wide(table: str, label: str) -> str:
    """A table that scrolls by itself where the screen is narrower."""
    return f"<div class='wide' role='region' tabindex='0' aria-label='{label}'>{table}</div>"


def row(head: str, cells: Sequence[str], name: str = "", labels: Sequence[str] = ()) -> str:
    """A row; the roles keep it one where a narrow screen lays it out as a block, and `labels` then head its cells."""
    said = [f" data-label='{label}'" for label in labels] or [""] * len(cells)
    drawn = "".join(f"<td role='cell'{label}>{cell}</td>" for cell, label in zip(cells, said, strict=True))
    return f"<tr role='row'{name}><th role='rowheader' scope='row'>{head}</th>{drawn}</tr>"


def body(rows: Sequence[str]) -> str:
    """Rows."""
    return f"<tbody role='rowgroup'>{''.join(rows)}</tbody>"


def table(style: str, columns: Sequence[str], bodies: str) -> str:
    """A table of `bodies` under `columns`, the first of which heads the rows."""
    cells = "".join(f"<th role='columnheader' scope='col'>{name}</th>" for name in columns)
    head = f"<thead role='rowgroup'><tr role='row'>{cells}</tr></thead>" if columns else ""
    return f"<table role='table' class='{style}' style='--columns:{len(columns) - 1}'>{head}{bodies}</table>"
