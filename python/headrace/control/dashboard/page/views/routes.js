/*
 * routes: what a gateway has subscribed, with filters and counts, and the streams of the venues that carry it.
 *
 * Guarantees: a change is a command; its Ack comes after the venue has confirmed it.
 */

import { h } from "../dom.js";
import { count } from "../format.js";
import { csvButton, panel, state, table } from "../parts.js";

export function routesView(app) {
  const routes = app.model.rows("routes");
  const streams = app.model.rows("streams");
  const route = (own) => ({ type: own.type, instruments: own.instrument });
  const button = (text, verb, fields) => h("button", { type: "button", class: "small", key: verb, onclick: () => app.commands.open(verb, fields) }, text);
  const columns = [
    { title: "Route", value: (own) => own.instrument, cell: (own) => h("a", { class: "name", href: `#/market/${encodeURIComponent(own.instrument)}` }, own.instrument) },
    { title: "Type", value: (own) => own.type, cell: (own) => h("span", { class: "tag" }, own.type) },
    { title: "State", value: (own) => own.state, cell: (own) => state(own.state, String(own.state).toLowerCase()) },
    ...["received", "converted", "filtered", "rejected", "suppressed", "forwarded"].map((name) => ({ title: name[0].toUpperCase() + name.slice(1), className: "number", value: (own) => own[name] ?? own.counts?.[name] ?? null })),
    { title: "Filters", value: (own) => (own.filters ?? []).map(rule).join("; "), cell: (own) => h("code", null, (own.filters ?? []).map(rule).join("; ") || "none") },
    { title: "", className: "acts", cell: (own) => [button("Filter", "set-filter", { type: own.type, instrument: own.instrument, filters: JSON.stringify(own.filters ?? [], null, 1) }), " ", button("Unsubscribe", "unsubscribe", route(own))] },
  ];
  const streamColumns = [
    { title: "Stream", value: (own) => own.key },
    { title: "State", value: (own) => own.state, cell: (own) => state(own.state, own.state.toLowerCase()) },
    { title: "Epoch", className: "number", value: (own) => own.epoch },
    { title: "Reconnects", className: "number", value: (own) => own.reconnects },
  ];
  return h(
    "div",
    { class: "grid" },
    panel(
      "Routes",
      { span: 12, flush: true, aside: [app.commands.has("subscribe") ? button("Subscribe", "subscribe", {}) : null, csvButton("Routes", columns, routes)] },
      table({ id: "routes", label: "Routes", columns, rows: routes, keyOf: (own) => own.key, onSort: app.redraw, empty: "This engine has no gateway, so it has no routes." }),
    ),
    panel("Streams", { span: 12, flush: true, aside: [count(streams.length), csvButton("Streams", streamColumns, streams)] }, table({ id: "streams", label: "Streams", columns: streamColumns, rows: streams, keyOf: (own) => own.key, onSort: app.redraw, empty: "No feed of this engine has streams of a venue." })),
  );
}

const rule = ({ path, op, value }) => `${path} ${op} ${JSON.stringify(value)}`;
