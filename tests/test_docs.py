"""The documentation: its code runs, and its API pages are those of the public names."""

import doctest
import importlib.util
import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

import milkit

from .test_common import public_estimators, public_names

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUILT = {DOCS / "_build", DOCS / "auto_examples", DOCS / "api" / "generated"}
PAGES = sorted(path for path in DOCS.rglob("*.rst") if not BUILT & set(path.parents))
CODE_PAGES = [path for path in PAGES if ">>>" in path.read_text(encoding="utf-8")]


def load(path):
    """A module of the documentation, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = load(DOCS / "api" / "_names.py")
MADE = load(DOCS / "_pages.py")


def name_of(path):
    return path.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("path", CODE_PAGES, ids=name_of)
def test_code_on_pages_runs(path):
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(
        str(path), module_relative=False, optionflags=options, encoding="utf-8"
    )
    assert tried > 0
    assert failed == 0, f"{failed} of {tried} examples in {path.name} failed; see the output."


def test_the_guide_has_code():
    assert {"index.rst", "guide/bags.rst", "guide/evaluation.rst"} <= set(map(name_of, CODE_PAGES))


def test_every_public_name_has_one_page():
    listed = API.full_names()
    twice = {name for name in listed if listed.count(name) > 1}
    assert not twice, f"{sorted(twice)} are listed more than once in docs/api/_names.py."
    missing = public_names().keys() - set(listed)
    assert not missing, f"Add {sorted(missing)} to docs/api/_names.py."
    gone = set(listed) - public_names().keys()
    assert not gone, f"docs/api/_names.py lists {sorted(gone)}, which no public module exports."


def test_top_level_names_lead_to_one_page():
    last = [name.rpartition(".")[2] for name in API.full_names()]
    assert len(last) == len(set(last))
    assert set(milkit.__all__) <= set(last)


@pytest.mark.parametrize("cls", public_estimators(), ids=lambda cls: cls.__name__)
def test_link_of_an_estimator_leads_to_its_page(cls):
    link = urlparse(cls.__new__(cls)._get_doc_link())
    folder, _, page = link.path.removesuffix(".html").rpartition("/")
    assert folder.endswith("/api/generated")
    assert page in API.full_names()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "generated"
    folder.mkdir()
    (folder / "milkit.svm.Gone.rst").write_text("Gone", encoding="utf-8")
    MADE.write_api_pages(folder, API.SECTIONS)
    return folder


def test_pages_are_written_for_the_listed_names_only(pages):
    assert {path.stem for path in pages.iterdir()} == set(API.full_names())


def test_pages_that_did_not_change_are_left_alone(pages):
    before = {path: path.stat().st_mtime_ns for path in pages.iterdir()}
    MADE.write_api_pages(pages, API.SECTIONS)
    assert before == {path: path.stat().st_mtime_ns for path in pages.iterdir()}


def test_page_of_a_class_documents_its_own_methods(pages):
    text = (pages / "milkit.svm.MISVM.rst").read_text(encoding="utf-8")
    assert text.startswith("MISVM\n=====\n")
    members = re.search(r":members: (.*)", text)[1].split(", ")
    assert {"fit", "predict", "score_instances"} <= set(members)
    assert "get_params" not in members
    assert "``get_params``" in text


def test_pages_link_to_the_guide(pages):
    guides = {
        name: guide for section in API.SECTIONS for name, guide in section.get("guides", {}).items()
    }
    assert guides
    for name, guide in guides.items():
        (module,) = (full for full in API.full_names() if full.endswith(f".{name}"))
        assert f":doc:`{guide}`" in (pages / f"{module}.rst").read_text(encoding="utf-8")
        assert (DOCS / f"{guide[1:]}.rst").exists()


def test_page_of_a_function(pages):
    text = (pages / "milkit.kernels.set_kernel.rst").read_text(encoding="utf-8")
    assert ".. autofunction:: set_kernel" in text


def test_index_lists_every_name():
    index = MADE.api_index(API.SECTIONS)
    assert re.findall(r"^   ~(\S+)$", index, re.MULTILINE) == API.full_names()


def test_included_code_is_found():
    """What the pages include still is where they say."""
    found = 0
    for page in PAGES:
        for block in re.split(
            r"^\.\. literalinclude:: ", page.read_text(encoding="utf-8"), flags=re.M
        )[1:]:
            code = (page.parent / block.split("\n", 1)[0].strip()).read_text(encoding="utf-8")
            for mark in re.findall(r"^ +:(?:start-at|end-before): (.*)$", block, re.MULTILINE):
                assert mark in code
            found += 1
    assert found >= 2
