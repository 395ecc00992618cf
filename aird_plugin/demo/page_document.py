"""The page as one document, from the files of demo/page."""

import base64
import hashlib
from importlib import resources

SCRIPTS = ("common.js", "comparison.js", "photo.js", "gallery.js", "start.js")
STYLES = ("style.css", "photo.css")


def page() -> tuple[bytes, str]:
    """The page with its script and style inline, and its Content-Security-Policy, which allows these two alone, by hash."""
    folder = resources.files("aird_plugin.demo").joinpath("page")
    html, policies = folder.joinpath("index.html").read_bytes(), []
    for tag, files in (("script", SCRIPTS), ("style", STYLES)):
        inline = b"\n" + b"\n".join(folder.joinpath(file).read_bytes() for file in files)
        empty = f"<{tag}></{tag}>".encode()
        assert html.count(empty) == 1, f"index.html has one empty <{tag}>"
        html = html.replace(empty, f"<{tag}>".encode() + inline + f"</{tag}>".encode())
        policies.append(f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(inline).digest()).decode()}'")
    return html, (
        f"default-src 'none'; {'; '.join(policies)}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
