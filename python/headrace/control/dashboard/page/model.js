/*
 * model: what is known of the engine: its state document, the newest entries of its tails, and its figures over time.
 *
 * Guarantees: merging updates gives the server's document; tails and series are bounded, whatever the page is
 *   open for and whatever the engine has had; after the stream breaks, `still` says since when all of it stands still.
 * Does not: ask the server for anything; `stream` and `api` do.
 */

import { milliseconds } from "./format.js";

const TAIL_ENTRIES_MAX = 500;
// Points of one series: 15 minutes of seconds, and a little more.
const RECENT_POINTS_MAX = 1_000;
// A series of which nothing came for so long, such as that of a strategy that is gone, is forgotten.
const RECENT_MS = RECENT_POINTS_MAX * 1_000;
// A stream that is silent for so long is lost: its server sends a heartbeat more often.
const SILENT_MS = 10_000;
// What is heard of a clock for so long says how fast it goes.
const PACE_MS = 2_000;
// A clock that differs by more is not the wall's.
const PACED_MS = 60_000;
// Sections whose keys are values, where null is a value; in the others a key is a row, and null means that it is gone.
const OF_VALUES = new Set(["engine", "rates"]);

// As the server keeps its history: the span's name, and its length, ms.
export const RANGES = [
  ["15m", 15 * 60_000],
  ["2h", 2 * 3_600_000],
  ["24h", 24 * 3_600_000],
];

export class Model {
  constructor() {
    this.sections = {};
    this.tails = {};
    this.series = new Map();
    this.heardMs = null;
    this.isConnected = false;
    // Whether the engine has said that it ends.
    this.hasEnded = false;
    // What the clock of the server is ahead of ours.
    this.aheadMs = 0;
    this.conflated = 0;
    this.lost = {};
  }

  /** Merge an update of the stream: a whole document, or the rows that changed, null for one that is gone. */
  take(update, nowMs = Date.now()) {
    const isWhole = Boolean(update.whole);
    this.tell(update.clock, nowMs);
    this.conflated += update.conflated ?? 0;
    if (isWhole) this.sections = {};
    for (const [section, rows] of Object.entries(update.sections ?? {})) {
      const known = { ...this.sections[section] };
      for (const [key, row] of Object.entries(rows)) {
        if (row === null && !OF_VALUES.has(section)) delete known[key];
        else known[key] = row;
      }
      this.sections[section] = known;
    }
    for (const [tail, entries] of Object.entries(update.entries ?? {})) {
      const known = isWhole ? [] : (this.tails[tail] ?? []);
      for (const entry of entries) entry.seenMs ??= isWhole ? null : nowMs + this.aheadMs;
      this.tails[tail] = [...known, ...entries].slice(-TAIL_ENTRIES_MAX);
    }
    for (const [tail, gone] of Object.entries(update.lost ?? {})) this.lost[tail] = (this.lost[tail] ?? 0) + gone;
    this.note(milliseconds(update.clock?.now_ns));
  }

  /** Take a heartbeat: nothing has changed, and the figures are those of now. */
  tell(clock, nowMs = Date.now()) {
    this.heard(nowMs);
    const serverMs = milliseconds(clock?.now_ns);
    if (Number.isNaN(serverMs)) return;
    this.clock = clock;
    this.aheadMs = serverMs - nowMs;
    this.engineMs = milliseconds(clock.engine_ns);
    this.firstClock ??= [serverMs, this.engineMs];
  }

  /** All of it as one update, for a tab that has nothing; null while nothing has come. */
  snapshot() {
    return this.isKnown ? { whole: true, clock: this.clock, sections: this.sections, entries: this.tails } : null;
  }

  /** The stream is alive, also when it had nothing to say. */
  heard(nowMs = Date.now()) {
    this.heardMs = nowMs;
    this.isConnected = true;
    this.hasEnded = false;
  }

  get engine() {
    return this.sections.engine ?? {};
  }

  /** Whether it is a worker of recommendations, and no engine. */
  get isWorker() {
    return this.engine.kind === "worker";
  }

  get rates() {
    return this.sections.rates ?? {};
  }

  /** The rows of a section as a list, each with its `key`. */
  rows(section) {
    return Object.entries(this.sections[section] ?? {}).map(([key, row]) => ({ key, ...row }));
  }

  row(section, key) {
    const row = this.sections[section]?.[key];
    return row === undefined ? null : { key, ...row };
  }

  tail(name) {
    return this.tails[name] ?? [];
  }

  get isKnown() {
    return this.sections.engine !== undefined;
  }

  /** The server's time, ms. */
  now() {
    return Date.now() + this.aheadMs;
  }

  /** Since when the figures stand still, in the server's time; null while they are alive. */
  still(nowMs = Date.now()) {
    if (this.heardMs === null) return null;
    return !this.isConnected || nowMs - this.heardMs > SILENT_MS ? this.heardMs + this.aheadMs : null;
  }

  /** Keep today's figures, at most one point a second for each series. */
  note(atMs) {
    if (Number.isNaN(atMs)) return;
    const add = (name, value) => {
      if (value === undefined) return;
      const points = this.series.get(name) ?? [];
      const last = points.at(-1);
      if (last && atMs - last[0] < 950) return;
      // Where nothing was heard for a while, the line breaks.
      if (last && atMs - last[0] > SILENT_MS) points.push([last[0] + 1, null]);
      points.push([atMs, value ?? null]);
      if (points.length > RECENT_POINTS_MAX) points.splice(0, points.length - RECENT_POINTS_MAX);
      this.series.set(name, points);
    };
    const float = (text) => (text === null || text === undefined ? null : Number(text));
    for (const [name, points] of this.series) if (atMs - points.at(-1)[0] > RECENT_MS) this.series.delete(name);
    for (const [name, value] of Object.entries(this.rates)) add(`rates/${name}`, value);
    for (const { key, equity } of this.rows("accounts")) add(`accounts/${key}/equity`, float(equity));
    for (const { key, value } of this.rows("plots")) add(`plots/${key}`, value);
    for (const { key, mid, spread, quotes_per_s, last_price, trades_per_s } of this.rows("instruments")) {
      for (const [name, value] of Object.entries({ mid, spread, quotes_per_s, last_price, trades_per_s })) add(`instruments/${key}/${name}`, value);
    }
    for (const { key, lag_s, p99_ns, delivered_per_s, accounts } of this.rows("strategies")) {
      for (const [name, value] of Object.entries({ lag_s, p99_ns, delivered_per_s })) add(`strategies/${key}/${name}`, value);
      for (const [name, { equity }] of Object.entries(accounts ?? {})) add(`strategies/${key}/${name}/equity`, float(equity));
    }
  }

  /** Whether the engine's clock is that of the wall; a paced one has times of its data. */
  get isWallClock() {
    return Math.abs(this.now() - (this.engineMs ?? NaN)) < PACED_MS;
  }

  /** How fast the engine's clock goes, by what was heard of it; null while that is too little. */
  get pace() {
    const passed = this.now() - this.firstClock[0];
    return passed > PACE_MS && this.engineMs > this.firstClock[1] ? (this.engineMs - this.firstClock[1]) / passed : null;
  }

  /** When an entry of a tail happened, by the server's wall clock, for a paced one about; null: that is not known. */
  wallOf(entry) {
    const ms = milliseconds(entry.ts_ns);
    if (this.isWallClock || entry.seenMs !== null) return this.isWallClock ? ms : entry.seenMs;
    return this.pace === null ? null : this.now() - (this.engineMs - ms) / this.pace;
  }

  /** The points of a series: the server's history, and after it what was seen since. */
  points(name, history = null) {
    const seen = this.series.get(name) ?? [];
    const past = history?.get(name);
    if (!past?.length) return seen;
    const last = past.at(-1)[0];
    return [...past, ...seen.filter(([at]) => at > last)];
  }
}
