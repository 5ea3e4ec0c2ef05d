"""The style sheet of all pages: light and dark, screen and paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1d2126; --quiet: #5a626c; --line: #d9dde2; --soft: #f4f6f8;
  --link: #1f5c99; --right: 59 110 168; --wrong: 201 98 52; --bad: #8c2d0a;
  --span-light: 88%; --span-chroma: 68%; --label-light: 26%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #1c1c1c; --text: #e4e4e4; --quiet: #a3a8ae; --line: #3c3f43; --soft: #272727;
    --link: #86b7ea; --right: 96 152 214; --wrong: 222 126 80; --bad: #ffc4aa;
    --span-light: 25%; --span-chroma: 38%; --label-light: 84%;
  }
  /* Drawings are made for paper: this turns them over and keeps their hues. */
  .drawing svg { filter: invert(.89) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.5rem 4rem;
  background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",
    "Liberation Sans", Arial, sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0 .9rem; }
a { color: var(--link); }
code { font: .9em ui-monospace, "SFMono-Regular", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
.lead, figcaption, caption, .quiet { color: var(--quiet); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1.25rem 0 0;
  padding: 0; }

.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.2rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0; }
.tiles div { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .85rem; }
.tiles dt { color: var(--quiet); font-size: .85rem; }
.tiles dd { margin: 0; }
.tiles b { display: block; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles small { color: var(--quiet); }

.scroll { overflow-x: auto; margin: 1rem 0 1.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .925rem; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; font-weight: 400; }
thead th { border-bottom: 2px solid var(--line); color: var(--quiet); font-size: .85rem;
  vertical-align: bottom; white-space: nowrap; }
tbody th, tbody td { border-bottom: 1px solid var(--line); }
.number { text-align: right; padding: .3rem .5rem .3rem .9rem; white-space: nowrap; }
td.number + td:not(.number), th.number + th:not(.number) { padding-left: 1.25rem; }
tr.paper th, tr.paper td { color: var(--quiet); font-style: italic; }
tr.difference td, tr.difference th { background: var(--soft); }
.bar { display: inline-block; width: 6rem; height: .6rem; margin-left: .6rem; background: var(--soft);
  outline: 1px solid var(--line); }
.bar i { display: block; height: 100%; background: rgb(var(--right)); }

.confusion table { font-size: .8rem; }
.confusion thead th { height: 9.5rem; padding: 0; border-bottom-width: 1px; }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); padding: .3rem 0; }
.confusion thead th:first-child { vertical-align: bottom; padding: .3rem .5rem .3rem 0; }
.confusion tbody th { white-space: nowrap; padding: .15rem .6rem .15rem 0; position: sticky; left: 0;
  background: var(--page); }
.confusion td { min-width: 1.75rem; padding: .15rem .3rem; text-align: center;
  border: 1px solid var(--line); }
.confusion td.right { background: rgb(var(--right) / var(--share)); font-weight: 600; }
.confusion td.wrong { background: rgb(var(--wrong) / var(--share)); }
.confusion td.last { border-right: 3px solid var(--line); }
.confusion tr.sums td, .confusion tr.sums th { border-top: 3px solid var(--line); }

figure { margin: 1.25rem 0 1.75rem; }
.drawing svg { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; max-width: 46rem; margin-top: .5rem; }
details { margin: .75rem 0 1.5rem; }
summary { cursor: pointer; color: var(--link); }

ol.sentences { list-style: none; padding: 0; margin: 1rem 0; }
ol.sentences > li { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 .75rem;
  padding: .55rem .9rem .65rem; break-inside: avoid; }
.sentences .about { color: var(--quiet); font-size: .82rem; margin: 0 0 .2rem; max-width: none; }
.reading { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem; align-items: baseline; }
.reading .who { color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
.reading .what { line-height: 2.15; overflow-wrap: anywhere; }
mark { color: inherit; background: hsl(var(--hue) var(--span-chroma) var(--span-light));
  border: 1px solid transparent; border-radius: .3rem; padding: .2rem .35rem;
  -webkit-box-decoration-break: clone; box-decoration-break: clone;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
mark b { font-size: .72em; font-weight: 650; margin-left: .35rem; letter-spacing: .01em;
  color: hsl(var(--hue) 60% var(--label-light)); }
mark small { font-size: .7em; margin-left: .3rem; opacity: .9; font-variant-numeric: tabular-nums; }
mark.wrong { border: 1.5px dashed var(--bad); }
.sign { color: var(--bad); font-weight: 700; margin-right: .2rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }

@media (max-width: 40rem) {
  body { padding: 1.25rem .9rem 3rem; }
  .reading { grid-template-columns: 1fr; gap: 0; }
}
@media print {
  :root { --page: #fff; --text: #000; --quiet: #444; --line: #bbb; --soft: #f4f4f4; --link: #000;
    --right: 59 110 168; --wrong: 201 98 52; --bad: #8c2d0a; --span-light: 88%; --span-chroma: 68%;
    --label-light: 26%; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .drawing svg { filter: none; }
  h2, h3, caption { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .confusion td, .bar i { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .confusion table { font-size: .55rem; }
  .confusion td { min-width: 0; padding: .05rem .12rem; }
}
"""
