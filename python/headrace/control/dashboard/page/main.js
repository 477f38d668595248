/*
 * main: the page: sign-in, the engines that it shows, where the reader is, and the frame around each view.
 *
 *   stream ─▶ Model ─▶ views (functions of it) ─▶ dom      buttons ─▶ Commands ─▶ api        an App for each engine
 *
 * Guarantees: it draws at most once for each frame of the screen, and once a second while nothing comes; Halt is in
 *   reach on every view; where the connection is lost, it says so and since when the figures stand still.
 * Does not: know what a view shows.
 */

import { Api } from "./api.js";
import { App } from "./app.js";
import { h, render } from "./dom.js";
import { clock, duration, shortMoment } from "./format.js";
import { icon, iconButton, mark, moneyTag, panel } from "./parts.js";
import * as session from "./session.js";
import { Family } from "./tabs.js";
import { verdict } from "./verdict.js";
import { viewOf, viewsOf } from "./views.js";

// The engine that served this page.
const HOME = location.origin;

class Page {
  constructor() {
    // Origin of an engine -> its App; and why one that was there is gone.
    this.apps = new Map();
    this.wrong = new Map();
    this.isAsked = false;
    // The engine and the address that are drawn; null: the door.
    this.place = null;
    this.redraw = () => {
      if (this.isAsked) return;
      this.isAsked = true;
      requestAnimationFrame(() => this.draw());
    };
  }

  start() {
    session.applyLook();
    addEventListener("hashchange", () => this.draw());
    addEventListener("keydown", (event) => this.key(event));
    setInterval(() => {
      for (const app of this.apps.values()) app.tick();
      this.redraw();
    }, 1_000);
    this.enterAll(session.tokens());
    this.family = new Family({
      tokens: session.tokens,
      onTokens: (tokens) => this.enterAll(tokens),
      onLeave: (origin) => this.leave(origin, "Signed out in another tab."),
    });
    this.redraw();
  }

  /* The engines */

  /** The App of the engine that the views show; undefined: nobody is signed in. */
  get app() {
    return this.apps.get(session.shown()) ?? this.apps.get(HOME);
  }

  get home() {
    return this.apps.get(HOME);
  }

  /** The other engines that the page may show, signed in at or not. */
  get others() {
    return this.home?.who?.engines ?? [];
  }

  async signIn(origin, token) {
    this.wrong.delete(origin);
    try {
      await new Api(origin, token).get("/v1/session");
      this.enter(origin, token);
    } catch (error) {
      this.wrong.set(origin, error.status === 401 ? "This is not a token of this engine." : error.message);
    }
    this.redraw();
  }

  enter(origin, token) {
    session.keep(origin, token);
    this.apps.get(origin)?.stop();
    this.apps.set(origin, new App(this, origin, token).start());
  }

  enterAll(tokens) {
    for (const [origin, token] of Object.entries(tokens)) this.enter(origin, token);
    this.redraw();
  }

  /** Sign out of an engine here and in all tabs; out of every engine where it is that of the page. */
  signOut(origin) {
    this.family.leave(origin, session.tokens()[origin]);
    this.leave(origin);
  }

  leave(origin, why = "") {
    for (const own of origin === HOME ? [...this.apps.keys()] : [origin]) {
      this.apps.get(own)?.stop();
      this.apps.delete(own);
      session.forget(own);
    }
    this.wrong.set(origin, why);
    this.redraw();
  }

  show(origin) {
    session.show(origin);
    location.hash = "#/";
    this.redraw();
  }

  /* Where the reader is */

  key(event) {
    if (!this.app || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const tab = viewsOf(this.app)[Number(event.key) - 1];
    if (tab) location.hash = tab.hash;
    if (event.key === "h") this.app.commands.open("halt");
  }

  draw() {
    this.isAsked = false;
    const host = document.getElementById("page");
    const { app } = this;
    if (!this.home) {
      this.place = null;
      document.title = "Headrace";
      render(host, door(this));
      return;
    }
    const { level, title } = verdict(app.model);
    document.title = `${{ bad: "■ ", warn: "◆ ", good: "", off: "" }[level]}${app.model.engine.name ?? "Headrace"} – ${title}`;
    const view = viewOf(app, location.hash);
    // An address is drawn as soon as it holds, which may be a frame before the browser tells that it changed.
    const before = this.place;
    this.place = `${app.origin} ${location.hash}`;
    const hasMoved = before !== null && before !== this.place;
    const isInView = document.activeElement.closest("main") !== null;
    render(
      host,
      h("a", { class: "skip", href: "#content", key: "skip", onclick: toContent }, "To the content"),
      head(this, app, view),
      banner(app),
      h("main", { id: "content", tabindex: "-1", key: `${app.origin} ${view.key}` }, app.model.isKnown ? drawn(view, app) : waiting()),
      app.commands.views(),
    );
    if (!hasMoved) return;
    scrollTo(0, 0);
    // The link that led here is gone with its view: the keyboard goes on in the new one.
    if (isInView) document.getElementById("content").focus({ preventScroll: true });
  }
}

function toContent(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

function door(page) {
  const wrong = page.wrong.get(HOME);
  const enter = (event) => {
    event.preventDefault();
    page.signIn(HOME, event.target.elements.token.value.trim());
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
      wrong ? h("p", { class: "refused", role: "alert" }, wrong) : null,
      h("button", { type: "submit", class: "main" }, "Sign in"),
    ),
  );
}

/** A view; where it fails, why: the frame around it, and Halt, are there all the same. */
function drawn(view, app) {
  try {
    return view.draw(app);
  } catch (error) {
    console.error(error);
    return panel("This view cannot be shown", {}, h("p", { role: "alert" }, `It failed: ${error.message}. The other views work, and so do all commands.`));
  }
}

const waiting = () => h("p", { class: "soft", role: "status" }, "Waiting for the first figures…");

function head(page, app, view) {
  const { commands, model } = app;
  const { engine } = model;
  return h(
    "header",
    { class: "head", key: "head" },
    h("a", { class: "brand", href: "#/", "aria-label": "Headrace, first screen" }, mark(), h("span", null, "Headrace")),
    h(
      "div",
      { class: "engine" },
      page.apps.size > 1 ? chooser(page, app) : h("b", { title: `run ${engine.run_id ?? ""}` }, engine.name ?? "…"),
      engine.mode ? h("span", { class: "tag info" }, engine.mode) : null,
      engine.money && engine.money !== "none" ? moneyTag(engine.money, `${engine.money} money`) : null,
      engine.halted ? h("span", { class: "tag bad" }, "halted") : null,
      commands.isReadOnly ? h("span", { class: "tag warn", title: commands.offBecause }, "read-only") : null,
    ),
    h("nav", { class: "tabs", "aria-label": "Views" }, viewsOf(app).map((own) => tab(app, own, view))),
    h("div", { class: "spring" }),
    link(app),
    h("div", { class: "tools" }, lookButton(page), iconButton("leave", "Sign out", () => page.signOut(HOME))),
    engine.kind === "backtest"
      ? commands.button("End", "drain", {}, { class: "halt", key: "drain", title: "End the backtest, with a report of what ran", disabled: engine.state === "ended" })
      : engine.halted
      ? commands.button("Rearm", "rearm", {}, { class: "halt", key: "rearm" })
      : commands.button("Halt", "halt", {}, { class: "halt danger", key: "halt", title: "Let no new order pass (h)" }),
  );
}

/** Which of several engines the views show. */
function chooser(page, app) {
  return h(
    "select",
    { "aria-label": "Engine", class: "small", key: "chooser", value: app.origin, onchange: (event) => page.show(event.target.value) },
    [...page.apps.values()].map((own) => h("option", { key: own.origin, value: own.origin }, own.model.engine.name ?? own.origin)),
  );
}

function tab(app, own, view) {
  const badge = own.badge?.(app);
  return h("a", { href: own.hash, key: own.hash, "aria-current": view.tab === own ? "page" : null }, own.title, badge ? h("i", { class: badge.level ?? "" }, badge.text) : null);
}

function link({ model }) {
  const still = model.still();
  const name = still !== null ? "lost" : model.isKnown ? "up" : "starting";
  const text = still !== null ? "still" : "live";
  return h("div", { class: "link", title: "UTC, by the engine's clock" }, h("i", { class: `dot ${{ lost: "bad", up: "good", starting: "info" }[name]}` }), h("span", { class: "age" }, text), h("time", null, clock(model.now())));
}

function lookButton(page) {
  const own = session.look();
  const next = session.LOOKS[(session.LOOKS.indexOf(own) + 1) % session.LOOKS.length];
  return h("button", { type: "button", class: "icon", "aria-label": `Colours: ${own}`, title: `Colours: ${own}`, onclick: () => (session.setLook(next), page.redraw()) }, icon(own));
}

function banner(app) {
  const { model } = app;
  const still = model.still();
  if (app.isOlder) return h("div", { class: "banner warn", key: "banner", role: "alert" }, h("b", null, "This page is older than the engine."), "Its figures may be shown wrongly.", h("button", { type: "button", class: "small", onclick: () => location.reload() }, "Load the new one"));
  if (still === null) return null;
  if (model.hasEnded) return h("div", { class: "banner warn", key: "banner", role: "status" }, h("b", null, "The engine has ended."), `The figures are its last, of ${shortMoment(still, model.now())} UTC. A new run is shown as soon as it answers.`);
  return h("div", { class: "banner", key: "banner", role: "alert" }, h("b", null, "The connection is lost."), `The figures stand still since ${shortMoment(still, model.now())} UTC, ${duration((model.now() - still) * 1e6)} ago${app.lostWhy ? `: ${app.lostWhy}` : ""}. It is tried again; Halt works all the same.`);
}

new Page().start();
