/*
 * market: every instrument, and one of them: top of its book, price and spread over time with fills, and its depth.
 *
 * Guarantees: a price is shown as the venue sent it; a side that is not there is a dash.
 * Does not: show a book that is not kept: a strategy that uses `on_book` has it kept.
 */

import { depth, lines } from "../chart.js";
import { h } from "../dom.js";
import { UNKNOWN, clock, compact, count, milliseconds, price, priceBeside } from "../format.js";
import { RANGES } from "../model.js";
import { choices, csvButton, empty, panel, state, table } from "../parts.js";
import { fillMarks, fillTable, orderTable, positionTable } from "./orders.js";
import { crumbs } from "./strategy.js";

const DEPTH_LEVELS = 100;

const bookOf = (own) => own.book?.state ?? own.book ?? null;
const basis = (own) => (own.mid && own.spread !== null && own.spread !== undefined ? (own.spread / own.mid) * 1e4 : null);

export const MARKET_COLUMNS = [
  { title: "Instrument", value: (own) => own.key, cell: (own) => h("a", { class: "name", href: `#/market/${encodeURIComponent(own.key)}` }, own.key) },
  { title: "Bid", className: "number", value: (own) => own.bid_price, cell: (own) => h("span", { class: "text-buy" }, priceBeside(own.bid_price, own.ask_price)) },
  { title: "Ask", className: "number", value: (own) => own.ask_price, cell: (own) => h("span", { class: "text-sell" }, priceBeside(own.ask_price, own.bid_price)) },
  { title: "Spread", className: "number", value: basis, cell: (own) => (basis(own) === null ? UNKNOWN : `${basis(own).toFixed(2)} bp`) },
  { title: "Quotes/s", className: "number", value: (own) => own.quotes_per_s, cell: (own) => compact(own.quotes_per_s) },
  { title: "Book", value: bookOf, cell: (own) => (bookOf(own) ? state(bookOf(own), bookOf(own).toLowerCase()) : h("span", { class: "soft" }, "not kept")) },
];

export function marketTable(app, { span = 12, limit = 500 } = {}) {
  const rows = app.model.rows("instruments");
  return panel(
    "Markets",
    { span, flush: true, aside: csvButton("Markets", MARKET_COLUMNS, rows) },
    table({ id: "markets", label: "Markets", columns: MARKET_COLUMNS, rows, keyOf: (own) => own.key, onSort: app.redraw, limit, empty: "No instrument was seen yet." }),
  );
}

export const marketsView = (app) => h("div", { class: "grid" }, marketTable(app), positionTable(app, { span: 12 }));

export function marketView(app, name) {
  const own = app.model.row("instruments", name);
  if (!own) return [crumbs(name, []), empty(`This engine has seen no instrument called ${name}.`)];
  const isIts = (row) => row.instrument === name;
  const act = (text, verb) => h("button", { type: "button", class: "small", key: verb, onclick: () => app.commands.open(verb, { instrument: name }) }, text);
  return [
    crumbs(name, [act("Cancel all", "cancel-all"), act("Flatten", "flatten")], bookOf(own) ? state(bookOf(own), `book ${bookOf(own).toLowerCase()}`) : null),
    h(
      "div",
      { class: "grid" },
      top(own),
      prices(app, name, bookOf(own)),
      bookOf(own) ? book(app, name) : null,
      spread(app, name),
      positionTable(app, { span: "6 wide", keep: isIts, without: "Position" }),
      orderTable(app, { span: "6 wide", keep: isIts, without: "Instrument" }),
      fillTable(app, { span: 12, keep: isIts, without: "Instrument" }),
    ),
  ];
}

function top(own) {
  const tile = (title, value, note, className = "") => h("div", { class: "tile", key: title }, h("h3", null, title), h("div", { class: `value ${className}` }, value), h("p", null, note));
  return h(
    "section",
    { class: "tiles four span-12", "aria-label": "Top of book", key: "top" },
    tile("Bid", priceBeside(own.bid_price, own.ask_price), `${price(own.bid_size)} there`, "text-buy"),
    tile("Ask", priceBeside(own.ask_price, own.bid_price), `${price(own.ask_size)} there`, "text-sell"),
    tile("Spread", basis(own) === null ? UNKNOWN : `${basis(own).toFixed(2)} bp`, own.spread === undefined ? "" : price(Number(own.spread?.toPrecision(6)))),
    tile("Quotes per second", compact(own.quotes_per_s), own.quote_ns ? `the last at ${clock(milliseconds(own.quote_ns), 3)}` : ""),
  );
}

function prices(app, name, hasBook) {
  const points = app.model.points(`instruments/${name}/mid`, app.history);
  const marks = fillMarks(app, (fill) => fill.instrument === name);
  const range = choices("Range", RANGES.map(([own]) => [own, own]), app.range, app.setRange);
  const legend = h("div", { class: "legend" }, h("span", { class: "tone-a" }, "mid"), h("span", { class: "plain text-buy" }, "▲ bought"), h("span", { class: "plain text-sell" }, "▼ sold"));
  return panel("Price", { span: hasBook ? "8 wide" : 12, aside: [legend, range] }, h(lines, { class: "tall", data: { ...app.chartWindow(), label: `Mid of ${name}`, series: [{ name: "mid", tone: "a", points }], marks, format: price, fromZero: false } }));
}

function spread(app, name) {
  const points = app.model.points(`instruments/${name}/spread`, app.history);
  const quotes = app.model.points(`instruments/${name}/quotes_per_s`, app.history);
  return [
    panel("Spread", { span: "6 wide" }, h(lines, { class: "short", data: { ...app.chartWindow(), label: `Spread of ${name}`, format: price, series: [{ name: "spread", tone: "d", points, area: true }] } })),
    panel("Quotes per second", { span: "6 wide" }, h(lines, { class: "short", data: { ...app.chartWindow(), label: `Quotes of ${name}`, series: [{ name: "quotes", tone: "b", points: quotes, area: true }] } })),
  ];
}

function book(app, name) {
  const { value, error } = app.fetched.get(`/v1/books/${encodeURIComponent(name)}?levels=${DEPTH_LEVELS}`, 1_000);
  const body = value?.bids?.length ? h(depth, { data: { bids: value.bids, asks: value.asks, label: `Depth of ${name}` } }) : empty(error ? error.message : "…");
  return panel("Depth", { span: 4, className: "stretch", aside: value?.levels ? `${count(value.levels)} levels` : null }, body);
}

