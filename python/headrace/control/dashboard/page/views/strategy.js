/*
 * strategy: one strategy: what became of its ticks, how fast it is, what it earned, its orders, fills and log.
 *
 * Guarantees: the terms of the loss law are shown with their sum, and whether it is what was published.
 * Does not: know its code.
 */

import { lines } from "../chart.js";
import { h } from "../dom.js";
import { compact, count, duration, signed } from "../format.js";
import { choices, crumbs, empty, lawSum, lawTerms, moneyTag, panel, state } from "../parts.js";
import { RANGES } from "../model.js";
import { logPanel } from "./log.js";
import { plotted } from "./market.js";
import { fillTable, orderTable, positionTable } from "./orders.js";
import { netOf, tint } from "../money.js";

export function strategyView(app, name) {
  const own = app.model.row("strategies", name);
  if (!own) return [crumbs(name), empty(`This engine has no strategy called ${name}.`)];
  const isIts = (row) => row.strategy === name;
  return [
    crumbs(name, { acts: acts(app, own) }, state(own.state), own.reason ? h("span", { class: "soft" }, own.reason) : null, lineLinks(app, name)),
    h(
      "div",
      { class: "grid" },
      panel("Ticks", { span: "5 wide", aside: lawSum(own) }, lawTerms(own)),
      panel("Handlers and orders", { span: "7 wide" }, figures(own)),
      equity(app, own),
      pace(app, own),
      ownLines(app, name),
      positionTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      orderTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      fillTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      h("div", { class: "span-6 wide stack", key: "stack" }, settings(app, own), logPanel(app, { keep: (line) => line.strategy === name || line.message.includes(name), label: `Log of ${name}`, none: "No line of it was logged yet." })),
    ),
  ];
}

function acts(app, own) {
  const button = (text, verb, options) => app.commands.button(text, verb, { strategy: own.key }, options);
  return [
    ["paused", "quarantined"].includes(own.state) ? button("Resume", "resume", { isNow: true }) : button("Pause", "pause", { isNow: true, disabled: own.state !== "running" }),
    button("Restart", "restart"),
    button("Stop", "stop", { disabled: ["stopped", "failed", "created"].includes(own.state) }),
    button("Subscription", "set-subscription"),
    button("Cancel all", "cancel-all"),
    button("Flatten", "flatten"),
  ];
}

function figures(own) {
  const { orders } = own;
  const rows = [
    ["calls", count(own.calls)],
    ["faults", count(own.faults), Number(own.faults) ? "text-bad" : ""],
    ["lag", own.lag_s ? duration(own.lag_s * 1e9) : "0"],
    ["p50", duration(own.p50_ns)],
    ["p99", duration(own.p99_ns)],
    ["longest", duration(own.max_ns)],
    ["submitted", count(orders.submitted)],
    ["filled", count(orders.filled)],
    ["canceled", count(orders.canceled)],
    ["rejected", count(orders.rejected), orders.rejected ? "text-bad" : ""],
    ["expired", count(orders.expired)],
    ["open", orders.unknown ? `${count(orders.open)}, ${count(orders.unknown)} unknown` : count(orders.open)],
  ];
  const refused = Object.entries(own.refusals ?? {});
  return [
    h("dl", { class: "terms first" }, rows.map(([term, value, className]) => h("div", { key: term }, h("dt", null, term), h("dd", { class: className }, value)))),
    refused.length ? h("p", { class: "small" }, "refused by gates: ", refused.map(([gate, times]) => `${gate} ${count(times)}`).join(", ")) : null,
  ];
}

function equity(app, own) {
  const accounts = Object.entries(own.accounts ?? {});
  const tones = ["a", "b", "c", "d"];
  const series = accounts.map(([key], index) => ({ name: key, tone: tones[index % 4], points: app.points(`strategies/${own.key}/${key}/equity`), area: accounts.length === 1 }));
  const now = accounts.map(([key, account]) => h("span", { key }, h("b", { class: tint(netOf(account)) }, signed(netOf(account), 2)), ` ${account.currency} `, moneyTag(account.money)));
  const range = choices("Range", RANGES.map(([name]) => [name, name]), app.range, app.setRange);
  if (!accounts.length) return panel("Net profit", { span: "6 wide", aside: range }, empty("It has not traded."));
  // Amounts of two currencies share no axis.
  return panel("Net profit", { span: "6 wide", aside: [now, range] }, series.map((each) => h(lines, { key: each.name, class: accounts.length > 1 ? "short" : "", data: { ...app.chartWindow(), label: `Net profit, ${each.name}`, series: [each], format: (value) => signed(value.toFixed(2)) } })));
}

function pace(app, own) {
  const points = (name) => app.points(`strategies/${own.key}/${name}`);
  const lag = points("lag_s").map(([at, value]) => [at, value === null ? null : value * 1e9]);
  return panel(
    "Pace",
    { span: "6 wide", aside: h("div", { class: "legend" }, h("span", { class: "tone-a" }, "deliveries per second"), h("span", { class: "tone-b" }, "lag")) },
    h(lines, { class: "half", data: { ...app.chartWindow(), label: "Deliveries per second", format: compact, series: [{ name: "per second", tone: "a", points: points("delivered_per_s"), area: true }] } }),
    h(lines, { class: "half", data: { ...app.chartWindow(), label: "Lag", format: duration, series: [{ name: "lag", tone: "b", points: lag, area: true }] } }),
  );
}

/** The lines that it draws beside no price; those of an instrument are on that one's chart. */
function ownLines(app, name) {
  const series = plotted(app, (line) => line.strategy === name && !line.instrument).map((each) => ({ ...each, name: each.name.slice(name.length + 1) }));
  if (!series.length) return null;
  const legend = h("div", { class: "legend" }, series.map((each) => h("span", { key: each.name, class: `tone-${each.tone}` }, each.name)));
  return panel("Lines", { span: 12, aside: legend }, h(lines, { data: { ...app.chartWindow(), label: `Lines of ${name}`, series, format: compact, fromZero: false } }));
}

/** Where its other lines are. */
function lineLinks(app, name) {
  const markets = new Set(app.model.rows("plots").filter((line) => line.strategy === name && line.instrument).map((line) => line.instrument));
  return [...markets].map((market) => h("a", { key: market, class: "button small", href: `#/market/${encodeURIComponent(market)}` }, `Lines on ${market}`));
}

/** What the configuration says of a strategy; one that was made in code has none. */
function settings(app, own) {
  if (app.model.engine.kind === "backtest") return null;
  const { value, error } = app.fetched.get("/v1/config", 60_000);
  const config = value?.config ?? value;
  const found = (config?.strategies ?? []).find((row) => (row.name ?? row.use?.split(":").at(-1)) === own.key);
  const body = found ? h("pre", { class: "box", tabindex: "0" }, JSON.stringify(found, null, 2)) : empty(error ? error.message : value ? "It was made in code: the configuration does not have it." : "…");
  return panel("Parameters", { flush: true }, body);
}
