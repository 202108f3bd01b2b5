"""HTML elements whose text is escaped unless it was made here."""

import re
from html import escape

# What HTML does not allow in a document, and what would turn the text around it about.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_VOID = {"meta", "img"}


class Markup(str):
    """Text that is HTML already, and goes into elements as it is."""

    __slots__ = ()


def element(name, /, *content, **attributes):
    """An element around its content.

    Parameters
    ----------
    name : str
    *content : Markup or object
        What is no Markup is escaped. None and False are left out.
    **attributes : object
        ``class_`` and ``for_`` lose their last underscore, others become hyphens. Those that are
        None are left out.

    Returns
    -------
    html : Markup
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{clean(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*content)}</{name}>")


def join(*content, by=""):
    """Content behind each other, escaped where it is no Markup."""
    return Markup(
        by.join(
            part if isinstance(part, Markup) else clean(part)
            for part in content
            if part is not None and part is not False
        )
    )


def clean(text):
    """Escaped text; what no document may hold, half surrogates included, becomes U+FFFD."""
    text = str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return escape(_CONTROL.sub("\ufffd", text), quote=True)


def isolated(text):
    """A string of the user, whose writing direction does not reach what is around it.

    Lines may break behind underscores and slashes, which stand where other text has spaces.
    """
    return element("bdi", Markup(re.sub("([_/])(?=.)", r"\1<wbr>", clean(text))))
