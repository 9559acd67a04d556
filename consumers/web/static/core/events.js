// A list of events that goes on as one looks further, and takes in what comes meanwhile.
import {FORGOTTEN, get} from "./api.js";
import {Signal} from "./signal.js";

const PAGE = 100;
const NEWEST = 50;
/** The oldest are left out beyond; the filter by time leads there. */
const MOST = 20_000;

/** Whether a name is meant by a pattern such as `gate*`. */
export function matches(pattern, name) {
  const escaped = pattern.replace(/[.+^${}()|\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".").replace(/\[!/g, "[^");
  try {
    return new RegExp(`^${escaped}$`).test(name);
  } catch {
    return pattern === name;
  }
}

function isWanted(event, filters) {
  return (
    (!filters.camera || matches(filters.camera, event.camera)) &&
    ["label", "severity", "model", "state"].every((name) => !filters[name] || filters[name] === event[name]) &&
    (!filters.min_score || event.peak_score >= Number(filters.min_score)) &&
    (!filters.from || Date.parse(event.end) >= Date.parse(filters.from)) &&
    (!filters.to || Date.parse(event.start) < Date.parse(filters.to)) &&
    (!filters.verdict || filters.verdict === (event.verdict ?? "none")) &&
    (!filters.unseen_by || !event.verdict) &&
    !event.drill
  );
}

const isOlder = (one, other) => one.start < other.start || (one.start === other.start && one.event < other.event);

/** Those that one look at what is on screen asks for at once, and one by one. */
const SURVEYED = 500;
const ASKED = 12;

export class EventList {
  /** Counts up with each change. */
  version = new Signal(0);
  items = [];
  error = null;
  waiting = null;
  waiting_told = null;
  isLoading = false;
  isDone = false;
  #places = new Map();
  #phases;
  #cursor = null;
  #filters;
  #isOver = false;
  /** Ids of those on screen, and which of them is asked for next. */
  inView = [];
  #turn = 0;

  /** `filters` as the API takes them; without a verdict, what nobody has judged comes first. */
  constructor(filters) {
    this.#filters = filters;
    this.#phases = filters.verdict || filters.unseen_by ? [{}] : [{verdict: "none"}, {}];
  }

  close() {
    this.#isOver = true;
  }

  #changed() {
    if (!this.#isOver) this.version.value += 1;
  }

  find(id) {
    return this.items[this.indexOf(id)];
  }

  indexOf(id) {
    if (!this.#places.has(id)) return -1;
    const guess = this.#places.get(id);
    // Places move as events come; they are found again when one is asked for.
    if (this.items[guess]?.event !== id) this.items.forEach((each, index) => this.#places.set(each.event, index));
    return this.#places.get(id);
  }

  async more() {
    if (this.isLoading || this.isDone) return;
    this.isLoading = true;
    this.#changed();
    try {
      const page = await get("/events", {...this.#filters, ...this.#phases[0], limit: PAGE, cursor: this.#cursor});
      if (this.#isOver) return;
      for (const each of page.items) if (!this.#places.has(each.event)) this.#place(each, this.items.length);
      this.#cursor = page.next;
      if (page.next === null) this.#phases = this.#phases.slice(1);
      this.isDone = !this.#phases.length || this.items.length >= MOST;
      this.#cut(page);
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.isLoading = false;
    this.#changed();
  }

  /** Why there may be more than was answered. */
  #cut({waiting, waiting_told}) {
    Object.assign(this, {waiting, waiting_told});
  }

  #place(event, index) {
    this.items.splice(index, 0, event);
    this.#places.set(event.event, index);
  }

  /** Take in what is told of an event; returns whether it is one that was not there before. */
  put(told) {
    const index = this.indexOf(told.event);
    if (index >= 0) {
      this.items[index] = {...this.items[index], ...told};
      this.#changed();
      return false;
    }
    const event = {verdict: null, pictures: null, drill: null, ...told};
    if (!isWanted(event, this.#filters)) return false;
    let place = 0;
    while (place < this.items.length && isOlder(event, this.items[place]) && !this.items[place].verdict) place += 1;
    // It belongs behind what has been read so far: it comes with its page.
    if (place === this.items.length && !this.isDone) return false;
    this.#place(event, place);
    this.#changed();
    return true;
  }

  /** Ask for the newest again: pictures and what others said come later than reports. */
  async refresh() {
    const page = await get("/events", {...this.#filters, limit: NEWEST});
    if (this.#isOver) return;
    for (const each of page.items) this.put(each);
    if (page.waiting !== this.waiting) {
      this.#cut(page);
      this.#changed();
    }
  }

  /** Ask for one again, as its pictures are not there any more; it goes if it is forgotten. */
  async renew(id) {
    try {
      const event = await get(`/events/${encodeURIComponent(id)}`);
      if (!this.#isOver) this.put(event);
    } catch (error) {
      if (error.status !== FORGOTTEN) throw error;
      this.#drop(id);
    }
  }

  /** Let those on screen go that are forgotten meanwhile: lists leave them out, but others as well, so each is asked for. */
  async letGo() {
    const shown = this.inView.map((id) => this.find(id)).filter(Boolean);
    if (!shown.length) return;
    const begins = shown.map((each) => Date.parse(each.start));
    const stretch = {from: new Date(Math.min(...begins)).toISOString(), to: new Date(Math.max(...begins) + 1).toISOString()};
    const page = await get("/events", {...this.#filters, verdict: "", unseen_by: "", ...stretch, limit: SURVEYED});
    const there = new Set(page.items.map((each) => each.event));
    const missing = shown.filter((each) => !there.has(each.event));
    const turn = missing.length ? this.#turn % missing.length : 0;
    const asked = [...missing.slice(turn), ...missing.slice(0, turn)].slice(0, ASKED);
    this.#turn = turn + asked.length;
    await Promise.all(asked.map((each) => this.renew(each.event).catch(() => null)));
  }

  #drop(id) {
    const index = this.indexOf(id);
    if (this.#isOver || index < 0) return;
    this.items.splice(index, 1);
    this.#places.delete(id);
    this.#changed();
  }
}
