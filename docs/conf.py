"""How `make docs` turns these pages into a site.

The pages are plain Markdown with relative links, so that they read well on a code host, too. The
contents of the site follow the links of `index.md`: a page that has no link there is an error.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

project = "broadcaster"
version = release = version_of("broadcaster-hub")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"broadcaster {release}"
html_show_copyright = False

myst_heading_anchors = 3
highlight_language = "none"  # of a block that names no language: a drawing, a transcript

default_role = "code"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False

# Types of Python and of other packages: this site links to none. Every name of ours must be found.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|contextlib|httpx|os|pathlib|pydantic|redis|starlette|typing)\..*"),
    (r"py:.*", r"[a-z]+|None|Any|Exception|ValueError|Path|Sequence|Mapping|Iterable"),
]

_ENTRY = re.compile(r"^(?:\| |\* )\[[^\]]+\]\(([\w/.-]+)\.md\)", re.MULTILINE)
_PAGE_LINK = re.compile(r"\]\((?P<path>\.\./[\w/.-]+\.md)(?:#[\w-]+)?\)")


def _contents(section: str) -> str:
    """The hidden contents of one section of the index: its heading, and the pages it links."""
    title, pages = section.partition("\n")[0], "\n".join(_ENTRY.findall(section))
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n"


def _prepare(app: Sphinx, name: str, source: list[str]) -> None:
    """Make the contents of the index's links; offer Markdown that is no page as a file."""
    if name == "index":
        source[0] += "".join(map(_contents, source[0].split("\n## ")[1:]))
    here = (Path(app.srcdir) / name).parent

    def outside(link: re.Match[str]) -> str:
        inside = (here / link["path"]).resolve().is_relative_to(app.srcdir)
        return link[0] if inside else f"](<path:{link['path']}>)"

    source[0] = _PAGE_LINK.sub(outside, source[0])


def _skip(_app: Sphinx, _what: str, _name: str, obj: object, skip: bool, _: object) -> bool:
    """Leave out a named tuple's fields, which its docstring describes."""
    return skip or type(obj).__name__ == "_tuplegetter"


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("source-read", _prepare)
