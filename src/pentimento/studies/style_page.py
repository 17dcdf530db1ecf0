"""The sections of a page that only a study of styles has: shares of variance, and contents over strengths."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from torch import Tensor

from pentimento.causal import Share
from pentimento.evaluate import markup, plots
from pentimento.evaluate.figures import PICTURES_BYTES, sheet_figure
from pentimento.evaluate.intervals import Estimate

__all__ = ["part_name", "share_text", "shares_section", "sheets_section"]

SHORT = {  # in a plot, where names are short
    ("content", "style"): "content×style",
    ("content", "strength"): "content×str.",
    ("style", "strength"): "style×str.",
    ("content", "style", "strength"): "all three",
}


def part_name(share: Share) -> str:
    """E.g. ``content x style``."""
    return " x ".join(share.factors)


def share_text(share: Share) -> str:
    """E.g. ``61 % (50 to 70 %)``."""
    value, low, high = (f"{100 * number:.0f}" for number in (share.value, share.low, share.high))
    return f"{value} % ({low} to {high} %)"


def shares_section(shares: Mapping[str, Sequence[Share]]) -> str:
    """HTML: a table and a plot with a bar for each part.

    Args:
        shares: of each outcome, in the same order of parts.
    """
    parts = [part_name(share) for share in next(iter(shares.values()))]
    rows = [markup.row(html.escape(name), [share_text(share) for share in found]) for name, found in shares.items()]
    table = markup.wide(markup.table("numbers many", ["", *parts], markup.body(rows)), "Shares of variance")
    figures = []
    for index, (name, found) in enumerate(shares.items()):
        bars = [
            plots.Share(
                SHORT.get(share.factors, part_name(share)),
                Estimate(share.value, share.low, share.high),
                f"{100 * share.value:.0f} %",
                None,
            )
            for share in found
        ]
        drawn = plots.share_plot(index, f"Shares of the variance of {name}", bars)
        figures.append(f"<figure><figcaption><b>{html.escape(name)}</b></figcaption>{drawn}</figure>")
    about = (
        "<p class='quiet'>How much of the variance over all pictures takes exactly these factors to be explained, with "
        "its 95&nbsp;% interval over contents and styles. A x B is what the effect of A changes with B.</p>"
    )
    return f"{about}{table}<div class='plots'>{''.join(figures)}</div>"


def sheets_section(sheets: Mapping[str, Tensor]) -> str:
    """HTML: the sheets with their captions."""
    budget = PICTURES_BYTES // max(1, len(sheets))
    figures = [sheet_figure(sheet, html.escape(caption), caption, budget) for caption, sheet in sheets.items()]
    about = "<p class='quiet'>A row is one content; strength rises from left to right.</p>"
    return f"{about}<div class='sheets' style='--columns:2'>{''.join(figures)}</div>" if figures else ""
