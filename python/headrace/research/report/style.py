"""The report's style sheet, and the script that zooms a chart: both inline, both our own.

Guarantees: light and dark follow the reader's system; one column on a phone, no line that is wider than the screen.
"""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --soft: #5d6b7d; --rule: #e3e8ee;
  --main: #2563eb; --gain: #0f9d6b; --loss: #d64545; --calm: #94a3b8; --shadow: 0 1px 3px #0f172a14; }
@media (prefers-color-scheme: dark) { :root { --page: #0f141b; --card: #171e28; --ink: #e6ebf2; --soft: #93a1b3;
  --rule: #273140; --main: #6aa2ff; --gain: #3ecf9b; --loss: #ff7b7b; --calm: #64748b; --shadow: none; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
header h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
header p { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 22px 0 0; }
.tile, figure, .card { background: var(--card); border: 1px solid var(--rule); border-radius: 12px;
  box-shadow: var(--shadow); }
.tile { padding: 12px 16px; }
.tile span { display: block; color: var(--soft); font-size: 13px; }
.tile b { font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.gain-text { color: var(--gain); } .loss-text { color: var(--loss); }
figure { margin: 14px 0 0; padding: 14px 16px 12px; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; margin-bottom: 8px; }
figcaption b { font-size: 14px; } figcaption i { font-style: normal; color: var(--soft); font-size: 13px; }
figcaption i::before { content: ""; display: inline-block; width: 10px; height: 3px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; background: currentColor; }
i.main { color: var(--main) !important; } i.calm { color: var(--calm) !important; }
i.gain { color: var(--gain) !important; } i.loss { color: var(--loss) !important; }
.chart { position: relative; height: 190px; margin: 0 62px 22px 0; } .chart.tall { height: 320px; }
.chart svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.chart span { position: absolute; font-size: 12px; color: var(--soft); white-space: nowrap; pointer-events: none;
  font-variant-numeric: tabular-nums; }
.chart .y { left: 100%; padding-left: 8px; transform: translateY(-50%); }
.chart .x { top: 100%; padding-top: 5px; transform: translateX(-50%); }
.chart[data-first] { cursor: grab; touch-action: pan-y; } .chart[data-first]:active { cursor: grabbing; }
svg path, svg rect { vector-effect: non-scaling-stroke; }
.line { fill: none; stroke-width: 1.6px; stroke-linejoin: round; } .area { stroke: none; opacity: 0.16; }
.grid { stroke: var(--rule); stroke-width: 1px; fill: none; }
.dot { fill: none; stroke-width: 7px; stroke-linecap: round; }
.line.main, .dot.main { stroke: var(--main); } .area.main { fill: var(--main); }
.line.calm, .dot.calm { stroke: var(--calm); } .area.calm { fill: var(--calm); }
.line.gain, .dot.gain { stroke: var(--gain); } rect.gain, .area.gain { fill: var(--gain); }
.line.loss, .dot.loss { stroke: var(--loss); } rect.loss, .area.loss { fill: var(--loss); }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 0 14px; }
.card { padding: 4px 16px; overflow-x: auto; margin-top: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 10px 0 6px; }
th { color: var(--soft); font-weight: 500; } th, td { padding: 6px 14px 6px 0; text-align: left; white-space: nowrap; }
td + td, th + th { text-align: right; } td:last-child, th:last-child { padding-right: 0; }
tbody tr { border-top: 1px solid var(--rule); }
table.left td, table.left th { text-align: left; }
.months td { text-align: center; padding: 6px 4px; } .months th { text-align: center; padding: 6px 4px; }
.months td:first-child, .months th:first-child { text-align: left; }
details { margin-top: 14px; } summary { cursor: pointer; padding: 10px 0; font-weight: 600; }
pre { margin: 0 0 12px; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.hint { color: var(--soft); font-size: 13px; margin: 6px 0 0; }
.warn { border-left: 3px solid var(--loss); padding-left: 12px; margin: 16px 0 0; }
@media (max-width: 560px) { main { padding: 20px 12px 40px; } .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile { padding: 10px 12px; } .tile b { font-size: 17px; } .chart { margin-right: 54px; }
  .chart.tall { height: 240px; } .chart .x:nth-of-type(odd) { visibility: hidden; } figure { padding: 12px; } }
@media print { body { background: #fff; } .tile, figure, .card { box-shadow: none; break-inside: avoid; } }
"""

# Wheel and two fingers zoom the x axis, dragging moves it, a double click shows all; labels follow.
SCRIPT = """
for (const chart of document.querySelectorAll('.chart[data-first]')) {
  const svg = chart.querySelector('svg'), first = +chart.dataset.first, span = +chart.dataset.last - first;
  for (const label of chart.querySelectorAll('.x')) label.remove();
  let from = 0, width = 1000, held = null;
  const draw = () => {
    width = Math.min(1000, Math.max(1000 / 4096, width));
    from = Math.min(1000 - width, Math.max(0, from));
    svg.setAttribute('viewBox', `${from} 0 ${width} 1000`);
    for (const label of chart.querySelectorAll('.x')) label.remove();
    for (const place of [0.1, 0.366, 0.633, 0.9]) {
      const at = new Date((first + span * (from + width * place) / 1000) / 1e6).toISOString();
      const label = document.createElement('span');
      label.className = 'x';
      label.style.left = `${place * 100}%`;
      label.textContent = span * width / 1000 > 3e14 ? at.slice(0, 10) : at.slice(5, 19).replace('T', ' ');
      chart.append(label);
    }
  };
  const at = event => (event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth;
  chart.addEventListener('wheel', event => {
    event.preventDefault();
    const place = from + width * at(event);
    width *= event.deltaY < 0 ? 0.8 : 1.25;
    from = place - Math.min(1000, width) * at(event);
    draw();
  }, { passive: false });
  chart.addEventListener('pointerdown', event => {
    held = [event.clientX, from];
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener('pointerup', () => { held = null; });
  chart.addEventListener('pointermove', event => {
    if (held) { from = held[1] - (event.clientX - held[0]) / chart.clientWidth * width; draw(); }
  });
  chart.addEventListener('dblclick', () => { from = 0; width = 1000; draw(); });
  draw();
}
"""
