/*
 * tabs: one stream for all tabs of a browser that show this engine with one token.
 *
 *   the tab with the lock ─ Stream ─▶ its own page, and a channel ─▶ the other tabs
 *
 * What happens when the tab with the lock is closed: the browser gives the lock to the next tab, which opens a stream of
 *   its own and gets the whole document. A tab that is opened later gets the document from the tab with the lock, and,
 *   if it is not signed in, the token of a tab that is.
 *
 * Guarantees: every tab gets each update in its order, or the whole document; one connection, whatever the number of tabs.
 * Does not: share anything with another browser, or where the browser has no locks (a page without TLS from another
 *   machine): there each tab has a stream of its own.
 */

import { Stream } from "./stream.js";

const PATH = "/v1/stream";
const CHANNEL = "headrace";
const PAGE_HEADER = "headrace-page";

/**
 * Follow the engine. onUpdate(type, update), onState(name, detail); snapshot() returns the whole document that this tab
 * has, null when it has none. Returns { stop }.
 */
export function follow(api, { onUpdate, onState, snapshot }) {
  const aborted = new AbortController();
  if (!navigator.locks || typeof BroadcastChannel === "undefined") return direct(api, { onUpdate, onState });
  let stopStream = () => {};
  let channel = null;
  nameOf(`${api.origin} ${api.token}`).then((name) => {
    if (aborted.signal.aborted) return;
    channel = new BroadcastChannel(name);
    const own = { isLeader: false };
    channel.onmessage = ({ data }) => take(data, own, { channel, onUpdate, onState, snapshot });
    channel.postMessage({ kind: "join" });
    navigator.locks
      .request(name, { signal: aborted.signal }, () => {
        own.isLeader = true;
        const stream = lead(api, channel, { onUpdate, onState });
        return new Promise((done) => {
          stopStream = () => (stream.stop(), done());
        });
      })
      .catch(() => {});
  });
  return {
    stop() {
      aborted.abort();
      stopStream();
      channel?.close();
    },
  };
}

function direct(api, { onUpdate, onState }) {
  return new Stream({ api, path: PATH, onEvent: ({ type, data }) => onUpdate(type, JSON.parse(data)), onState: (name, detail) => onState(name, plain(name, detail)) }).start();
}

/** Hold the stream, for this tab and the others. */
function lead(api, channel, { onUpdate, onState }) {
  return direct(api, {
    onUpdate: (type, update) => {
      channel.postMessage({ kind: "update", type, update });
      onUpdate(type, update);
    },
    onState: (name, detail) => {
      channel.postMessage({ kind: "state", name, detail });
      onState(name, detail);
    },
  });
}

/** Take a message of another tab. */
function take(message, own, { channel, onUpdate, onState, snapshot }) {
  if (message.kind === "join" && own.isLeader) {
    const update = snapshot();
    if (update) channel.postMessage({ kind: "update", type: "state", update });
  }
  if (own.isLeader) return;
  if (message.kind === "update") onUpdate(message.type, message.update);
  if (message.kind === "state") onState(message.name, message.detail);
}

/** What a channel can carry of the detail of a state. */
function plain(name, detail = {}) {
  return name === "open" ? { page: detail.headers.get(PAGE_HEADER) } : { status: detail.status, text: detail.text };
}

/** A name for the tabs of one engine and token, from which the token cannot be found. */
async function nameOf(secret) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${CHANNEL} ${secret}`));
  return `${CHANNEL} ${Array.from(new Uint8Array(digest).slice(0, 12), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Sign in where another tab is signed in, and out where another tab signs out. Never leaves this browser.
 * tokens() returns those of this tab by engine; onTokens(tokens) gets another tab's, onLeave(origin) what it left.
 */
export class Family {
  constructor({ tokens, onTokens, onLeave }) {
    this.channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(CHANNEL);
    if (!this.channel) return;
    const has = () => Object.keys(tokens()).length > 0;
    this.channel.onmessage = ({ data }) => {
      if (data.kind === "who" && has()) this.channel.postMessage({ kind: "tokens", tokens: tokens() });
      if (data.kind === "tokens" && !has()) onTokens(data.tokens);
      if (data.kind === "leave" && tokens()[data.origin] === data.token) onLeave(data.origin);
    };
    if (!has()) this.channel.postMessage({ kind: "who" });
  }

  leave(origin, token) {
    this.channel?.postMessage({ kind: "leave", origin, token });
  }
}
