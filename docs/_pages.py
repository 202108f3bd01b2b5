"""Pages that are made from data: the API from ``api/_names.py``."""

import inspect
from importlib import import_module


def api_index(sections):
    """The body of ``api/index.rst``: a table for each section."""
    lines = []
    for section in sections:
        lines += [section["title"], "-" * len(section["title"]), "", section["text"], ""]
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        for module, names in section["names"].items():
            lines += [f"   ~{module}.{name}" for name in names]
        lines.append("")
    return "\n".join(lines)


def api_page(module, name, guide=None):
    """The page of one public class or function, with a link to ``guide``."""
    value = getattr(import_module(module), name)
    lines = [name, "=" * len(name), "", f".. currentmodule:: {module}", ""]
    if guide:
        lines += [f"In the guide: :doc:`{guide}`.", ""]
    if inspect.isclass(value):
        own, inherited = members(value)
        lines += [f".. autoclass:: {name}"]
        if own:
            lines += [f"   :members: {', '.join(own)}", "   :member-order: bysource"]
        if inherited:
            listed = ", ".join(f"``{member}``" for member in inherited)
            lines += ["", f"Besides, from scikit-learn: {listed}."]
    else:
        lines += [f".. autofunction:: {name}"]
    lines += ["", f".. minigallery:: {module}.{name} milkit.{name}"]
    lines += ["   :add-heading: Examples that use it", "   :heading-level: -", ""]
    return "\n".join(lines)


def members(cls):
    """Names of the public members that milkit wrote, and those that come from scikit-learn."""
    own, inherited = [], []
    for name in dir(cls):
        if name.startswith("_"):
            continue
        home = next(base for base in cls.__mro__ if name in vars(base))
        # The metadata requests (set_fit_request, ...) are made by scikit-learn in each class.
        if name.startswith("set_") and name.endswith("_request"):
            inherited.append(name)
        elif home.__module__.startswith("milkit"):
            if inspect.getdoc(getattr(home, name)) and _is_member(vars(home)[name]):
                own.append(name)
        elif home.__module__.startswith("sklearn") and callable(getattr(cls, name)):
            inherited.append(name)
    return own, inherited


def _is_member(value):
    # A slot, a dataclass field or a class constant has no docstring of its own.
    return inspect.isroutine(value) or isinstance(value, property)


def write_api_pages(folder, sections):
    """Write the pages that changed and remove those of names that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        f"{module}.{name}.rst": api_page(module, name, section.get("guides", {}).get(name))
        for section in sections
        for module, names in section["names"].items()
        for name in names
    }
    for old in folder.glob("*.rst"):
        if old.name not in wanted:
            old.unlink()
    for file, text in wanted.items():
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


class QuickstartFirst:
    """Order of the examples: the quickstart, then by name."""

    def __init__(self, folder):
        pass

    def __call__(self, file):
        return "quickstart" not in file, file
