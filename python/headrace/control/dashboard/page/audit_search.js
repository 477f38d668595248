/*
 * audit_search: a search in the audit file of an engine, from its beginning, page by page.
 *
 * Guarantees: the newest FOUND_MAX that match are kept, and all of them counted; after `stop` nothing more is asked for.
 * Does not: read the file: the server does, a bounded part for each page.
 */

const FOUND_MAX = 1_000;
const PAGE = 1_000;

export class AuditSearch {
  /** words : each must stand in an event, in whatever case. onChange : called when something was found. */
  constructor(api, words, onChange) {
    Object.assign(this, { api, words, onChange });
    this.found = [];
    this.total = 0;
    this.isOver = false;
    this.problem = "";
  }

  stop() {
    this.isOver = true;
  }

  async run() {
    let after = "";
    while (!this.isOver) {
      try {
        const { items, next } = await this.api.get(`/v1/audit?limit=${PAGE}&contains=${encodeURIComponent(this.words)}${after && `&after=${after}`}`);
        this.add(items);
        // At the end of the file the next page begins where this one did.
        this.isOver ||= next === null || next === after;
        after = next;
      } catch (error) {
        this.problem = error.message;
        this.isOver = true;
      }
      this.onChange();
    }
  }

  /** Newest first. An event of the file has its time as `ts`, one of the stream as `ts_ns`. */
  add(items) {
    const own = items.map((entry, index) => ({ ...entry, ts_ns: entry.ts, n: this.total + index }));
    this.total += items.length;
    this.found = [...own.reverse(), ...this.found].slice(0, FOUND_MAX);
  }
}
