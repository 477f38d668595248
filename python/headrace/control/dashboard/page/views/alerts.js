/*
 * alerts: what the engine's rules say now, the rules, where they are told, and what is silenced.
 *
 * Guarantees: an alert that is acknowledged or silenced is shown all the same, with by whom.
 * Does not: change a rule; the configuration does.
 */

import { h } from "../dom.js";
import { milliseconds, shortMoment } from "../format.js";
import { state, tablePanel } from "../parts.js";
import { figure } from "../verdict.js";

export function alertsView(app) {
  const at = (ns) => shortMoment(milliseconds(ns), app.model.now());
  const button = (text, verb, fields) => app.commands.button(text, verb, fields);
  const columns = [
    { title: "Alert", value: (own) => own.key, cell: (own) => h("span", { class: "name" }, own.key) },
    { title: "State", value: (own) => own.state, cell: (own) => state(own.state) },
    { title: "Severity", value: (own) => own.severity, cell: (own) => h("span", { class: `tag ${own.severity === "critical" ? "bad" : ""}` }, own.severity) },
    { title: "Value", className: "number", value: (own) => own.value, cell: (own) => figure(own.value) },
    { title: "Bound", className: "number", value: (own) => own.bound, cell: (own) => figure(own.bound) },
    { title: "Since", value: (own) => milliseconds(own.since_ns), cell: (own) => at(own.since_ns) },
    { title: "Held by", value: (own) => heldBy(own) },
    { title: "", className: "acts", cell: (own) => [button("Acknowledge", "acknowledge-alert", { alert: own.key }), " ", button("Silence", "silence-alerts", { alerts: own.key })] },
  ];
  const rules = [
    { title: "Rule", value: (own) => own.key },
    { title: "Measure", value: (own) => own.measure, cell: (own) => h("code", null, own.measure) },
    { title: "Above", className: "number", value: (own) => own.above },
    { title: "Below", className: "number", value: (own) => own.below },
    { title: "For, s", className: "number", value: (own) => own.for_s },
    { title: "Severity", value: (own) => own.severity },
    { title: "Subjects", className: "number", value: (own) => own.subjects },
    { title: "Firing", className: "number", value: (own) => own.firing },
    { title: "Problem", className: "wrap", value: (own) => own.problem, cell: (own) => own.problem || h("span", { class: "soft" }, "none") },
  ];
  const sinks = [
    { title: "Sink", value: (own) => own.key },
    ...["sent", "retried", "failed", "dropped", "waiting"].map((name) => ({ title: name[0].toUpperCase() + name.slice(1), className: "number", value: (own) => own[name] })),
    { title: "Problem", className: "wrap", value: (own) => own.problem, cell: (own) => own.problem || h("span", { class: "soft" }, "none") },
  ];
  const silences = [
    { title: "Silenced", value: (own) => own.key },
    { title: "Until", value: (own) => milliseconds(own.until_ns), cell: (own) => at(own.until_ns) },
    { title: "By", value: (own) => own.actor },
    { title: "Why", className: "wrap", value: (own) => own.reason },
    { title: "", className: "acts", cell: (own) => button("End", "silence-alerts", { alerts: own.key, for_s: "0" }) },
  ];
  const part = (title, section, own, span, empty, aside = null) => {
    return tablePanel(title, { id: section, span, aside, columns: own, rows: app.model.rows(section), keyOf: (row) => row.key, onSort: app.redraw, empty });
  };
  return h(
    "div",
    { class: "grid" },
    part("Alerts", "alerts", columns, 12, "No alert: every rule is within its bound."),
    part("Rules", "alert_rules", rules, 12, "No rule is configured: [alerts] in the configuration has them."),
    part("Sinks", "alert_sinks", sinks, "6 wide", "No sink is configured.", button("Test", "test-alert")),
    part("Silences", "silences", silences, "6 wide", "Nothing is silenced.", button("Silence", "silence-alerts")),
  );
}

const heldBy = (own) => [own.acknowledged_by && `acknowledged by ${own.acknowledged_by}`, own.silenced_by && `silenced by ${own.silenced_by}`].filter(Boolean).join(", ");
