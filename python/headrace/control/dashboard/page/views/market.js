/*
 * market: every instrument, and one of them: top of its book and its last trade, price over time with fills and the lines
 *   of strategies, spread, quotes and trades over time, and its depth.
 *
 * Guarantees: a price is shown as the venue sent it; a side that is not there is a dash.
 * Does not: show a book that is not kept: a strategy that uses `on_book` has it kept.
 */

import { depth, lines } from "../chart.js";
import { h } from "../dom.js";
import { basisPoints, clock, compact, count, milliseconds, price, priceBeside } from "../format.js";
import { RANGES } from "../model.js";
import { choices, crumbs, empty, panel, state, tablePanel } from "../parts.js";
import { fillMarks, fillTable, orderTable, positionTable } from "./orders.js";

const DEPTH_LEVELS = 100;
const LADDER_LEVELS = 6;
const FROM = ["Markets", "#/markets"];

const bookOf = (own) => own.book?.state ?? own.book ?? null;
const basis = (own) => (own.mid && own.spread !== null && own.spread !== undefined ? (own.spread / own.mid) * 1e4 : null);

export const MARKET_COLUMNS = [
  { title: "Instrument", value: (own) => own.key, cell: (own) => h("a", { class: "name", href: `#/market/${encodeURIComponent(own.key)}` }, own.key) },
  { title: "Bid", className: "number", value: (own) => own.bid_price, cell: (own) => h("span", { class: "text-buy" }, priceBeside(own.bid_price, own.ask_price)) },
  { title: "Ask", className: "number", value: (own) => own.ask_price, cell: (own) => h("span", { class: "text-sell" }, priceBeside(own.ask_price, own.bid_price)) },
  { title: "Spread", className: "number", value: basis, cell: (own) => basisPoints(basis(own)) },
  { title: "Last", className: "number", value: (own) => own.last_price, cell: (own) => priceBeside(own.last_price, own.bid_price, own.ask_price) },
  { title: "Quotes/s", className: "number", value: (own) => own.quotes_per_s, cell: (own) => compact(own.quotes_per_s) },
  { title: "Book", value: bookOf, cell: (own) => (bookOf(own) ? state(bookOf(own), bookOf(own).toLowerCase()) : h("span", { class: "soft" }, "not kept")) },
];

export function marketTable(app, { span = 12, limit = 500 } = {}) {
  return tablePanel("Markets", { id: "markets", span, columns: MARKET_COLUMNS, rows: app.model.rows("instruments"), keyOf: (own) => own.key, onSort: app.redraw, limit, empty: "No instrument was seen yet." });
}

export const marketsView = (app) => h("div", { class: "grid" }, marketTable(app), positionTable(app, { span: 12 }));

export function marketView(app, name) {
  const own = app.model.row("instruments", name);
  if (!own) return [crumbs(name, { from: FROM }), empty(`This engine has seen no instrument called ${name}.`)];
  const isIts = (row) => row.instrument === name;
  const act = (text, verb) => app.commands.button(text, verb, { instrument: name });
  return [
    crumbs(name, { from: FROM, acts: [act("Cancel all", "cancel-all"), act("Flatten", "flatten")] }, bookOf(own) ? state(bookOf(own), `book ${bookOf(own).toLowerCase()}`) : null),
    h(
      "div",
      { class: "grid" },
      top(own, bookOf(own) ? levelsOf(app, name).value : null),
      prices(app, own, bookOf(own)),
      bookOf(own) ? book(app, name) : null,
      flows(app, own),
      positionTable(app, { span: "6 wide", keep: isIts, without: "Position" }),
      orderTable(app, { span: "6 wide", keep: isIts, without: "Instrument" }),
      fillTable(app, { span: 12, keep: isIts, without: "Instrument" }),
    ),
  ];
}

/** The newest quote; where none comes, the best levels of the book. */
function top(row, levels) {
  const [[bid, bidSize] = [], [ask, askSize] = []] = [levels?.bids?.[0], levels?.asks?.[0]];
  const own = row.quote_ns ? row : { ...row, bid_price: bid, bid_size: bidSize, ask_price: ask, ask_size: askSize, ...between(bid, ask) };
  const there = (size) => (size === undefined || size === null ? "this side is not there" : `${price(size)} there`);
  const tile = (title, value, note, className = "") => h("div", { class: "tile", key: title }, h("h3", null, title), h("div", { class: `value ${className}` }, value), h("p", null, note));
  return h(
    "section",
    { class: "tiles four span-12", "aria-label": "Top of book", key: "top" },
    tile("Bid", priceBeside(own.bid_price, own.ask_price), there(own.bid_size), "text-buy"),
    tile("Ask", priceBeside(own.ask_price, own.bid_price), there(own.ask_size), "text-sell"),
    tile("Spread", basisPoints(basis(own)), price(own.spread === undefined || own.spread === null ? null : Number(own.spread.toPrecision(6)))),
    tile("Last trade", priceBeside(own.last_price, own.bid_price, own.ask_price), own.last_price ? `${price(own.last_size)} at ${clock(milliseconds(own.trade_ns), 3)}` : "no trade was seen"),
  );
}

const between = (bid, ask) => (bid === undefined || ask === undefined ? {} : { spread: ask - bid, mid: (ask + bid) / 2 });

function prices(app, own, hasBook) {
  const name = own.key;
  const marks = fillMarks(app, (fill) => fill.instrument === name);
  const series = [
    ...(own.last_price === undefined ? [] : [{ name: "last trade", tone: "f", dashed: true, points: app.points(`instruments/${name}/last_price`) }]),
    { name: "mid", tone: "a", points: app.points(`instruments/${name}/mid`) },
    ...plotted(app, (line) => line.instrument === name),
  ];
  const range = choices("Range", RANGES.map(([each]) => [each, each]), app.range, app.setRange);
  const legend = h("div", { class: "legend" }, series.map((each) => h("span", { key: each.name, class: `tone-${each.tone}` }, each.name)), h("span", { class: "plain text-buy" }, "▲ bought"), h("span", { class: "plain text-sell" }, "▼ sold"));
  return panel("Price", { span: hasBook ? "8 wide" : 12, aside: [legend, range] }, h(lines, { class: hasBook ? "tall deep" : "tall", data: { ...app.chartWindow(), label: `Price of ${name}`, series, marks, format: price, fromZero: false } }));
}

const PLOT_TONES = ["c", "d", "e", "b"];

/** The lines that strategies draw with `plot`, as series of a chart. */
export function plotted(app, keep) {
  return app.model
    .rows("plots")
    .filter(keep)
    .map((own, index) => ({ name: `${own.strategy} ${own.name}`, tone: PLOT_TONES[index % PLOT_TONES.length], dashed: index >= PLOT_TONES.length, points: app.points(`plots/${own.key}`) }));
}

/** Spread, quotes and trades over time. */
function flows(app, own) {
  const chart = (title, field, tone, format = compact) => {
    const points = app.points(`instruments/${own.key}/${field}`);
    return panel(title, { span: "4 wide" }, h(lines, { class: "short", data: { ...app.chartWindow(), label: `${title} of ${own.key}`, format, series: [{ name: title.toLowerCase(), tone, points, area: true }] } }));
  };
  return [chart("Spread", "spread", "d", price), chart("Quotes per second", "quotes_per_s", "b"), chart("Trades per second", "trades_per_s", "e")];
}

const levelsOf = (app, name) => app.fetched.get(`/v1/books/${encodeURIComponent(name)}?levels=${DEPTH_LEVELS}`, 1_000);

function book(app, name) {
  const { value, error } = levelsOf(app, name);
  const isThere = value?.bids?.length > 0 || value?.asks?.length > 0;
  const aside = value ? [`${count(value.levels)} levels`, value.resyncs ? `${count(value.resyncs)} resyncs` : null].filter(Boolean).join(", ") : null;
  if (!isThere) return panel("Depth", { span: 4, aside }, empty(error ? error.message : value ? `It is ${value.state.toLowerCase()} (${value.reason.toLowerCase().replaceAll("_", " ")}), and so shows no levels.` : "…"));
  const lead = h(depth, { data: { bids: value.bids, asks: value.asks, label: `Depth of ${name}` } });
  return tablePanel("Depth", { id: "ladder", file: `Depth of ${name}`, label: `Best levels of ${name}`, span: 4, aside, lead, limit: LADDER_LEVELS, ...ladder(value) });
}

/** The levels of both sides, side by side, the best ones first. */
function ladder({ bids, asks }) {
  const rows = Array.from({ length: Math.max(bids.length, asks.length) }, (_, key) => ({ key, bid: bids[key], ask: asks[key] }));
  const shown = rows.slice(0, LADDER_LEVELS).flatMap((own) => [own.bid?.[0], own.ask?.[0]]);
  const column = (title, side, index, cell) => ({ title, className: "number", value: (own) => own[side]?.[index] ?? null, cell: (own) => cell(own[side]?.[index]) });
  const priced = (className) => (value) => h("span", { class: className }, priceBeside(value, ...shown));
  const columns = [column("Bid size", "bid", 1, price), column("Bid", "bid", 0, priced("text-buy")), column("Ask", "ask", 0, priced("text-sell")), column("Ask size", "ask", 1, price)];
  return { columns, rows, keyOf: (own) => own.key };
}
