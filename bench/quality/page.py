"""The page of figures, `docs/reference/quality.md`: each trial owns what stands between its two markers."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/quality.md"


def put(section: str, text: str, page: Path = PAGE) -> None:
    """Write `text` between the markers of `section`. Raises ValueError if the page has none."""
    begin, end = f"<!-- {section}:begin -->", f"<!-- {section}:end -->"
    before, found, rest = page.read_text("utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no markers {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", "utf-8")
