"""The browser that pages are drawn and measured in, by the bench and by the browser tests: where it is, how it is started."""

import shutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""Path of the program, or None where there is none."""

MISSING = "no Chromium on this machine (Debian: apt-get install chromium fonts-dejavu-core)"

ARGUMENTS = (
    "--no-sandbox",
    "--headless=new",
    # WebGL by software, and the page by software as well. With --use-angle=swiftshader instead, the page itself would be
    # put together by an emulated GPU, which no machine without one does, and which takes several times as long.
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    # Asks nobody but the servers under test.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
)
