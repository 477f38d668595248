/*
 * verdict: "is it well?", answered from the state document: a grade, one sentence, and what needs a look, worst first.
 *
 * Guarantees: what is unknown is never well; a finding says the fact, its value, and where to look.
 * Does not: replace the engine's own alerts, which have rules and a memory; those that fire are among the findings.
 */

import { count, counted, duration } from "./format.js";

// The bounds of docs/how-to/operate.md.
const LAG_WORRY_S = 1;
const LANE_WORRY = 0.8;
// Workers wake up when a recommendation arrives.
const BACKLOG_WORRY_S = 120;

const WORST = { bad: 0, warn: 1 };

export function verdict(model) {
  const still = model.still();
  const found = findings(model);
  const bad = found.filter((own) => own.level === "bad").length;
  const { engine } = model;
  if (!model.isKnown) return { level: "off", title: "Waiting for the first figures", found: [] };
  if (model.hasEnded) return { level: "off", title: `The run has ended${engine.ended_by ? `: ${engine.ended_by}` : ""}`, found };
  if (still !== null) return { level: "bad", title: "Unknown: the connection is lost", found };
  if (engine.halted) return { level: "bad", title: "Halted: no new order passes", found };
  if (engine.state === "ended") return { level: bad ? "bad" : "good", title: `The ${engine.kind} has ended`, found };
  if (engine.state === "stopping") return { level: "warn", title: "It is stopping", found };
  if (bad) return { level: "bad", title: `${counted(bad, "thing")} ${bad === 1 ? "is" : "are"} wrong`, found };
  if (found.length) return { level: "warn", title: `${counted(found.length, "thing")} ${found.length === 1 ? "needs" : "need"} a look`, found };
  return { level: "good", title: "All is well", found };
}

/**
 * What needs a look. A finding and the alerts of the same measure and subject are one: the alert lends its key, to be
 * acknowledged by, and its time. Counts, which never fall, are left to a rule where there is one: it looks at a window.
 */
function findings(model) {
  const alerts = model.rows("alerts").filter((own) => own.state === "firing" || own.state === "no-data");
  const ruled = new Set(model.rows("alert_rules").map((own) => own.measure));
  const own = [...halted(model), ...feeds(model), ...strategies(model), ...lags(model), ...lanes(model), ...services(model), ...backlog(model), ...totals(model)];
  const told = new Set();
  const found = [];
  for (const finding of own) {
    const same = alerts.filter(({ measure, subject }) => measure === finding.measure && (finding.subject === undefined || subject === finding.subject));
    for (const alert of same) told.add(alert.key);
    const open = same.filter(isOpen);
    if (same.length && !open.length) continue;
    if (finding.isCount && ruled.has(finding.measure) && !open.length) continue;
    found.push(open.length ? { ...finding, alert: open[0].key, sinceNs: finding.sinceNs ?? open[0].since_ns } : finding);
  }
  found.push(...alerts.filter((alert) => isOpen(alert) && !told.has(alert.key)).map(findingOf));
  return found.sort((one, other) => WORST[one.level] - WORST[other.level]);
}

/** An alert that nobody has acknowledged or silenced. */
const isOpen = (alert) => !alert.acknowledged_by && !alert.silenced_by;

function halted({ engine }) {
  if (!engine.halted) return [];
  const { reason, actor, since_ns } = engine.halt ?? {};
  return [{ id: "halted", measure: "halt", level: "bad", what: "Halted", why: [reason || "no reason given", actor && `by ${actor}`].filter(Boolean).join(", "), sinceNs: since_ns, act: "rearm" }];
}

function findingOf(own) {
  const why = own.state === "no-data" ? `${own.measure} is not known` : `${own.measure} is ${figure(own.value)}, ${figure(own.bound)} is allowed`;
  return { id: `alert ${own.key}`, level: own.severity === "critical" && own.state === "firing" ? "bad" : "warn", what: `${own.rule}: ${own.subject}`, why: own.problem || why, sinceNs: own.since_ns, alert: own.key, to: "#/alerts" };
}

export const figure = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : (value ?? "unknown"));

function feeds(model) {
  const found = model
    .rows("feeds")
    .filter((own) => own.state === "failed")
    .map((own) => ({ id: `feed ${own.key}`, measure: "feed_failed", subject: own.key, level: "bad", what: `Feed ${own.key} failed`, why: own.reason }));
  const streams = model.rows("streams");
  for (const [wanted, level, word] of [["DOWN", "bad", "down"], ["STALE", "warn", "stale"]]) {
    const own = streams.filter(({ state }) => state === wanted);
    if (own.length) found.push({ id: `streams ${word}`, measure: "stale_feed", level, what: `${counted(own.length, "stream")} ${word}`, why: named(own) });
  }
  const books = model.rows("instruments").filter(({ book }) => book?.state === "STALE" || book === "STALE");
  if (books.length) found.push({ id: "books", level: "warn", what: `${counted(books.length, "book")} stale`, why: named(books), to: "#/markets" });
  return found;
}

function strategies(model) {
  const found = [];
  for (const own of model.rows("strategies")) {
    const at = { to: `#/strategy/${encodeURIComponent(own.key)}` };
    if (own.state === "quarantined") found.push({ id: `${own.key} out`, measure: "quarantine", subject: own.key, level: "bad", what: `${own.key} is in quarantine`, why: `${counted(Number(own.faults), "call")} raised; it gets no ticks`, act: "resume", strategy: own.key, ...at });
    if (own.state === "failed") found.push({ id: `${own.key} failed`, measure: "quarantine", subject: own.key, level: "bad", what: `${own.key} failed`, why: own.reason || "its dead letter says why", act: "restart", strategy: own.key, ...at });
    if (Number(own.missed) > 0) found.push({ id: `${own.key} missed`, measure: "drops", subject: own.key, isCount: true, level: "warn", what: `${own.key} missed ${count(own.missed)} ticks`, why: "it is too slow for its subscription; each loss reached it as a gap", ...at });
    const refused = Object.entries(own.refusals ?? {});
    if (refused.length) found.push({ id: `${own.key} refused`, measure: "refused_orders", subject: own.key, isCount: true, level: "warn", what: `${own.key}: orders refused`, why: refused.map(([gate, times]) => `${gate} ${count(times)}`).join(", "), ...at });
  }
  return found;
}

/** Strategies that are behind, as one finding: they share a reader, so mostly all are or none. */
function lags(model) {
  const behind = model.rows("strategies").filter((own) => own.state === "running" && own.lag_s > LAG_WORRY_S).sort((one, other) => other.lag_s - one.lag_s);
  if (!behind.length) return [];
  const [furthest, ...others] = behind;
  const what = `${furthest.key} is ${duration(furthest.lag_s * 1e9)} behind`;
  return [{ id: "lag", measure: "lag", level: "warn", what, why: others.length ? `${named(others)} ${others.length === 1 ? "is" : "are"} behind as well` : "it decides on old prices", to: `#/strategy/${encodeURIComponent(furthest.key)}` }];
}

function lanes(model) {
  const found = [];
  for (const own of model.rows("lanes")) {
    if (Number(own.dead) + Number(own.dropped) > 0) found.push({ id: `lane ${own.key} lost`, measure: "lane_drops", subject: own.key, isCount: true, level: "warn", what: `Lane ${own.key} lost events`, why: `${count(own.dead)} dead, ${count(own.dropped)} dropped` });
    if (own.capacity && own.depth / own.capacity > LANE_WORRY) found.push({ id: `lane ${own.key}`, level: "warn", what: `Lane ${own.key} is nearly full`, why: `${count(own.depth)} of ${count(own.capacity)} events wait` });
  }
  return found;
}

const services = (model) =>
  model
    .rows("services")
    .filter(({ health }) => health !== "ok")
    .map((own) => ({ id: `service ${own.key}`, measure: "service", subject: own.key, level: "bad", what: `Service ${own.key} is not well`, why: own.health }));

/** Of workers of recommendations: what keeps them from their work, and what they could not do. */
function backlog(model) {
  const { engine, rates } = model;
  const found = model.rows("pauses").map((own) => ({ id: `pause ${own.key}`, level: "warn", what: `Claims are paused: ${own.key}`, why: [own.reason, own.actor && `by ${own.actor}`].filter(Boolean).join(", "), sinceNs: own.since_ns }));
  if (rates.age_s > BACKLOG_WORRY_S) found.push({ id: "backlog", level: "warn", what: `The oldest recommendation waits for ${duration(rates.age_s * 1e9)}`, why: `${count(rates.pending)} wait` });
  if (engine.failed) found.push({ id: "failed", isCount: true, level: "warn", what: `${counted(engine.failed, "recommendation")} failed`, why: "each says why; it can be requeued" });
  return found;
}

function totals({ engine }) {
  const found = [];
  if (engine.dead_letters) found.push({ id: "letters", measure: "dead_letters", isCount: true, level: "warn", what: counted(engine.dead_letters, "dead letter"), why: "frames, calls or events that failed for good", to: "#/letters" });
  if (engine.rejected_frames) found.push({ id: "frames", measure: "rejected_frames", isCount: true, level: "warn", what: counted(engine.rejected_frames, "rejected frame"), why: "the venue sends something new, or a feed is damaged", to: "#/letters" });
  return found;
}

function named(rows) {
  const names = rows.map(({ key }) => key);
  return names.length > 4 ? `${names.slice(0, 4).join(", ")} and ${names.length - 4} more` : names.join(", ");
}
