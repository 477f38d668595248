/*
 * commands: every command of the engine's table as a form, its confirmation, and the Ack that came back.
 *
 * Guarantees: a dangerous command is sent only after its name was typed; each answer is shown, with its reason; Halt
 *   can be given before anything was loaded and while the figures stand still. A token that may only read finds every
 *   button off, with the reason. A dialog keeps the focus inside, and gives it back to the button that opened it.
 * Does not: know what a command does; fields and meanings are the engine's own table.
 */

import { h } from "./dom.js";
import { duration } from "./format.js";
import { grade, icon, iconButton, tablePanel } from "./parts.js";

// Typed by name before they are sent.
const DANGEROUS = new Set(["halt", "flatten", "cancel-all", "stop", "drain"]);
const NOTES_MAX = 4;
const NOTE_MS = 9_000;

const text = (name, meaning, required = false) => ({ name, kind: "text", required, meaning, choices: [] });
// What an operator must be able to do before the table is there.
const ALWAYS = [{ name: "Halt", verb: "halt", meaning: "Let no new order pass from now on, until rearmed; cancels get through.", arguments: [text("reason", "why; it stands in the audit")] }];

export class Commands {
  constructor(app) {
    this.app = app;
    this.entries = ALWAYS;
    this.open_ = null;
    this.notes = [];
  }

  async load() {
    const found = await this.app.api.get("/v1/commands");
    this.entries = found.items ?? found;
    this.isLoaded = true;
  }

  entry(verb) {
    return this.entries.find((own) => own.verb === verb) ?? ALWAYS.find((own) => own.verb === verb);
  }

  has(verb) {
    return this.entry(verb) !== undefined;
  }

  /** Whether the token of this page may only look. */
  get isReadOnly() {
    return this.app.who?.may_command === false;
  }

  get offBecause() {
    return `The token of ${this.app.who.name} is read-only: sign in with another one to give commands.`;
  }

  /** What a button of a command does, and whether it is off. isNow : it is sent at once, without its form. */
  acts(verb, fields, { isNow = false, ...options }) {
    const act = () => (isNow ? this.submit(verb, fields) : this.open(verb, fields));
    return { type: "button", key: verb, onclick: act, ...options, ...(this.isReadOnly ? { disabled: true, title: this.offBecause } : {}) };
  }

  /** A button of a command; null where there is none: an engine without a gateway has no routes to change. */
  button(text, verb, fields = {}, options = {}) {
    if (this.isLoaded && !this.has(verb)) return null;
    return h("button", { class: "small", ...this.acts(verb, fields, options) }, text);
  }

  iconButton(name, label, verb, fields = {}, options = {}) {
    if (this.isLoaded && !this.has(verb)) return null;
    return h("button", { class: "icon", "aria-label": label, title: label, ...this.acts(verb, fields, options) }, icon(name));
  }

  /** Show the form of a command, with what is known of its fields. */
  open(verb, fields = {}) {
    const entry = this.entry(verb);
    if (!entry) return;
    if (this.isReadOnly) return this.note("refused", verb, this.offBecause);
    if (!entry.arguments.length && !DANGEROUS.has(verb)) return this.submit(verb, fields);
    this.open_ = { entry, fields: { ...fields }, typed: "", wrong: "", isBusy: false };
    this.app.redraw();
  }

  /** Close the form; its dialog gives the focus back to what had it before. */
  close() {
    if (!this.open_) return;
    const { element } = this.open_;
    this.open_ = null;
    element?.close();
    this.app.redraw();
  }

  /** Send a command, and show its answer. */
  async submit(verb, fields) {
    const began = performance.now();
    try {
      const { ack } = unpacked(await this.app.api.command(verb, fields));
      this.note(ack.status, `${verb} ${subject(fields)}`, ack.reason, performance.now() - began);
      this.app.fetched.expire();
      return true;
    } catch (error) {
      const { problem = {}, status } = error;
      const said = [error.message, problem.field && `field ${problem.field}`, problem.nearest && `did you mean ${problem.nearest}?`];
      this.note(problem.ack?.status ?? (status === 0 ? "unknown" : "refused"), `${verb} ${subject(fields)}`, said.filter(Boolean).join("; "));
      if (this.open_) Object.assign(this.open_, { wrong: said.filter(Boolean).join("; "), isBusy: false });
      this.app.redraw();
      return false;
    }
  }

  note(status, title, reason, tookMs) {
    const own = { id: (this.lastNote = (this.lastNote ?? 0) + 1), status, title, reason, tookMs };
    this.notes = [...this.notes, own].slice(-NOTES_MAX);
    setTimeout(() => this.forget(own.id), status === "accepted" || status === "noop" ? NOTE_MS : 3 * NOTE_MS);
    this.app.redraw();
  }

  forget(id) {
    this.notes = this.notes.filter((own) => own.id !== id);
    this.app.redraw();
  }

  views() {
    return [this.open_ ? this.dialog(this.open_) : null, this.notesView()];
  }

  notesView() {
    return h(
      "div",
      { class: "notes", key: "notes", role: "log", "aria-live": "polite", "aria-label": "Answers" },
      this.notes.map((own) =>
        h(
          "div",
          { class: "note", key: own.id },
          h("i", { class: `dot ${own.status === "refused" ? "bad" : grade(own.status)}` }),
          h("div", null, h("b", null, own.title), ` ${own.status}`, own.tookMs ? h("span", { class: "soft" }, `, ${duration(own.tookMs * 1e6)}`) : null, own.reason ? h("p", null, own.reason) : null),
          iconButton("close", "Dismiss", () => this.forget(own.id)),
        ),
      ),
    );
  }

  dialog(own) {
    const { entry, fields } = own;
    const isDangerous = DANGEROUS.has(entry.verb);
    const wanted = entry.verb === "stop" && fields.strategy ? fields.strategy : entry.verb;
    const missing = entry.arguments.some((argument) => argument.required && (fields[argument.name] ?? "") === "");
    const isReady = !own.isBusy && !missing && (!isDangerous || own.typed.trim() === wanted);
    const send = async (event) => {
      event.preventDefault();
      if (!isReady) return;
      const read = this.fieldsOf(own);
      if (!read) return;
      Object.assign(own, { isBusy: true, wrong: "" });
      this.app.redraw();
      if (await this.submit(entry.verb, read)) this.close();
    };
    return h(
      "dialog",
      { key: `dialog ${entry.verb}`, "aria-label": title(entry.verb), onmount: (element) => (own.element = element).showModal(), onclose: () => this.close() },
      h(
        "form",
        { method: "dialog", onsubmit: send, autocomplete: "off" },
        h("h2", null, title(entry.verb)),
        h("p", { class: "soft" }, entry.meaning),
        entry.arguments.map((argument) => this.field(argument, fields)),
        isDangerous
          ? h("label", { key: "typed" }, h("span", null, "Type ", h("code", null, wanted), " to confirm"), h("input", { name: "confirm", value: own.typed, autocomplete: "off", autocapitalize: "off", spellcheck: "false", autofocus: true, oninput: (event) => this.type(own, event.target.value) }))
          : null,
        own.wrong ? h("p", { class: "wrong", role: "alert" }, own.wrong) : null,
        h("div", { class: "acts" }, h("button", { type: "button", onclick: () => this.close() }, "Cancel"), h("button", { type: "submit", class: isDangerous ? "danger" : "main", disabled: !isReady }, own.isBusy ? "Sending…" : title(entry.verb))),
      ),
    );
  }

  type(own, value) {
    own.typed = value;
    this.app.redraw();
  }

  field(argument, fields) {
    const { name, kind, choices, required, meaning } = argument;
    const change = (value) => {
      fields[name] = value;
      this.app.redraw();
    };
    const known = this.known(name);
    const input =
      kind === "choice" || (known && name === "strategy")
        ? h("select", { name, value: fields[name] ?? "", onchange: (event) => change(event.target.value) }, [required ? null : "", ...(kind === "choice" ? choices : known)].filter((own) => own !== null).map((own) => h("option", { key: own, value: own }, own || "any")), required && !fields[name] ? h("option", { value: "", key: "none", disabled: true }, "choose") : null)
        : kind === "flag"
          ? h("input", { type: "checkbox", name, checked: Boolean(fields[name]), onchange: (event) => change(event.target.checked) })
          : kind === "json"
            ? h("textarea", { name, rows: "4", value: fields[name] ?? "", placeholder: "[]", oninput: (event) => change(event.target.value) })
            : h("input", { name, value: fields[name] ?? "", list: known ? `known-${name}` : null, inputmode: kind === "whole" ? "numeric" : kind === "number" ? "decimal" : null, oninput: (event) => change(event.target.value) });
    return h(
      "label",
      { key: name },
      h("span", null, name.replaceAll("_", " "), required ? "" : h("small", null, " optional")),
      input,
      meaning ? h("small", null, kind === "texts" ? `${meaning}, separated by spaces` : meaning) : null,
      known ? h("datalist", { id: `known-${name}` }, known.map((own) => h("option", { key: own, value: own }))) : null,
    );
  }

  /** What the engine has of what a field names. */
  known(name) {
    const section = { strategy: "strategies", instrument: "instruments", instruments: "instruments", order_id: "orders" }[name];
    const names = section ? this.app.model.rows(section).map((own) => own.key) : [];
    return names.length ? names : null;
  }

  /** The fields as JSON has them; null, and why, where one cannot be read. */
  fieldsOf(own) {
    const read = {};
    for (const { name, kind, required } of own.entry.arguments) {
      const given = own.fields[name];
      if (given === undefined || given === "") {
        if (required) read[name] = "";
        continue;
      }
      try {
        read[name] = kind === "texts" ? (Array.isArray(given) ? given : given.split(/[\s,]+/).filter(Boolean)) : kind === "whole" || kind === "number" ? numberOf(given) : kind === "json" ? JSON.parse(given) : given;
      } catch (error) {
        own.wrong = `${name}: ${error.message}`;
        this.app.redraw();
        return null;
      }
    }
    return read;
  }
}

function numberOf(given) {
  const value = Number(given);
  if (!Number.isFinite(value)) throw new Error(`${given} is no number`);
  return value;
}

const unpacked = (answer) => (answer?.ack ? answer : { ack: answer });
const subject = (fields) => [fields.strategy, fields.order_id, fields.instrument, fields.letter_id].filter(Boolean).join(" ");
const title = (verb) => (verb[0].toUpperCase() + verb.slice(1)).replaceAll("-", " ");

export function commandsView(app) {
  const { entries } = app.commands;
  const columns = [
    { title: "Command", value: (own) => own.verb, cell: (own) => app.commands.button(title(own.verb), own.verb) },
    { title: "What it does", className: "wrap", value: (own) => own.meaning },
    { title: "Fields", value: (own) => own.arguments.map((argument) => argument.name).join(", ") || "none" },
    { title: "", cell: (own) => (DANGEROUS.has(own.verb) ? h("span", { class: "tag bad" }, "asks for its name") : null) },
  ];
  const off = app.commands.isReadOnly ? h("p", { class: "span-12 empty", role: "note" }, app.commands.offBecause) : null;
  return h("div", { class: "grid" }, off, tablePanel("Commands", { id: "commands", span: 12, columns, rows: entries, keyOf: (own) => own.verb, onSort: app.redraw }));
}
