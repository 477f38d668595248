/*
 * routes: what a gateway has subscribed, with filters and counts, and the streams of the venues that carry it.
 *
 * Guarantees: a change is a command; its Ack comes after the venue has confirmed it.
 */

import { h } from "../dom.js";
import { count } from "../format.js";
import { STREAM_STATES, state, tablePanel } from "../parts.js";

export function routesView(app) {
  const routes = app.model.rows("routes");
  const streams = app.model.rows("streams");
  const route = (own) => ({ type: own.type, instruments: own.instrument });
  const columns = [
    { title: "Route", value: (own) => own.instrument, cell: (own) => h("a", { class: "name", href: `#/market/${encodeURIComponent(own.instrument)}` }, own.instrument) },
    { title: "Type", value: (own) => own.type, cell: (own) => h("span", { class: "tag" }, own.type) },
    { title: "State", value: (own) => own.state, cell: (own) => state(worstOf(own.state), own.state.toLowerCase()) },
    ...["received", "converted", "filtered", "rejected", "suppressed", "forwarded"].map((name) => ({ title: name[0].toUpperCase() + name.slice(1), className: "number", value: (own) => own[name] })),
    { title: "Filters", value: (own) => own.filters, cell: (own) => (own.filters ? h("code", null, own.filters) : h("span", { class: "soft" }, "none")) },
    { title: "", className: "acts", cell: (own) => [app.commands.button("Filter", "set-filter", { type: own.type, instrument: own.instrument, filters: JSON.stringify(own.rules, null, 1) }), " ", app.commands.button("Unsubscribe", "unsubscribe", route(own))] },
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
    tablePanel("Routes", { id: "routes", span: 12, aside: app.commands.button("Subscribe", "subscribe"), columns, rows: routes, keyOf: (own) => own.key, onSort: app.redraw, empty: "This engine has no gateway, so it has no routes." }),
    tablePanel("Streams", { id: "streams", span: 12, aside: count(streams.length), columns: streamColumns, rows: streams, keyOf: (own) => own.key, onSort: app.redraw, empty: "No feed of this engine has streams of a venue." }),
  );
}

/** Of a route over several streams, which has the state of each, the worst. */
const worstOf = (states) => STREAM_STATES.find((own) => states.split(" ").includes(own)) ?? states;
