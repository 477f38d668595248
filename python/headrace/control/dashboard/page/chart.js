/*
 * chart: lines over time, small lines, and the depth of a book, as SVG.
 *
 *   h(lines, { data: { label, from, to, series, format, marks, still } })
 *   h(spark, { data: { from, to, points, tone } })
 *   h(depth, { data: { bids, asks, label } })
 *
 * A series is { name, tone, points: [[ms, value or null], …], area, step, dashed }: points in the order of time; null
 * breaks the line, so that what is not known is not drawn. A mark is { at, value, side, text }: a fill on its price.
 *
 * Guarantees: what is drawn can be read by keyboard and by a screen reader; a spike of one second is seen in a day.
 * Does not: keep points; it draws those that it is given, at most once for each change.
 */

import { UNKNOWN, axisPrice, clock, compact, duration, moment, price } from "./format.js";
import { HOUR, MINUTE, bisect, range, thinned, timeTicks, valueTicks, within } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";
const RIGHT = 54;
const BOTTOM = 20;
const CHARACTER_PX = 6.3;
const TOP = 8;
const TIME_LABEL_PX = 72;
const VALUE_LABEL_PX = 34;
const PRICE_DIGITS = 9;

function make(name, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, name);
  put(element, attributes);
  parent?.append(element);
  return element;
}

function put(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Make `group` hold exactly these elements: [[name, attributes, text], …]; those that are there are used again. */
function fill(group, wanted) {
  wanted.forEach(([name, attributes, text], index) => {
    let element = group.children[index];
    if (element?.tagName !== name) {
      const made = make(name);
      if (element) element.replaceWith(made);
      else group.append(made);
      element = made;
    }
    put(element, attributes);
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  });
  while (group.children.length > wanted.length) group.lastChild.remove();
}

function path(points, x, y, { step = false } = {}) {
  let text = "";
  let isDown = false;
  let last = 0;
  for (const [at, value] of points) {
    if (value === null) {
      isDown = false;
      continue;
    }
    const [px, py] = [x(at).toFixed(1), y(value).toFixed(1)];
    if (!isDown) text += `M${px} ${py}`;
    else if (step) text += `L${px} ${last}L${px} ${py}`;
    else text += `L${px} ${py}`;
    last = py;
    isDown = true;
  }
  return text;
}

/** The stretches of a line between its breaks. */
function stretches(points) {
  const found = [[]];
  for (const point of points) {
    if (point[1] === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((own) => own.length > 1);
}

function area(points, x, y, options, base) {
  const edge = (own) => `L${x(own.at(-1)[0]).toFixed(1)} ${base}L${x(own[0][0]).toFixed(1)} ${base}Z`;
  return stretches(points).map((own) => path(own, x, y, options) + edge(own)).join("");
}

/** What all charts share: a picture as large as its host, drawn again when that changes. */
class Picture {
  constructor(host, className, layers) {
    this.host = host;
    host.classList.add("chart", className);
    this.svg = make("svg", { "aria-hidden": "true", focusable: "false" });
    for (const layer of layers) this[layer] = make("g", { class: layer }, this.svg);
    host.append(this.svg);
    this.size = [0, 0];
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(host);
  }

  resize() {
    const size = [this.host.clientWidth, this.host.clientHeight];
    if (size[0] === this.size[0] && size[1] === this.size[1]) return;
    this.size = size;
    put(this.svg, { width: size[0], height: size[1], viewBox: `0 0 ${size[0]} ${size[1]}` });
    this.draw();
  }

  update(properties) {
    if (properties.data === this.data) return;
    this.data = properties.data;
    if (!this.size[0]) this.resize();
    else this.draw();
  }

  close() {
    this.watch.disconnect();
  }
}

class Lines extends Picture {
  constructor(host, properties) {
    super(host, "lines", ["grid", "areas", "paths", "marks", "cross", "labels"]);
    this.readout = document.createElement("div");
    this.readout.className = "readout";
    this.readout.setAttribute("role", "status");
    this.readout.hidden = true;
    host.append(this.readout);
    host.tabIndex = 0;
    host.setAttribute("role", "img");
    host.addEventListener("pointermove", (event) => this.point(event.clientX - host.getBoundingClientRect().left));
    host.addEventListener("pointerleave", () => this.leave());
    host.addEventListener("blur", () => this.leave());
    host.addEventListener("keydown", (event) => this.key(event));
    this.at = null;
    this.update(properties);
  }

  draw() {
    const [width, height] = this.size;
    if (!this.data || width < 80 || height < 40) return;
    const { from, to, series, marks = [], format = compact, still = null, fromZero = true } = this.data;
    this.drawn = series.map((own) => ({ ...own, shown: thinned(within(own.points, from, to), from, to, width - RIGHT) }));
    const placed = marks.filter((mark) => mark.at >= from && mark.at <= to);
    const span = range(this.drawn, placed, fromZero);
    const longest = Math.max(0, ...(span ?? []).map((value) => format(value).length));
    this.plot = { width: width - (format === price ? RIGHT : Math.max(RIGHT, 12 + longest * CHARACTER_PX)), base: height - BOTTOM };
    const { width: plotWidth, base } = this.plot;
    this.x = (at) => ((at - from) / (to - from)) * plotWidth;
    const [low, high] = span ?? [0, 1];
    this.y = (value) => TOP + (1 - (value - low) / (high - low)) * (base - TOP);
    this.format = format;
    this.describe(span);
    this.drawAxes(from, to, span, still);
    const clip = ([at, value]) => [Math.min(Math.max(at, from - (to - from)), to), value];
    const zero = low <= 0 && high >= 0 ? this.y(0) : base;
    for (const own of this.drawn) own.shown = own.shown.map(clip);
    const areas = this.drawn.filter((own) => own.area);
    fill(this.areas, areas.map((own) => ["path", { class: own.tone, d: area(own.shown, this.x, this.y, own, zero.toFixed(1)) }]));
    fill(this.paths, this.drawn.map((own) => [
      "path", { class: `${own.tone}${own.dashed ? " dashed" : ""}`, d: path(own.shown, this.x, this.y, own) },
    ]));
    fill(this.marks, placed.map((mark) => ["path", { class: mark.side > 0 ? "buy" : "sell", d: this.mark(mark) }]));
    if (this.at !== null) this.show(this.at);
  }

  mark({ at, value, side }) {
    const [px, py, size] = [this.x(at), this.y(value), 5];
    const tip = side > 0 ? py + 2 : py - 2;
    const foot = tip + (side > 0 ? size * 1.7 : -size * 1.7);
    return `M${px.toFixed(1)} ${tip.toFixed(1)}L${(px - size).toFixed(1)} ${foot.toFixed(1)}h${size * 2}Z`;
  }

  drawAxes(from, to, span, still) {
    const { width, base } = this.plot;
    const values = span ? valueTicks(...span, Math.max(2, (base - TOP) / VALUE_LABEL_PX), this.format === duration) : [];
    const times = timeTicks(from, to, Math.max(2, width / TIME_LABEL_PX));
    const lines = values.map((value) => {
      const py = Math.round(this.y(value)) + 0.5;
      return ["path", { class: value === 0 ? "zero" : "rule", d: `M0 ${py}H${width}` }];
    });
    // From here on nothing is known: the connection is lost, or the engine has ended.
    if (still !== null && still < to) {
      const left = Math.max(0, this.x(still));
      lines.push(["rect", { class: "still", x: left.toFixed(1), y: 0, width: Math.max(0, width - left).toFixed(1), height: base }]);
    }
    fill(this.grid, lines);
    const places = times.step < MINUTE ? 8 : 5;
    const label = (at) => (times.step >= 24 * HOUR ? new Date(at).toISOString().slice(5, 10) : clock(at).slice(0, places));
    fill(this.labels, [
      ...values.map((value) => ["text", { class: "value", x: width + 8, y: (this.y(value) + 3.5).toFixed(1) }, this.format === price ? axisPrice(value, values.length > 1 ? values[1] - values[0] : 0.01) : this.format(value)]),
      ...times.ticks
        .filter((at) => this.x(at) > 14 && this.x(at) < width - 4)
        .map((at) => ["text", { class: "time", x: this.x(at).toFixed(1), y: base + 15 }, label(at)]),
      ...(span ? [] : [["text", { class: "none", x: width / 2, y: (base + TOP) / 2 }, "no figures yet"]]),
    ]);
  }

  /** A value in words. A line that a strategy draws over a price has more digits than any price. */
  told(value) {
    return this.format(this.format === price && value !== null ? Number(value.toPrecision(PRICE_DIGITS)) : value);
  }

  describe(span) {
    const newest = this.drawn.map((own) => {
      const last = own.points.findLast((point) => point[1] !== null);
      return `${own.name} ${last ? this.told(last[1]) : UNKNOWN}`;
    });
    const text = span ? `${this.data.label}: ${newest.join(", ")}` : `${this.data.label}: no figures yet`;
    if (this.host.getAttribute("aria-label") !== text) this.host.setAttribute("aria-label", text);
  }

  point(px) {
    if (!this.plot) return;
    const share = Math.min(1, Math.max(0, px / this.plot.width));
    this.show(this.data.from + share * (this.data.to - this.data.from));
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 }[event.key];
    if (event.key === "Escape") this.leave();
    if (step === undefined || !this.plot) return;
    event.preventDefault();
    const each = (this.data.to - this.data.from) / 120;
    const at = (this.at ?? this.data.to) + step * each;
    this.show(Math.min(this.data.to, Math.max(this.data.from, at)));
  }

  /** Show what each line is at a time: the newest point that is not after it. */
  show(at) {
    const rows = this.drawn.map((own) => {
      const index = bisect(own.points, at + 1) - 1;
      const next = own.points[index + 1];
      const isNearer = !own.step && next && next[0] - at < at - (own.points[index]?.[0] ?? -Infinity);
      return [own, isNearer ? next : own.points[index]];
    });
    const known = rows.filter(([, point]) => point && point[1] !== null);
    if (!known.length) return this.leave();
    this.at = at;
    const px = this.x(Math.max(this.data.from, known[0][1][0]));
    fill(this.cross, [
      ["path", { d: `M${px.toFixed(1)} 0V${this.plot.base}` }],
      ...known.map(([own, point]) => ["circle", { class: own.tone, cx: px.toFixed(1), cy: this.y(point[1]).toFixed(1), r: 3 }]),
    ]);
    const near = (this.data.marks ?? []).filter((mark) => Math.abs(this.x(mark.at) - px) < 6).slice(0, 4);
    this.readout.replaceChildren(
      line("time", moment(known[0][1][0])),
      ...rows.map(([own, point]) => line(own.tone, own.name, point ? this.told(point[1]) : UNKNOWN)),
      ...near.map((mark) => line(mark.side > 0 ? "buy" : "sell", mark.text)),
    );
    this.readout.hidden = false;
    const left = px + 14 + this.readout.offsetWidth > this.size[0] ? px - 14 - this.readout.offsetWidth : px + 14;
    this.readout.style.setProperty("transform", `translate(${Math.max(0, left).toFixed(0)}px, ${TOP}px)`);
  }

  leave() {
    this.at = null;
    this.readout.hidden = true;
    this.cross.replaceChildren();
  }
}

function line(className, ...texts) {
  const row = document.createElement("div");
  row.className = className;
  for (const text of texts) {
    const cell = document.createElement("span");
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

class Spark extends Picture {
  constructor(host, properties) {
    super(host, "spark", ["areas", "paths"]);
    host.setAttribute("aria-hidden", "true");
    this.update(properties);
  }

  draw() {
    const [width, height] = this.size;
    if (!this.data || !width) return;
    const { from, to, points, tone, fromZero = true } = this.data;
    const shown = thinned(within(points, from, to), from, to, width);
    const span = range([{ shown }], [], fromZero) ?? [0, 1];
    const x = (at) => ((at - from) / (to - from)) * width;
    const y = (value) => 1.5 + (1 - (value - span[0]) / (span[1] - span[0])) * (height - 2.5);
    fill(this.areas, [["path", { class: tone, d: area(shown, x, y, {}, height) }]]);
    fill(this.paths, [["path", { class: tone, d: path(shown, x, y) }]]);
  }
}

class Depth extends Picture {
  constructor(host, properties) {
    super(host, "depth", ["grid", "areas", "paths", "labels"]);
    host.setAttribute("role", "img");
    this.update(properties);
  }

  draw() {
    const [width, height] = this.size;
    if (!this.data || width < 80) return;
    const sides = [this.data.bids, this.data.asks].map(summed);
    if (!sides[0].length || !sides[1].length) return fill(this.labels, [["text", { class: "none", x: width / 2, y: height / 2 }, "no book"]]);
    const middle = (sides[0][0][0] + sides[1][0][0]) / 2;
    const reach = Math.min(middle - sides[0].at(-1)[0], sides[1].at(-1)[0] - middle) || middle * 1e-4;
    const [from, to] = [middle - reach, middle + reach];
    const inside = sides.map((side) => side.filter(([at]) => at >= from && at <= to));
    const high = Math.max(...inside.flat().map(([, size]) => size)) * 1.06;
    const [plot, base] = [width - RIGHT, height - BOTTOM];
    const x = (at) => ((at - from) / (to - from)) * plot;
    const y = (size) => TOP + (1 - size / high) * (base - TOP);
    const edges = [from, to];
    const tones = ["buy", "sell"];
    const steps = inside.map((side, index) => {
      const drawn = [[side[0][0], 0], ...side, [edges[index], side.at(-1)[1]]];
      return path(drawn, x, y, { step: true });
    });
    fill(this.areas, steps.map((d, index) => ["path", { class: tones[index], d: `${d}L${x(edges[index]).toFixed(1)} ${base}Z` }]));
    fill(this.paths, steps.map((d, index) => ["path", { class: tones[index], d }]));
    const values = valueTicks(0, high, (base - TOP) / VALUE_LABEL_PX);
    const prices = [from, middle, to].map((at, index) => [at, ["start", "middle", "end"][index]]);
    const digits = Math.max(0, Math.ceil(-Math.log10(reach / 50)));
    fill(this.grid, values.map((value) => ["path", { class: "rule", d: `M0 ${Math.round(y(value)) + 0.5}H${plot}` }]));
    fill(this.labels, [
      ...values.map((value) => ["text", { class: "value", x: plot + 8, y: (y(value) + 3.5).toFixed(1) }, compact(value)]),
      ...prices.map(([at, anchor]) => ["text", { class: `time ${anchor}`, x: x(at).toFixed(1), y: base + 15 }, price(at.toFixed(digits))]),
    ]);
    const text = `${this.data.label}: ${compact(inside[0].at(-1)[1])} to buy, ${compact(inside[1].at(-1)[1])} to sell within ${price(reach.toFixed(digits))}`;
    if (this.host.getAttribute("aria-label") !== text) this.host.setAttribute("aria-label", text);
  }
}

/** [[price, size], …] from the best on -> [[price, size up to there], …]. */
function summed(levels) {
  let total = 0;
  return levels.map(([at, size]) => [Number(at), (total += Number(size))]);
}

const island = (kind) => ({ mount: (host, properties) => new kind(host, properties) });

export const lines = island(Lines);
export const spark = island(Spark);
export const depth = island(Depth);
