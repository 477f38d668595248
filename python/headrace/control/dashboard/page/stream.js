/*
 * stream: server-sent events by `fetch`, with the token in a header, connected again whenever it breaks.
 *
 *   new Stream({ api, path, onEvent, onState }).start()
 *
 * What happens when the connection breaks: `onState("lost")`, then a new attempt after 0.5 s, twice as long each time, at
 *   most 10 s, and at once when the browser says that the network is back. `Last-Event-ID` is sent, so that the server
 *   goes on where it stood, or sends everything. A stream that is silent for 20 s counts as broken.
 *
 * Guarantees: events come in their order, each once; after `stop` nothing is called.
 * Does not: understand the events.
 */

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const SILENT_MS = 20_000;

export class Stream {
  constructor({ api, path, onEvent, onState }) {
    Object.assign(this, { api, path, onEvent, onState });
    this.lastId = null;
    this.isStopped = true;
  }

  start() {
    this.isStopped = false;
    this.hurry = () => this.wake?.();
    addEventListener("online", this.hurry);
    this.run();
    return this;
  }

  stop() {
    this.isStopped = true;
    removeEventListener("online", this.hurry);
    this.abort?.abort();
    this.wake?.();
  }

  async run() {
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.isStopped) {
      const why = await this.once(() => (pauseMs = FIRST_PAUSE_MS));
      if (this.isStopped) return;
      this.onState("lost", why);
      if (why.status === 401) return;
      await new Promise((done) => {
        this.wake = done;
        setTimeout(done, pauseMs * (0.8 + 0.4 * Math.random()));
      });
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    }
  }

  /** Read one connection to its end, and return why it ended. */
  async once(onOpen) {
    this.abort = new AbortController();
    let silence = null;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => this.abort.abort(), SILENT_MS);
    };
    listen();
    try {
      const answer = await fetch(this.api.at(this.path), {
        headers: this.api.headers({ accept: "text/event-stream", ...(this.lastId === null ? {} : { "last-event-id": this.lastId }) }),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: this.abort.signal,
      });
      if (!answer.ok) return { status: answer.status, text: `the server answered ${answer.status}` };
      onOpen();
      this.onState("open", { headers: answer.headers });
      await this.read(answer.body.getReader(), listen);
      return { status: 0, text: "the server closed the stream" };
    } catch (error) {
      return { status: 0, text: error.name === "AbortError" ? "nothing came for a while" : error.message };
    } finally {
      clearTimeout(silence);
    }
  }

  async read(reader, listen) {
    const decoder = new TextDecoder();
    const parser = new Parser((event) => {
      if (event.id !== null) this.lastId = event.id;
      if (!this.isStopped) this.onEvent(event);
    });
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.isStopped) return;
      listen();
      this.onState("alive");
      parser.push(decoder.decode(value, { stream: true }));
    }
  }
}

/** Server-sent events out of pieces of text, wherever the pieces are cut. */
export class Parser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = "";
    this.clear();
  }

  clear() {
    this.event = { type: "message", id: null, data: [] };
  }

  push(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?=[^\n])/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      if (this.event.data.length) this.onEvent({ ...this.event, data: this.event.data.join("\n") });
      this.clear();
      return;
    }
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (name === "data") this.event.data.push(value ?? "");
    else if (name === "event") this.event.type = value;
    else if (name === "id") this.event.id = value;
  }
}
