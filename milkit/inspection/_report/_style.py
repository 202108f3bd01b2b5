"""The frame of a report: one HTML document that asks nobody for anything."""

from milkit.inspection._report._markup import Markup, element, join

__all__ = ["CSS", "document"]

# Nothing is loaded but pictures that are in the page; no script runs, wherever text comes from.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)

CSS = """
:root { color-scheme: light dark; --text: #1b2127; --muted: #4c5763; --page: #ffffff;
  --panel: #f3f5f7; --rule: #c9d0d7; --for: #0b5cad; --against: #a84300; --ground: #dfe4e9;
  --focus: #7a1fa2; }
@media (prefers-color-scheme: dark) { :root { --text: #e9edf1; --muted: #b3bdc7;
  --page: #14181c; --panel: #1e242a; --rule: #46505a; --for: #7fbaff; --against: #ffb27d;
  --ground: #37404a; --focus: #e0a8ff; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1rem; }
main:focus { outline: none; }
h1, h2, h3, h4, p, li, th, td, caption, summary, code { overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .25rem 0 .5rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .5rem; }
h3 { font-size: 1.1rem; line-height: 1.3; margin: 1rem 0 .5rem; }
h4 { font-size: 1rem; margin: .75rem 0 .25rem; }
p { margin: .35rem 0 .75rem; max-width: 46rem; }
ul { margin: .35rem 0 .75rem; padding-left: 1.25rem; max-width: 46rem; }
li { margin: .25rem 0; }
a { color: var(--for); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: .5rem; top: -4rem; padding: .5rem 1rem; z-index: 1;
  background: var(--page); }
.skip:focus { top: .5rem; }
.facts, .note, caption, .small { color: var(--muted); }
.small { font-size: .875rem; }
.part { border-top: 1px solid var(--rule); padding: 1rem 0 .5rem; }
.bag { border-top: 3px solid var(--rule); margin-top: 1.5rem; padding-top: 1rem; }
.answer { background: var(--panel); border-left: .4rem solid var(--for); padding: .6rem .9rem;
  max-width: none; }
.answer strong { display: block; font-size: 1.6rem; line-height: 1.25; }
.answer span { display: block; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; margin: .5rem 0 1rem; }
caption { text-align: left; font-size: .875rem; padding-bottom: .25rem; }
th, td { border-top: 1px solid var(--rule); padding: .35rem .5rem .35rem 0; text-align: left;
  vertical-align: middle; }
thead th { border-top: 0; font-size: .8125rem; color: var(--muted); vertical-align: bottom; }
tbody th { font-weight: 400; }
tr.chosen th { font-weight: 700; }
.numbers td { font-variant-numeric: tabular-nums; }
.narrow { max-width: 20rem; }
.classes, .covariates { font-size: .9rem; }
.missing { font-style: italic; color: var(--muted); }
.instances .rank { width: 2.9rem; }
.instances .evidence { width: 5.2rem; }
.listed .name { width: 4rem; }
.classes thead th:first-child:nth-last-child(3), .covariates thead th:first-child { width: 34%; }
.covariates thead th:last-child:nth-child(3), .classes thead th:last-child:nth-child(3) {
  width: 39%; }
.cell { display: flex; flex-wrap: wrap; align-items: center; gap: .1rem .75rem; }
.cell > div { min-width: 0; max-width: 100%; }
.instances td { font-variant-numeric: tabular-nums; }
.instances img { display: block; width: 4.1rem; height: 4.1rem; object-fit: contain;
  background: var(--ground); }
.pixels { image-rendering: pixelated; }
.value { display: block; white-space: nowrap; }
.bar { display: block; width: 100%; max-width: 12rem; height: .7rem; }
.bar path { vector-effect: non-scaling-stroke; fill: none; }
.bar .ground { fill: var(--ground); }
.bar .share, .bar .for, .curve circle { fill: var(--for); }
.bar .against { fill: var(--against); }
.bar .axis { stroke: var(--text); stroke-width: 1.5px; }
.bar .spread { stroke: var(--text); stroke-width: 2px; }
.curve { display: block; width: 100%; max-width: 46rem; height: auto; }
.curve text { font: 17px system-ui, sans-serif; fill: var(--text); }
.curve .area { fill: var(--ground); }
.curve .zero { stroke: var(--text); stroke-width: 1; fill: none; }
.curve .line { stroke: var(--for); stroke-width: 2; fill: none; }
summary { cursor: pointer; padding: .35rem 0; width: fit-content; }
pre { white-space: pre-wrap; background: var(--panel); padding: .75rem; margin: .25rem 0 1rem;
  font-size: .875rem; }
footer { border-top: 1px solid var(--rule); padding: .75rem 0; }
@media (min-width: 40rem) { main { padding: 1.5rem 2rem; }
  .classes, .covariates { font-size: 1rem; } .instances .evidence { width: 9rem; }
  .listed .name { width: 4.5rem; }
  .instances img { width: 5rem; height: 5rem; }
  .curve text { font-size: 11px; } .answer { padding: .8rem 1.2rem; } }
@media (min-width: 60rem) { .pair { display: grid; grid-template-columns: 1fr 1fr;
  gap: 0 2.5rem; align-items: start; } }
@media print { :root { color-scheme: light; --text: #000; --muted: #333; --page: #fff; }
  .skip { display: none; } main { max-width: none; padding: 0; }
  tr, .curve, .answer { break-inside: avoid; } h2, h3, h4, caption { break-after: avoid; }
  .instances img { width: 3.5rem; height: 3.5rem; }
  details::details-content { content-visibility: visible; } summary { list-style: none; } }
""".strip()


def document(title, *content):
    """The whole page.

    Parameters
    ----------
    title : str
    *content : Markup
        What stands in its main part.

    Returns
    -------
    html : Markup
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(CSS)),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        element("main", join(*content, by="\n"), id="report", tabindex="-1"),
    )
    page = element("html", "\n", head, "\n", body, "\n", lang="en")
    return join(Markup("<!DOCTYPE html>\n"), page, "\n")
