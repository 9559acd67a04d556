// Events that are selected, so that something is said of all of them at once.
import {html} from "../vendor/htm-preact.js";
import {may} from "../core/api.js";
import {t} from "../core/i18n.js";
import {Signal, useSignal} from "../core/signal.js";
import {giveAll, progress} from "../core/verdicts.js";

export const MOST = 500;

/** Ids in the order in which they were selected. */
export const marked = new Signal(new Set());
/** Where a range begins. */
let anchor = null;

export function clearMarks() {
  anchor = null;
  if (marked.value.size) marked.value = new Set();
}

/** Select an event or not; with `isRange` all from the one before to it. Returns whether there was room. */
export function mark(list, id, isRange = false) {
  const next = new Set(marked.value);
  const [from, to] = [list.indexOf(anchor), list.indexOf(id)].sort((one, other) => one - other);
  if (isRange && from >= 0) {
    for (const each of list.items.slice(from, to + 1)) if (next.size < MOST) next.add(each.event);
  } else if (!next.delete(id) && next.size < MOST) {
    next.add(id);
  }
  anchor = id;
  marked.value = next;
  return next.size < MOST;
}

/** Say something of all that is selected; nothing is selected then. */
export function judgeMarked(list, answer) {
  const events = [...marked.value].map((id) => list.find(id)).filter(Boolean);
  clearMarks();
  return giveAll(events, answer);
}

/** What can be done with what is selected. It stays in sight. */
export function MarkBar({list}) {
  const all = useSignal(marked);
  const going = useSignal(progress);
  // Those that are forgotten meanwhile are gone from the list.
  const chosen = new Set([...all].filter((id) => list.find(id)));
  if (going) return html`<div class="mark-bar" role="status">${t("mark.progress", going)} <progress max=${going.all} value=${going.done}></progress></div>`;
  if (!chosen.size || !may("operator")) return null;
  return html`<div class="mark-bar" role="group" aria-label=${t("mark.count", {count: chosen.size})}>
    <b aria-live="polite">${t("mark.count", {count: chosen.size})}</b>
    ${chosen.size >= MOST && html`<span class="quiet">${t("mark.most", {count: MOST})}</span>`}
    <span class="pair"><button onClick=${() => judgeMarked(list, "right")}>${t("mark.right")} <kbd>y</kbd></button>
      <button onClick=${() => judgeMarked(list, "false")}>${t("mark.false")} <kbd>n</kbd></button>
      <button class="plain" onClick=${clearMarks}>${t("mark.clear")}</button></span></div>`;
}

/** A card's own box. Shift selects all from the last one to it. */
export function MarkBox({list, event}) {
  const chosen = useSignal(marked);
  if (!may("operator")) return null;
  const clicked = (click) => {
    click.stopPropagation();
    mark(list, event.event, click.shiftKey);
  };
  return html`<label class="mark-box"><input type="checkbox" checked=${chosen.has(event.event)} onClick=${clicked} aria-label=${t("mark", {event: `${event.camera}, ${event.label}`})} /></label>`;
}
