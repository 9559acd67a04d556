// Saying whether an event was right, and taking that back.
import {may, post} from "./api.js";
import {t, word} from "./i18n.js";
import {Signal} from "./signal.js";

/** What was said last, to be shown and taken back: {text, canUndo, isError}; null: nothing. */
export const toast = new Signal(null);
/** What changed: {event, verdict}, for whoever shows that event. */
export const changed = new Signal(null);

const SHOWN_MS = 10_000;
/** Newest last: {event, before}. Of older ones nobody knows any more what they were about. */
const given = [];
const MOST_GIVEN = 100;
let timer = 0;

function tell(text, more = {}) {
  clearTimeout(timer);
  toast.value = {text, canUndo: false, isError: false, ...more};
  timer = setTimeout(() => (toast.value = null), SHOWN_MS);
}

const name = (event) => `${event.camera}, ${event.label}`;

async function say(event, answer, verdict) {
  const before = event.verdict;
  changed.value = {event: event.event, verdict};
  try {
    await post("/verdicts", {event: event.event, answer});
  } catch (error) {
    changed.value = {event: event.event, verdict: before};
    tell(t("verdict.failed", {event: name(event), why: error.message}), {isError: true});
    return false;
  }
  return true;
}

/** Say it; `answer` is right or false. */
export async function give(event, answer) {
  if (!may("operator")) return tell(t("verdict.role"), {isError: true});
  // What was said through a link counts again by itself once what was said here is taken back.
  const earlier = given.findLast((each) => each.event.event === event.event);
  const entry = {event: {...event, verdict: answer}, answer, earlier: earlier?.answer ?? null, before: event.verdict};
  given.push(entry);
  if (given.length > MOST_GIVEN) given.shift();
  tell(t("verdict.given", {event: name(event), verdict: word("verdict", answer)}), {canUndo: true});
  if (!(await say(event, answer, answer))) given.splice(given.indexOf(entry), 1);
}

/** Take back what was said last: what was said of that event before counts again. */
export async function undo() {
  const entry = given.pop();
  if (!entry) return tell(t("verdict.nothing"));
  if (await say(entry.event, entry.earlier ?? "withdrawn", entry.before)) tell(t("verdict.undone", {event: name(entry.event)}));
  else given.push(entry);
}

/** Take back what was said of an event by hand, whenever that was. */
export async function withdraw(event) {
  if (await say(event, "withdrawn", null)) tell(t("verdict.undone", {event: name(event)}));
}
