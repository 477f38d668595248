/*
 * overview: the first screen. It answers "is it well?", then what it carries, what it costs, and what it earns.
 *
 *   verdict and alerts ─ six figures ─ throughput, lag, feeds ─ strategies ─ orders, positions ─ markets, lanes, log
 *
 * Guarantees: paper and live money are never in one figure; a figure that is not known is a dash.
 * Does not: keep anything.
 */

import { lines, spark } from "../chart.js";
import { h } from "../dom.js";
import { describe } from "../events.js";
import { UNKNOWN, amount, compact, count, counted, duration, milliseconds, shortMoment, sign, signed } from "../format.js";
import { RANGES } from "../model.js";
import { netOf, tint } from "../money.js";
import { STREAM_STATES, choices, csvButton, empty, icon, law, meter, moneyTag, panel, state, tablePanel } from "../parts.js";
import { verdict } from "../verdict.js";
import { marketTable } from "./market.js";
import { orderTable, positionTable } from "./orders.js";

export function overview(app) {
  const { model } = app;
  const { engine } = model;
  return [
    verdictPart(app, summary(model), [["ticks", compact(engine.ticks)], ["instruments", count(engine.instruments)], ["commands", count(engine.commands)]]),
    tiles(app),
    h(
      "div",
      { class: "grid" },
      throughput(app),
      lag(app),
      feeds(app),
      strategies(app),
      positionTable(app, { span: "6 wide", without: "Average" }),
      orderTable(app, { span: "6 wide", without: "Since" }),
      marketTable(app, { span: 6, limit: 12 }),
      lanes(app),
      events(app),
    ),
  ];
}

/* Is it well? */

/** The answer with what needs a look. summary : one line below it. facts : terms and values beside it. */
export function verdictPart(app, summary, facts) {
  const { model } = app;
  const { level, title, found } = verdict(model);
  const beganMs = milliseconds(model.engine.began_ns);
  const up = ["up", Number.isNaN(beganMs) ? UNKNOWN : duration(Math.max(0, (model.still() ?? model.now()) - beganMs) * 1e6)];
  return h(
    "section",
    { class: "verdict", "aria-label": "Is it well?" },
    h("span", { class: `sign ${level}` }, icon(level)),
    h("div", null, h("h1", { role: "status" }, title), h("p", null, summary)),
    h("dl", { class: "facts" }, [up, ...facts].map(([name, value]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value)))),
    alerts(app, found),
  );
}

function summary(model) {
  const strategies = model.rows("strategies");
  const running = strategies.filter((own) => own.state === "running").length;
  const streams = model.rows("streams");
  const feeds = streams.length ? streams : model.rows("feeds");
  const up = feeds.filter((own) => !["DOWN", "STALE", "failed"].includes(own.state)).length;
  const missed = strategies.reduce((sum, own) => sum + Number(own.missed), 0);
  const parts = [
    h("span", { key: "s" }, h("b", null, `${running} of ${strategies.length}`), " strategies run"),
    feeds.length ? h("span", { key: "f" }, h("b", null, `${up} of ${feeds.length}`), streams.length ? " streams are up" : " feeds are well") : null,
    h("span", { key: "m" }, missed ? [h("b", null, count(missed)), " ticks missed"] : "no tick missed"),
  ];
  return parts.filter(Boolean).flatMap((part, index) => (index ? [" · ", part] : [part]));
}

const FINDINGS_MAX = 8;

function alerts(app, found) {
  if (!found.length) return null;
  const more = found.length - FINDINGS_MAX;
  return h("ol", { class: "alerts" }, found.slice(0, FINDINGS_MAX).map((own) => finding(app, own)), more > 0 ? h("li", { class: "alert", key: "more" }, h("span"), h("span", { class: "why" }, `and ${counted(more, "more thing")}`)) : null);
}

function finding(app, own) {
  return h(
    "li",
    { class: `alert ${own.level}`, key: own.id },
    h("i", { class: `dot ${own.level}` }),
    h("div", null, h("b", null, own.what), own.why ? h("span", { class: "why" }, `  ${own.why}`) : null),
    h("span", { class: "small since" }, own.sinceNs ? `since ${shortMoment(milliseconds(own.sinceNs), app.model.now())}` : ""),
    h(
      "div",
      { class: "acts" },
      own.act ? app.commands.button(own.act[0].toUpperCase() + own.act.slice(1), own.act, own.strategy ? { strategy: own.strategy } : {}) : null,
      own.alert ? app.commands.button("Acknowledge", "acknowledge-alert", { alert: own.alert }) : null,
      own.to ? h("a", { class: "button small", href: own.to, "aria-label": `Look at: ${own.what}` }, "Look") : null,
    ),
  );
}

/* Six figures */

export function tiles(app) {
  const { model } = app;
  const { rates, engine } = model;
  const { from, to } = app.chartWindow();
  const small = (name, tone, options = {}) => h(spark, { data: { from, to, points: app.points(name), tone, ...options } });
  const accounts = model.rows("accounts");
  const positions = model.rows("positions").filter((own) => sign(own.quantity));
  const strategies = model.rows("strategies");
  const slowest = strategies.reduce((worst, own) => ((own.p99_ns ?? -1) > (worst?.p99_ns ?? -1) ? own : worst), null);
  const missed = strategies.reduce((sum, own) => sum + Number(own.missed), 0);
  const furthest = strategies.reduce((worst, own) => ((own.lag_s ?? -1) > (worst?.lag_s ?? -1) ? own : worst), null);
  return h(
    "section",
    { class: "tiles", "aria-label": "Figures" },
    tile("Ticks per second", compact(rates.ticks_per_s), "", `${compact(rates.delivered_per_s)} deliveries per second`, small("rates/ticks_per_s", "a")),
    tile("Lag", tinted(rates.lag_s > 1, duration(rates.lag_s === undefined ? null : rates.lag_s * 1e9)), "", rates.lag_s ? `the furthest is ${furthest?.key}` : "every strategy is at the newest tick", small("rates/lag_s", "b")),
    tile("Slowest handler, p99", duration(rates.p99_ns), "", slowest?.p99_ns ? slowest.key : "no call was timed yet", small("rates/p99_ns", "c")),
    accounts.length ? accounts.slice(0, 1).map((own) => money(own, accounts.length, small)) : tile("Net profit", UNKNOWN, "", "no account", null),
    tile("Open orders", count(engine.open_orders), "", `${counted(positions.length, "open position")}, ${count(engine.refused_orders)} rejected`, small("rates/orders_per_s", "e")),
    tile("Missed ticks", tinted(missed > 0, count(missed)), "", `${counted(Number(engine.gaps ?? 0), "gap")}, ${count(engine.late)} late, ${count(engine.duplicates)} duplicate`, small("rates/missed_per_s", "d")),
  );
}

const tinted = (isWorry, text) => (isWorry ? h("span", { class: "text-warn" }, text) : text);

function tile(title, value, unit, note, chart, tag = null) {
  return h("div", { class: "tile", key: title }, h("h3", null, title, tag), h("div", { class: "value" }, value, unit ? h("small", null, unit) : null), h("p", { title: note }, note), chart);
}

function money(own, all, small) {
  const net = netOf(own);
  const tag = moneyTag(own.money);
  const more = all > 1 ? `, ${all - 1} more below` : "";
  return tile("Net profit", h("span", { class: tint(net) }, signed(net, 2)), own.currency, `fees ${amount(own.fees, 2)}${more}`, small(`accounts/${own.key}/equity`, "a", { fromZero: false }), tag);
}

/* Throughput and lag */

function throughput(app) {
  const series = [
    { name: "ticks", tone: "a", points: app.points("rates/ticks_per_s"), area: true },
    { name: "deliveries", tone: "b", points: app.points("rates/delivered_per_s") },
  ];
  const legend = h("div", { class: "legend" }, h("span", { class: "tone-a" }, "ticks"), h("span", { class: "tone-b" }, "deliveries"));
  const range = choices("Range", RANGES.map(([name]) => [name, name]), app.range, app.setRange);
  return panel("Per second", { span: "5 wide", aside: [legend, range] }, h(lines, { data: { ...app.chartWindow(), label: "Per second", series } }));
}

function lag(app) {
  const inMs = (points) => points.map(([at, value]) => [at, value === null ? null : value * 1e9]);
  const series = [
    { name: "furthest strategy", tone: "b", points: inMs(app.points("rates/lag_s")), area: true },
    { name: "slowest handler, p99", tone: "c", points: app.points("rates/p99_ns") },
  ];
  const legend = h("div", { class: "legend" }, h("span", { class: "tone-b" }, "lag"), h("span", { class: "tone-c" }, "handler p99"));
  return panel("Lag and handlers", { span: 4, aside: legend }, h(lines, { data: { ...app.chartWindow(), label: "Lag and handler time", series, format: duration } }));
}

/* Feeds */

// "past" is a recording, or generated; it is read while frames come of it.
const WORDS = { past: "recorded", read: "recorded" };
const FEED_COLUMNS = ["key", "venue", "state", "reason", "frames", "frames_per_s", "frame_ns"].map((name) => ({ title: name === "key" ? "feed" : name, value: (own) => own[name] }));

function feeds(app) {
  const { model } = app;
  const streams = model.rows("streams");
  const rows = model.rows("feeds").map((feed) => feedRow(feed, streams.filter((own) => own.venue === feed.venue), model.now()));
  const aside = [streams.length ? counted(streams.length, "stream") : null, csvButton("Feeds", FEED_COLUMNS, model.rows("feeds"))];
  return panel("Feeds", { span: 3, flush: true, aside }, rows.length ? h("div", { class: "rows" }, rows) : empty("This engine has no feed."));
}

function feedRow(feed, streams, nowMs) {
  const worst = STREAM_STATES.find((wanted) => streams.some((own) => own.state === wanted));
  const shown = feed.state === "running" && worst && worst !== "UP" ? worst : feed.state === "past" && feed.frames_per_s ? "read" : feed.state;
  const epoch = Math.max(0, ...streams.map((own) => own.epoch ?? 0));
  const reconnects = streams.reduce((most, own) => Math.max(most, own.reconnects ?? 0), 0);
  const parts = [
    feed.state === "running" && feed.frame_ns ? `last frame ${duration(Math.max(0, nowMs - milliseconds(feed.frame_ns)) * 1e6)} ago` : null,
    epoch ? `epoch ${epoch}` : null,
    epoch ? counted(reconnects, "reconnect") : null,
    feed.reason || null,
  ].filter(Boolean);
  return h(
    "div",
    { class: "row", key: feed.key },
    h("div", null, state(shown, feed.key)),
    h("div", { class: "right" }, feed.frames_per_s === null ? count(feed.frames) : `${compact(feed.frames_per_s)}/s`),
    h("div", { class: "small" }, parts.join(" · ") || `${count(feed.frames)} frames`),
    h("div", { class: "small right" }, WORDS[shown] ?? shown.toLowerCase()),
  );
}

/* Strategies */

const STRATEGY_COLUMNS = (app) => [
  { title: "Strategy", value: (own) => own.key, cell: (own) => h("a", { class: "name", href: `#/strategy/${encodeURIComponent(own.key)}` }, own.key) },
  { title: "State", value: (own) => own.state, cell: (own) => state(own.state) },
  { title: "", cell: (own) => law(own) },
  { title: "Delivered", className: "number", value: (own) => Number(own.delivered) },
  { title: "Missed", className: "number", value: (own) => Number(own.missed), cell: (own) => h("span", { class: Number(own.missed) ? "text-bad" : "" }, count(own.missed)) },
  { title: "Conflated", className: "number", value: (own) => Number(own.conflated) },
  { title: "Skipped", className: "number", value: (own) => Number(own.skipped) },
  { title: "Pending", className: "number", value: (own) => Number(own.pending) },
  { title: "Lag", className: "number", value: (own) => own.lag_s, cell: (own) => (own.lag_s ? duration(own.lag_s * 1e9) : "0") },
  { title: "p50", className: "number", value: (own) => own.p50_ns, cell: (own) => duration(own.p50_ns) },
  { title: "p99", className: "number", value: (own) => own.p99_ns, cell: (own) => duration(own.p99_ns) },
  { title: "Faults", className: "number", value: (own) => Number(own.faults), cell: (own) => h("span", { class: Number(own.faults) ? "text-bad" : "" }, count(own.faults)) },
  { title: "Net profit", className: "number", value: (own) => netText(own), cell: netCell },
  { title: "", className: "acts", cell: (own) => strategyActs(app, own) },
];

const netText = (own) => Object.values(own.accounts ?? {}).map((account) => netOf(account)).find((net) => net !== null) ?? null;

function netCell(own) {
  const accounts = Object.entries(own.accounts ?? {});
  if (!accounts.length) return UNKNOWN;
  return accounts.map(([key, account]) => h("div", { key }, h("span", { class: tint(netOf(account)) }, signed(netOf(account), 2)), h("span", { class: "soft" }, ` ${account.currency}`)));
}

export function strategyActs(app, own) {
  const only = { strategy: own.key };
  const button = (name, options) => app.commands.iconButton(name, `${name[0].toUpperCase()}${name.slice(1)} ${own.key}`, name, only, options);
  return [
    ["paused", "quarantined"].includes(own.state) ? button("resume", { isNow: true }) : button("pause", { isNow: true, disabled: own.state !== "running" }),
    button("restart"),
    button("stop", { disabled: ["stopped", "created", "failed"].includes(own.state) }),
  ];
}

export function strategies(app) {
  const rows = app.model.rows("strategies");
  const columns = STRATEGY_COLUMNS(app);
  const legend = h("div", { class: "legend" }, ["delivered a", "filtered f", "conflated c", "skipped d"].map((own) => h("span", { key: own, class: `tone-${own.split(" ")[1]}` }, own.split(" ")[0])), h("span", { class: "text-bad" }, "missed"));
  return tablePanel("Strategies", { id: "strategies", span: 12, aside: legend, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "This engine has no strategy." });
}

/* Markets, lanes, what happened */

function lanes(app) {
  const columns = [
    { title: "Lane", value: (own) => own.key },
    { title: "", cell: (own) => meter(own.depth, own.capacity) },
    { title: "Waiting", className: "number", value: (own) => own.depth, cell: (own) => [count(own.depth), h("span", { class: "soft" }, ` / ${compact(own.capacity)}`)] },
    { title: "Lost", className: "number", value: lost, cell: (own) => h("span", { class: lost(own) ? "text-bad" : "" }, count(lost(own))) },
  ];
  return tablePanel("Lanes", { id: "lanes", span: 3, columns, rows: app.model.rows("lanes"), keyOf: (own) => own.key, onSort: app.redraw });
}

const lost = (own) => Number(own.dead) + Number(own.dropped);

function events(app) {
  const own = app.model.tail("audit").slice(-5).reverse();
  const rows = own.map((entry) => {
    const { level, what, why, who } = describe(entry);
    const said = [who, why].filter(Boolean).join(" · ");
    return h(
      "div",
      { class: "row", key: entry.n },
      h("div", { class: "cut" }, h("span", { class: "state" }, h("i", { class: `dot ${level}` }), what)),
      h("div", { class: "right small" }, app.eventTime(entry)),
      said ? h("div", { class: "small cut" }, said) : null,
    );
  });
  return panel("Audit", { span: 3, flush: true, aside: h("a", { class: "button small", href: "#/audit" }, "All") }, rows.length ? h("div", { class: "rows" }, rows) : empty("Nothing has happened yet."));
}
