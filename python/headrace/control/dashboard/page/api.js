/*
 * api: requests to the control API of one engine: of that which served this page, or of another one that allows it.
 *
 * Guarantees: the token goes in a header, never in an address; every command has a key of its own, and asking again
 *   after a broken connection uses the same key, so that it happens once; a refusal is a Refusal with the server's words.
 * Does not: keep the token; `session` does.
 */

const TIMEOUT_MS = 12_000;
const ATTEMPTS = 3;
const PAUSE_MS = 400;

/** Why a request was not done. status : of HTTP, 0 when no answer came. problem : the server's document. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export class Api {
  /** origin : of the engine, like "https://ops.example:8757". */
  constructor(origin, token, { onRefused = () => {} } = {}) {
    this.origin = origin;
    this.token = token;
    this.onRefused = onRefused;
  }

  headers(extra = {}) {
    return { authorization: `Bearer ${this.token}`, ...extra };
  }

  /** The address of a path. */
  at(path) {
    return this.origin + path;
  }

  async get(path) {
    return this.request("GET", path);
  }

  /**
   * Give a command and return its Ack. Raises Refusal. While no answer comes it is asked again with the same key, which
   * the server answers once.
   */
  async command(verb, fields) {
    const key = `page-${randomText()}`;
    const body = JSON.stringify(fields);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.request("POST", `/v1/commands/${encodeURIComponent(verb)}`, {
          body,
          headers: { "content-type": "application/json", "idempotency-key": key },
        });
      } catch (error) {
        if (error.status !== 0 || attempt === ATTEMPTS) throw error;
        await new Promise((done) => setTimeout(done, PAUSE_MS * attempt));
      }
    }
  }

  async request(method, path, { body, headers } = {}) {
    let answer;
    try {
      answer = await fetch(this.at(path), {
        method,
        body,
        headers: this.headers(headers),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      throw new Refusal(0, { title: "no answer", detail: `the engine cannot be reached (${error.message})` });
    }
    const text = await answer.text();
    const found = text ? parsed(text) : null;
    if (answer.status === 401) this.onRefused();
    if (!answer.ok) throw new Refusal(answer.status, found ?? { title: answer.statusText, detail: `the server answered ${answer.status}` });
    return found;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function randomText() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
