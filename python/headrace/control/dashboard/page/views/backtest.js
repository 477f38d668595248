/*
 * backtest: a backtest while it runs: how far it is, and what it earned so far over the time of its market.
 *
 * Guarantees: the figures are those of the moment that it has come to; when it has ended, the view Reports has its report.
 * Does not: steer it: the only command ends it, with a report of what ran.
 */

import { lines } from "../chart.js";
import { h } from "../dom.js";
import { amount, compact, count, milliseconds, moment, percent } from "../format.js";
import { empty, panel } from "../parts.js";
import { marketTable } from "./market.js";
import { orderTable, positionTable } from "./orders.js";
import { strategies, tiles, verdictPart } from "./overview.js";

const EVERY_MS = 1_000;

export function backtestView(app) {
  const { engine } = app.model;
  const isOver = engine.state === "ended";
  const facts = [["ticks", compact(engine.ticks)], ["instruments", count(engine.instruments)], ["strategies", count(engine.strategies)]];
  const at = engine.market_ns ? `the market is at ${moment(milliseconds(engine.market_ns)).slice(0, 19)} UTC` : "the market has not begun";
  const summary = isOver ? [h("a", { class: "button small", href: "#/reports" }, "Look at its report")] : at;
  return [
    verdictPart(app, summary, facts),
    tiles(app),
    h("div", { class: "grid" }, progress(engine), equity(app, isOver), strategies(app), positionTable(app, { span: "6 wide" }), orderTable(app, { span: "6 wide" }), marketTable(app, { span: 12, limit: 12 })),
  ];
}

function progress({ progress: share, ended_by }) {
  const shown = share === null || share === undefined ? "its feed does not say how long it is" : percent(share);
  return panel("Progress", { span: 12, aside: ended_by ? `${shown}, ${ended_by}` : shown }, h("div", { class: "meter tall", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": share === null || share === undefined ? null : (share * 100).toFixed(0) }, h("i", { style: { width: `${((share ?? 0) * 100).toFixed(1)}%` } })));
}

function equity(app, isOver) {
  const { value, error } = app.fetched.get("/v1/equity", isOver ? Infinity : EVERY_MS);
  const times = (value?.ts_ns ?? []).map(milliseconds);
  if (times.length < 2) return panel("Equity", { span: 12 }, empty(error ? error.message : "Nothing was earned or lost yet."));
  const series = Object.entries(value.series).map(([name, points], index) => ({ name, tone: "abcde"[index % 5], area: false, points: points.map((own, at) => [times[at], own]) }));
  const legend = h("div", { class: "legend" }, series.map((each) => h("span", { key: each.name, class: `tone-${each.tone}` }, each.name.replace("/", " ")), h("span", { class: "plain" }, "over the time of the market")));
  // Amounts of two currencies share no axis.
  return panel("Equity", { span: 12, aside: legend }, series.map((each) => h(lines, { key: each.name, data: { from: times[0], to: Math.max(times.at(-1), times[0] + 1), label: `Equity, ${each.name}`, series: [each], fromZero: false, format: (own) => amount(own.toFixed(2)) } })));
}
