/*
 * app: one engine as the page shows it: its stream, model, commands, documents and history, and the span of its charts.
 *
 * What happens when the page stays open for long
 *   The history is read again before the figures that the page has seen itself no longer reach back to it.
 *
 * Guarantees: after `stop` nothing of it runs. Does not: draw; views do, and `main` calls them.
 */

import { Api } from "./api.js";
import { Commands } from "./commands.js";
import { Fetched } from "./fetched.js";
import { clock, milliseconds, shortMoment } from "./format.js";
import { loadHistory } from "./history.js";
import { Model, RANGES } from "./model.js";
import { follow } from "./tabs.js";

// The series of the first screen, and of the details.
const HISTORY = ["rates/*", "accounts/*", "strategies/*", "instruments/*", "plots/*"];
// Less than the time for which a model keeps what it has seen.
const HISTORY_EVERY_MS = 300_000;
// A chart shows at least so much.
const YOUNG_MS = 120_000;

export class App {
  /** page : what draws, and is told when the token is refused. origin : of the engine. */
  constructor(page, origin, token) {
    Object.assign(this, { page, origin, redraw: page.redraw });
    this.api = new Api(origin, token, { onRefused: () => page.leave(origin, "The token is no longer valid.") });
    this.model = new Model();
    this.fetched = new Fetched(this.api, this.redraw);
    this.commands = new Commands(this);
    // Whose token it is, and what it may do; null until it is known.
    this.who = null;
    this.range = RANGES[0][0];
    this.history = null;
    this.historyMs = -Infinity;
    this.setRange = (own) => {
      this.range = own;
      this.history = null;
      this.loadHistory();
      this.redraw();
    };
  }

  start() {
    this.source = follow(this.api, {
      onUpdate: (type, update) => {
        if (type === "end") this.model.hasEnded = true;
        else if (type === "heartbeat") this.model.tell(update.clock);
        else this.model.take(update);
        this.redraw();
      },
      onState: (name, detail) => this.connection(name, detail),
      snapshot: () => this.model.snapshot(),
    });
    this.load();
    this.loadHistory();
    return this;
  }

  stop() {
    this.source?.stop();
    this.isStopped = true;
  }

  /** Once a second. */
  tick() {
    if (performance.now() - this.historyMs > HISTORY_EVERY_MS) this.loadHistory();
  }

  async load() {
    try {
      [this.who] = await Promise.all([this.api.get("/v1/session"), this.commands.load()]);
    } catch {
      // Asked again when the stream opens.
    }
    this.redraw();
  }

  connection(name, detail = {}) {
    if (name === "alive" || name === "open") this.model.heard();
    if (name === "open") {
      this.isOlder = Boolean(detail.page) && detail.page !== document.documentElement.dataset.page;
      if (!this.who) this.load();
      if (this.lostWhy) this.loadHistory();
      this.lostWhy = "";
    }
    if (name === "lost") {
      this.model.isConnected = false;
      this.lostWhy = detail.text;
      if (detail.status === 401) this.page.leave(this.origin, "The token is no longer valid.");
      this.redraw();
    }
  }

  async loadHistory() {
    const range = this.range;
    this.historyMs = performance.now();
    try {
      const history = await loadHistory(this.api, range, HISTORY);
      if (range === this.range && !this.isStopped) this.history = history;
    } catch {
      // Without it the charts begin with what was seen by this page.
    }
    this.redraw();
  }

  /* Time */

  /** What the charts show: up to now, moving once a second so that a chart is drawn again no more often. */
  chartWindow() {
    const to = Math.ceil(this.model.now() / 1_000) * 1_000;
    const from = to - RANGES.find(([name]) => name === this.range)[1];
    // A young engine fills its charts: what was before its first figures is no hole.
    const beganMs = milliseconds(this.model.engine.began_ns);
    const first = Number.isNaN(beganMs) ? from : Math.min(beganMs, this.history?.firstMs ?? to, to - YOUNG_MS);
    return { from: Math.max(from, first), to, still: this.model.still() };
  }

  /** The points of a series in the chosen range. */
  points(name) {
    return this.model.points(name, this.history);
  }

  /** A time of the engine's own clock, with its day where that is not today's. */
  engineTime(ns, places = 0) {
    const ms = milliseconds(ns);
    const today = this.model.isWallClock ? this.model.now() : (this.model.engineMs ?? ms);
    return places ? clock(ms, places) : shortMoment(ms, today);
  }

  eventTime(entry, places = 0) {
    return this.engineTime(entry.ts_ns, places);
  }
}
