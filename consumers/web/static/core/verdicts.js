// Saying whether an event was right, and taking that back.
import {may, post} from "./api.js";
import {counted, t, word} from "./i18n.js";
import {Signal} from "./signal.js";

/** What was said last, to be shown and taken back: {text, canUndo, isError}; null: nothing. */
export const toast = new Signal(null);
/** What changed: {event, verdict}, for whoever shows that event. */
export const changed = new Signal(null);

/** How far a batch is: {done, all}; null: none is on its way. */
export const progress = new Signal(null);

const SHOWN_MS = 10_000;
/** What was said, the newest last: [{event, answer, before, earlier}]. Of older ones nobody knows any more what they were about. */
const given = [];
const MOST_GIVEN = 100;
/** As many as the API takes at once. */
const AT_ONCE = 100;
let timer = 0;

function tell(text, more = {}) {
  clearTimeout(timer);
  toast.value = {text, canUndo: false, isError: false, ...more};
  timer = setTimeout(() => (toast.value = null), SHOWN_MS);
}

const name = (event) => `${event.camera}, ${event.label}`;
const show = (event, verdict) => (changed.value = {event: event.event, verdict});

async function say(event, answer, verdict) {
  const before = event.verdict;
  show(event, verdict);
  try {
    await post("/verdicts", {event: event.event, answer});
  } catch (error) {
    show(event, before);
    tell(t("verdict.failed", {event: name(event), why: error.message}), {isError: true});
    return false;
  }
  return true;
}

function entryOf(event, answer) {
  // What was said through a link counts again by itself once what was said here is taken back.
  const earlier = given.flat().findLast((each) => each.event.event === event.event);
  return {event: {...event, verdict: answer}, answer, earlier: earlier?.answer ?? null, before: event.verdict};
}

function remember(entries) {
  given.push(entries);
  if (given.length > MOST_GIVEN) given.shift();
}

/** Say it; `answer` is right or false. */
export async function give(event, answer) {
  if (!may("operator")) return tell(t("verdict.role"), {isError: true});
  const entries = [entryOf(event, answer)];
  remember(entries);
  tell(t("verdict.given", {event: name(event), verdict: word("verdict", answer)}), {canUndo: true});
  if (!(await say(event, answer, answer))) given.splice(given.indexOf(entries), 1);
}

/** Say one thing of several events, a hundred at a time; what was stored is put into `stored`, also where one fails. */
async function sayAll(entries, answer, verdictOf, going, stored) {
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    const part = entries.slice(at, at + AT_ONCE);
    const answered = await post("/verdicts/batch", {events: part.map((each) => each.event.event), answer});
    const ids = new Set(answered.items.map((each) => each.event));
    for (const each of part) if (ids.has(each.event.event)) show(each.event, verdictOf(each));
    stored.push(...part.filter((each) => ids.has(each.event.event)));
    going.done += part.length;
    progress.value = {...going};
  }
}

/** Likewise of several events at once. Taken back, they are taken back together. */
export async function giveAll(events, answer) {
  if (!may("operator")) return tell(t("verdict.role"), {isError: true});
  const entries = events.map((event) => entryOf(event, answer));
  const stored = [];
  let why = null;
  const going = {done: 0, all: entries.length};
  progress.value = {...going};
  try {
    await sayAll(entries, answer, () => answer, going, stored);
  } catch (error) {
    why = error.message;
  }
  progress.value = null;
  if (stored.length) remember(stored);
  const left = entries.length - stored.length;
  const said = counted("verdict.given.all", stored.length, {verdict: word("verdict", answer)});
  return tell(left ? `${said}. ${t("verdict.some", {count: left, why: why ?? t("picture.gone")})}` : said, {canUndo: stored.length > 0, isError: left > 0});
}

async function undoAll(entries) {
  const groups = new Map();
  for (const each of entries) {
    const answer = each.earlier ?? "withdrawn";
    groups.set(answer, [...(groups.get(answer) ?? []), each]);
  }
  const stored = [];
  let why = null;
  const going = {done: 0, all: entries.length};
  progress.value = {...going};
  try {
    for (const [answer, group] of groups) await sayAll(group, answer, (entry) => entry.before, going, stored);
  } catch (error) {
    why = error.message;
  }
  progress.value = null;
  const left = entries.filter((each) => !stored.includes(each));
  if (why !== null) given.push(left);
  const said = counted("verdict.undone.all", stored.length);
  return tell(left.length ? `${said}. ${t("verdict.some", {count: left.length, why: why ?? t("picture.gone")})}` : said, {canUndo: why !== null, isError: left.length > 0});
}

/** Take back what was said last: what was said of that event before counts again, or of all events of a batch. */
export async function undo() {
  const entries = given.pop();
  if (!entries) return tell(t("verdict.nothing"));
  if (entries.length > 1) return undoAll(entries);
  const [entry] = entries;
  if (await say(entry.event, entry.earlier ?? "withdrawn", entry.before)) tell(t("verdict.undone", {event: name(entry.event)}));
  else given.push(entries);
  return undefined;
}

/** Take back what was said of an event by hand, whenever that was. */
export async function withdraw(event) {
  if (await say(event, "withdrawn", null)) tell(t("verdict.undone", {event: name(event)}));
}
