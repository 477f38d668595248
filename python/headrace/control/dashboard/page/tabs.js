/*
 * tabs: one stream for all tabs of a browser.
 *
 * Guarantees: every tab gets each update.
 */

import { Stream } from "./stream.js";

export function follow(api, { onUpdate, onState }) {
  const stream = new Stream({
    api,
    path: "/v1/stream",
    onEvent: ({ type, data }) => onUpdate(type, JSON.parse(data)),
    onState: (name, detail) => onState(name, name === "open" ? { page: detail.headers.get("headrace-page") } : detail),
  }).start();
  return { stop: () => stream.stop() };
}
