"""HTML pages in one file, which need no network: styles, scripts, pictures and sounds are inside."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any


def render(package: str, name: str, **values: Any) -> str:
    """Return the page of a template, which extends ``frame.html``; all values are escaped.

    Args:
      package: package whose folder ``templates`` has NAME.html, NAME.css and NAME.js.
      name: name of the three files.
      **values: variables of the template; ``title`` is needed.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = ChoiceLoader([PackageLoader(package), PackageLoader("genjax.figures")])
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(f"{name}.html")
    files = resources.files(package) / "templates"
    style, script = (Markup((files / f"{name}.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    return template.render(style=style, script=script, **values)


def data_uri(kind: str, content: bytes) -> str:
    """Return a file as a URI that holds it, such as the ``src`` of an image.

    >>> data_uri("text/plain", b"genjax")
    'data:text/plain;base64,Z2VuamF4'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
