"""Pages of the public web, read as they arrive."""

from chatwright.adapters.web.pages import Page, PageFailed, Web, open_page

__all__ = ["Page", "PageFailed", "Web", "open_page"]
