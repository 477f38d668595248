/*
 * fetched: documents that a view asks for while it is shown, kept and read again in turn.
 *
 *   const own = app.fetched.get("/v1/dead-letters", 3_000)      { value, error, isLoading }
 *
 * Guarantees: one request at a time for a path; what a view no longer asks for is not read again.
 * Does not: wait: the view is drawn again when something came.
 */

const KEPT_MAX = 60;

export class Fetched {
  constructor(api, onChange) {
    this.api = api;
    this.onChange = onChange;
    this.known = new Map();
  }

  get(path, everyMs = Infinity) {
    let own = this.known.get(path);
    if (!own) {
      own = { value: null, error: null, isLoading: false, atMs: -Infinity };
      this.known.set(path, own);
      if (this.known.size > KEPT_MAX) this.known.delete(this.known.keys().next().value);
    }
    const isDue = own.atMs === -Infinity || performance.now() - own.atMs >= everyMs;
    if (isDue && !own.isLoading) this.load(path, own);
    return own;
  }

  async load(path, own) {
    own.isLoading = true;
    try {
      own.value = await this.api.get(path);
      own.error = null;
    } catch (error) {
      own.error = error;
    }
    own.isLoading = false;
    own.atMs = performance.now();
    this.onChange();
  }

  /** Read again what is shown: a command may have changed it. */
  expire() {
    for (const own of this.known.values()) own.atMs = -Infinity;
    this.onChange();
  }
}
