/*
 * main: the page of one engine: sign-in, the stream, where the reader is, and the frame around each view.
 *
 *   stream ─▶ Model ─▶ views (functions of it) ─▶ dom      buttons ─▶ Commands ─▶ api
 *
 * Guarantees: it draws at most once for each frame of the screen, and once a second while nothing comes; Halt is in
 *   reach on every view; where the connection is lost, it says so and since when the figures stand still.
 * Does not: know what a view shows.
 */

import { Api } from "./api.js";
import { Commands, commandsView } from "./commands.js";
import { h, render } from "./dom.js";
import { Fetched } from "./fetched.js";
import { clock, duration, milliseconds, shortMoment } from "./format.js";
import { loadHistory } from "./history.js";
import { Model, RANGES } from "./model.js";
import { icon, iconButton, mark } from "./parts.js";
import * as session from "./session.js";
import { Family, follow } from "./tabs.js";
import { verdict } from "./verdict.js";
import { VIEWS, viewOf } from "./views.js";

// The series of the first screen, and of the details.
const HISTORY = ["rates/*", "accounts/*", "strategies/*", "instruments/*"];

// A chart shows at least so much.
const YOUNG_MS = 120_000;

class App {
  constructor() {
    this.model = new Model();
    this.range = RANGES[0][0];
    this.history = null;
    this.wrong = "";
    this.isAsked = false;
    this.redraw = () => {
      if (this.isAsked) return;
      this.isAsked = true;
      requestAnimationFrame(() => this.draw());
    };
    this.setRange = (own) => {
      this.range = own;
      this.history = null;
      this.loadHistory();
      this.redraw();
    };
    this.commands = new Commands(this);
  }

  start() {
    session.applyLook();
    addEventListener("hashchange", () => {
      this.redraw();
      scrollTo(0, 0);
    });
    addEventListener("keydown", (event) => this.key(event));
    setInterval(this.redraw, 1_000);
    const token = session.token();
    if (token) this.enter(token);
    const onToken = (given) => {
      session.keep(given);
      this.enter(given);
    };
    this.family = new Family({ token: session.token, onToken, onLeave: () => this.leave("Signed out in another tab.") });
    this.redraw();
  }

  /* The session */

  async signIn(token) {
    this.wrong = "";
    const api = new Api(token);
    try {
      await api.get("/v1/status");
    } catch (error) {
      this.wrong = error.status === 401 ? "This is not a token of this engine." : error.message;
      this.redraw();
      return;
    }
    session.keep(token);
    this.enter(token);
  }

  enter(token) {
    this.api = new Api(token, { onRefused: () => this.leave("The token is no longer valid.") });
    this.model = new Model();
    this.fetched = new Fetched(this.api, this.redraw);
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
    this.commands.load().then(this.redraw, () => {});
    this.loadHistory();
    this.redraw();
  }

  signOut() {
    this.family.leave(this.api.token);
    this.leave();
  }

  leave(why = "") {
    this.source?.stop();
    this.source = this.api = null;
    this.wrong = why;
    session.forget();
    this.redraw();
  }

  connection(name, detail = {}) {
    if (name === "alive" || name === "open") this.model.heard();
    if (name === "open") {
      this.isOlder = Boolean(detail.page) && detail.page !== document.documentElement.dataset.page;
      if (!this.commands.has("pause")) this.commands.load().then(this.redraw, () => {});
    }
    if (name === "lost") {
      this.model.isConnected = false;
      this.lostWhy = detail.text;
      if (detail.status === 401) this.leave("The token is no longer valid.");
      this.redraw();
    }
  }

  async loadHistory() {
    const range = this.range;
    try {
      const history = await loadHistory(this.api, range, HISTORY);
      if (range === this.range) this.history = history;
    } catch {
      // Without it the charts begin with what was seen by this page.
    }
    this.redraw();
  }

  /* Time */

  rangeMs() {
    return RANGES.find(([name]) => name === this.range)[1];
  }

  /** The last `spanMs`, moving once a second so that a chart is drawn again no more often. */
  window(spanMs) {
    const to = Math.ceil(this.model.now() / 1_000) * 1_000;
    return { from: to - spanMs, to };
  }

  chartWindow() {
    const { from, to } = this.window(this.rangeMs());
    // A young engine fills its charts: what was before it began is no hole.
    const beganMs = milliseconds(this.model.engine.began_ns);
    const first = Number.isNaN(beganMs) ? from : Math.min(beganMs, to - YOUNG_MS);
    return { from: Math.max(from, first), to, still: this.model.still() };
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

  /* The frame */

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const tab = VIEWS[Number(event.key) - 1];
    if (tab) location.hash = tab.hash;
    if (event.key === "h" && this.api) this.commands.open("halt");
  }

  draw() {
    this.isAsked = false;
    const host = document.getElementById("page");
    if (!this.api) {
      document.title = "Headrace";
      render(host, door(this));
      return;
    }
    const { level, title } = verdict(this.model);
    document.title = `${{ bad: "■ ", warn: "◆ ", good: "", off: "" }[level]}${this.model.engine.name ?? "Headrace"} – ${title}`;
    const view = viewOf(location.hash);
    render(
      host,
      h("a", { class: "skip", href: "#content", key: "skip" }, "To the content"),
      head(this, view),
      banner(this),
      h("main", { id: "content", key: view.key }, this.model.isKnown ? view.draw(this) : waiting()),
      this.commands.views(),
    );
  }
}

function door(app) {
  const enter = (event) => {
    event.preventDefault();
    app.signIn(event.target.elements.token.value.trim());
  };
  return h(
    "main",
    { class: "door", key: "door" },
    h(
      "form",
      { onsubmit: enter },
      h("div", { class: "brand" }, mark(), h("span", null, "Headrace")),
      h("p", null, "Sign in with the token of this engine. Its file was named in the engine's log when it was made."),
      h("label", null, "Token", h("input", { name: "token", type: "password", required: true, autocomplete: "off", autofocus: true, spellcheck: "false" })),
      app.wrong ? h("p", { class: "refused", role: "alert" }, app.wrong) : null,
      h("button", { type: "submit", class: "main" }, "Sign in"),
    ),
  );
}

const waiting = () => h("p", { class: "soft", role: "status" }, "Waiting for the first figures…");

function head(app, view) {
  const { engine } = app.model;
  return h(
    "header",
    { class: "head", key: "head" },
    h("a", { class: "brand", href: "#/", "aria-label": "Headrace, first screen" }, mark(), h("span", null, "Headrace")),
    h("div", { class: "engine" }, h("b", { title: `run ${engine.run_id ?? ""}` }, engine.name ?? "…"), engine.mode ? h("span", { class: "tag info" }, engine.mode) : null, moneyTag(engine.money), engine.halted ? h("span", { class: "tag bad" }, "halted") : null),
    h("nav", { class: "tabs", "aria-label": "Views" }, VIEWS.map((own) => tab(app, own, view))),
    h("div", { class: "spring" }),
    link(app),
    h("div", { class: "tools" }, lookButton(app), iconButton("leave", "Sign out", () => app.signOut())),
    engine.halted
      ? h("button", { type: "button", class: "halt", key: "rearm", onclick: () => app.commands.open("rearm") }, "Rearm")
      : h("button", { type: "button", class: "halt danger", key: "halt", title: "Let no new order pass (h)", onclick: () => app.commands.open("halt") }, "Halt"),
  );
}

const moneyTag = (money) => (money && money !== "none" ? h("span", { class: `tag ${money === "live" ? "real" : ""}` }, `${money} money`) : null);

function tab(app, own, view) {
  const badge = own.badge?.(app.model);
  return h("a", { href: own.hash, key: own.hash, "aria-current": view.tab === own ? "page" : null }, own.title, badge ? h("i", { class: badge.level ?? "" }, badge.text) : null);
}

function link({ model }) {
  const still = model.still();
  const name = still !== null ? "lost" : model.isKnown ? "up" : "starting";
  const text = still !== null ? "still" : "live";
  return h("div", { class: "link", title: "UTC, by the engine's clock" }, h("i", { class: `dot ${{ lost: "bad", up: "good", starting: "info" }[name]}` }), h("span", { class: "age" }, text), h("time", null, clock(model.now())));
}

function lookButton(app) {
  const own = session.look();
  const next = session.LOOKS[(session.LOOKS.indexOf(own) + 1) % session.LOOKS.length];
  return h("button", { type: "button", class: "icon", "aria-label": `Colours: ${own}`, title: `Colours: ${own}`, onclick: () => (session.setLook(next), app.redraw()) }, icon(own));
}

function banner(app) {
  const { model } = app;
  const still = model.still();
  if (app.isOlder) return h("div", { class: "banner warn", key: "banner", role: "alert" }, h("b", null, "This page is older than the engine."), "Its figures may be shown wrongly.", h("button", { type: "button", class: "small", onclick: () => location.reload() }, "Load the new one"));
  if (still === null) return null;
  if (model.hasEnded) return h("div", { class: "banner warn", key: "banner", role: "status" }, h("b", null, "The engine has ended."), `The figures are its last, of ${shortMoment(still, model.now())} UTC. A new run is shown as soon as it answers.`);
  return h("div", { class: "banner", key: "banner", role: "alert" }, h("b", null, "The connection is lost."), `The figures stand still since ${shortMoment(still, model.now())} UTC, ${duration((model.now() - still) * 1e6)} ago${app.lostWhy ? `: ${app.lostWhy}` : ""}. It is tried again; Halt works all the same.`);
}

new App().start();
