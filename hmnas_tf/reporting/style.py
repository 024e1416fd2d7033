"""How the page looks: light and dark, wide and narrow, on a screen and on paper."""

STYLE = """
:root {
  --ink: #1d2126; --muted: #55606b; --faint: #c4cad1; --paper: #fff; --card: #f3f6f9;
  --link: #00569c; --mark: #fff0b8; --note: #fff6dd; --edge: #b27d00;
  --shadow: #1d212680; --bright: 1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ec; --muted: #a9b3bd; --faint: #48525b; --paper: #14181c; --card: #1d2328;
    --link: #7cc0ff; --mark: #4f3f00; --note: #2e2813; --edge: #d99a00;
    --shadow: #e6e9ec80; --bright: 1.25;
  }
}
@media print {
  :root {
    --ink: #000; --muted: #444; --faint: #bbb; --paper: #fff; --card: #fff; --link: #000; --mark: #eee; --note: #fff;
    --shadow: #0000; --bright: 1;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; }
body {
  margin: 0 auto; max-width: 68rem; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.15; margin: .5rem 0 .25rem; }
h2 { font-size: 1.35rem; margin: 0 0 .75rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { margin: .6rem 0; }
a { color: var(--link); }
.origin, figcaption, caption { color: var(--muted); font-size: .9rem; }
.found { font-size: 1.15rem; margin: 1rem 0; }
.note { background: var(--note); border-left: .3rem solid var(--edge); padding: .7rem 1rem; border-radius: .25rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; list-style: none;
  margin: 1.25rem 0; padding: 0; }
.figures li { background: var(--card); border-radius: .5rem; padding: .9rem 1rem; color: var(--muted); }
.figures .value { display: block; font-size: 1.75rem; font-weight: 650; line-height: 1.2; color: var(--ink);
  font-variant-numeric: tabular-nums; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1.5rem 0 0; padding: .75rem 0;
  border-block: 1px solid var(--faint); }
section { margin-top: 2.75rem; }
.scroll { overflow-x: auto; max-width: 100%; --ground: var(--paper); scrollbar-color: var(--muted) transparent;
  scrollbar-width: thin; background:
  linear-gradient(to right, var(--ground) 40%, transparent) left -1px top 0 / 2.2rem 100% local no-repeat,
  linear-gradient(to left, var(--ground) 40%, transparent) right -1px top 0 / 2.2rem 100% local no-repeat,
  linear-gradient(to right, var(--shadow), transparent) left / .8rem 100% scroll no-repeat,
  linear-gradient(to left, var(--shadow), transparent) right / .8rem 100% scroll no-repeat,
  var(--ground); } /* a shadow at each side where there is more; the ends of the content cover it, and a
  pixel more where the width is no whole number */
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 2px; }
table { border-collapse: collapse; width: 100%; margin: .25rem 0 1rem; font-size: .93rem; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.1rem .35rem 0; }
tr > * { border-bottom: 1px solid var(--faint); }
th { font-weight: 600; }
thead th { color: var(--muted); white-space: nowrap; }
tbody td:not(.number) { min-width: 7rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0 1.75rem; }
figcaption { margin-top: .35rem; }
figure svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
figure svg > g > [id$="-patch_1"] path { fill: none !important; } /* so that the shadows are seen behind */
figure image, figure [id*="-shade-"] { filter: brightness(var(--bright)); }
.mistakes { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 1rem; list-style: none;
  margin: .5rem 0; padding: 0; font-size: .9rem; }
.mistakes img { display: block; width: 6rem; height: 6rem; object-fit: contain; image-rendering: pixelated;
  background: var(--card); border: 1px solid var(--faint); border-radius: .25rem; margin-bottom: .35rem; }
.mistakes p { margin: 0; }
.code { --ground: var(--card); border-radius: .4rem; }
pre { margin: 0; padding: .7rem .9rem .7rem 2.4rem; text-indent: -1.5rem; white-space: pre-wrap;
  font: .87rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre span { display: inline-block; text-indent: 0; max-width: 100%; vertical-align: top; }
mark { background: var(--mark); color: inherit; padding: 0 .2em; border-radius: .2em; }
summary { cursor: pointer; padding: .4rem 0; color: var(--link); }
dt { font-weight: 600; margin-top: .8rem; }
dd { margin: .1rem 0 0; }
@media (max-width: 40rem) {
  table { font-size: .85rem; }
  th, td { padding-right: .7rem; }
}
@media print {
  html { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; background: none; }
  figure div { min-width: 0 !important; }
  figure, li, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
