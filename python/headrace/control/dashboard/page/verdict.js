/*
 * verdict: "is it well?", answered from the state document: a grade, one sentence, and what needs a look, worst first.
 *
 * Guarantees: what is unknown is never well; a finding says the fact, its value, and where to look.
 * Does not: replace the engine's own alerts, which have rules and a memory; they come first.
 */

import { count, counted, duration } from "./format.js";

// The bounds of docs/how-to/operate.md.
const LAG_WORRY_S = 1;
const LANE_WORRY = 0.8;

const WORST = { bad: 0, warn: 1 };

export function verdict(model) {
  const still = model.still();
  const found = findings(model);
  const bad = found.filter((own) => own.level === "bad").length;
  const { engine } = model;
  if (!model.isKnown) return { level: "off", title: "Waiting for the first figures", found: [] };
  if (engine.ended_by) return { level: "off", title: `The run has ended: ${engine.ended_by}`, found };
  if (still !== null) return { level: "bad", title: "Unknown: the connection is lost", found };
  if (engine.halted) return { level: "bad", title: "Halted: no new order passes", found };
  if (engine.state === "stopping") return { level: "warn", title: "It is stopping", found };
  if (bad) return { level: "bad", title: `${counted(bad, "thing")} ${bad === 1 ? "is" : "are"} wrong`, found };
  if (found.length) return { level: "warn", title: `${counted(found.length, "thing")} ${found.length === 1 ? "needs" : "need"} a look`, found };
  return { level: "good", title: "All is well", found };
}

function findings(model) {
  const found = [...halted(model), ...feeds(model), ...strategies(model), ...lags(model), ...lanes(model), ...services(model), ...totals(model)];
  return found.sort((one, other) => WORST[one.level] - WORST[other.level]);
}

function halted({ engine }) {
  if (!engine.halted) return [];
  const { reason, actor, since_ns } = engine.halt ?? {};
  return [{ id: "halted", level: "bad", what: "Halted", why: [reason || "no reason given", actor && `by ${actor}`].filter(Boolean).join(", "), sinceNs: since_ns, act: "rearm" }];
}

function feeds(model) {
  const found = model
    .rows("feeds")
    .filter((own) => own.state === "failed")
    .map((own) => ({ id: `feed ${own.key}`, level: "bad", what: `Feed ${own.key} failed`, why: own.reason }));
  const streams = model.rows("streams");
  for (const [wanted, level, word] of [["DOWN", "bad", "down"], ["STALE", "warn", "stale"]]) {
    const own = streams.filter(({ state }) => state === wanted);
    if (own.length) found.push({ id: `streams ${word}`, level, what: `${counted(own.length, "stream")} ${word}`, why: named(own) });
  }
  const books = model.rows("instruments").filter(({ book }) => book?.state === "STALE" || book === "STALE");
  if (books.length) found.push({ id: "books", level: "warn", what: `${counted(books.length, "book")} stale`, why: named(books), to: "#/markets" });
  return found;
}

function strategies(model) {
  const found = [];
  for (const own of model.rows("strategies")) {
    const at = { to: `#/strategy/${encodeURIComponent(own.key)}` };
    if (own.state === "quarantined") found.push({ id: `${own.key} out`, level: "bad", what: `${own.key} is in quarantine`, why: `${counted(Number(own.faults), "call")} raised; it gets no ticks`, act: "resume", strategy: own.key, ...at });
    if (own.state === "failed") found.push({ id: `${own.key} failed`, level: "bad", what: `${own.key} failed`, why: own.reason || "its dead letter says why", act: "restart", strategy: own.key, ...at });
    if (Number(own.missed) > 0) found.push({ id: `${own.key} missed`, level: "warn", what: `${own.key} missed ${count(own.missed)} ticks`, why: "it is too slow for its subscription; each loss reached it as a gap", ...at });
    const refused = Object.entries(own.refusals ?? {});
    if (refused.length) found.push({ id: `${own.key} refused`, level: "warn", what: `${own.key}: orders refused`, why: refused.map(([gate, times]) => `${gate} ${count(times)}`).join(", "), ...at });
  }
  return found;
}

/** Strategies that are behind, as one finding: they share a reader, so mostly all are or none. */
function lags(model) {
  const behind = model.rows("strategies").filter((own) => own.state === "running" && own.lag_s > LAG_WORRY_S).sort((one, other) => other.lag_s - one.lag_s);
  if (!behind.length) return [];
  const [furthest, ...others] = behind;
  const what = `${furthest.key} is ${duration(furthest.lag_s * 1e9)} behind`;
  return [{ id: "lag", level: "warn", what, why: others.length ? `${named(others)} ${others.length === 1 ? "is" : "are"} behind as well` : "it decides on old prices", to: `#/strategy/${encodeURIComponent(furthest.key)}` }];
}

function lanes(model) {
  const found = [];
  for (const own of model.rows("lanes")) {
    if (Number(own.dead) + Number(own.dropped) > 0) found.push({ id: `lane ${own.key} lost`, level: "warn", what: `Lane ${own.key} lost events`, why: `${count(own.dead)} dead, ${count(own.dropped)} dropped` });
    if (own.capacity && own.depth / own.capacity > LANE_WORRY) found.push({ id: `lane ${own.key}`, level: "warn", what: `Lane ${own.key} is nearly full`, why: `${count(own.depth)} of ${count(own.capacity)} events wait` });
  }
  return found;
}

const services = (model) =>
  model
    .rows("services")
    .filter(({ health }) => health !== "ok")
    .map((own) => ({ id: `service ${own.key}`, level: "bad", what: `Service ${own.key} is not well`, why: own.health }));

function totals({ engine }) {
  const found = [];
  if (engine.dead_letters) found.push({ id: "letters", level: "warn", what: counted(engine.dead_letters, "dead letter"), why: "frames, calls or events that failed for good", to: "#/letters" });
  if (engine.rejected_frames) found.push({ id: "frames", level: "warn", what: counted(engine.rejected_frames, "rejected frame"), why: "the venue sends something new, or a feed is damaged", to: "#/letters" });
  return found;
}

function named(rows) {
  const names = rows.map(({ key }) => key);
  return names.length > 4 ? `${names.slice(0, 4).join(", ")} and ${names.length - 4} more` : names.join(", ");
}
