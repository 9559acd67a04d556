// Parts that pages share.
import {html, useEffect, useState} from "../vendor/htm-preact.js";
import {Away, FORGOTTEN, isPassing} from "./api.js";
import {isAway, number, reason, shortTime, t, wholeTime, word} from "./i18n.js";

/** A moment: short, the whole of it in the tooltip. */
export const Moment = ({time}) =>
  time ? html`<time datetime=${new Date(time).toISOString()} title=${wholeTime(time)}>${shortTime(time)}</time>` : "–";

/** What stands between backticks is something to type. */
export const typed = (text) => (typeof text === "string" ? text.split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part)) : text);

export const Empty = ({title, children}) =>
  html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<p>${[children].flat().map(typed)}</p>`}</div>`;

/** Something comes. `shape`: of what, "cards", "page" (something large, and facts beside it) or "wide". */
export const Loading = ({lines = 6, shape = Number(lines) === 1 ? "wide" : "cards"}) =>
  html`<div class="loading loading-${shape}" role="status"><span class="hidden">${t("loading")}</span>
    ${Array.from({length: Number(lines)}, (_, index) => html`<div class="bone" key=${index}></div>`)}</div>`;

/** Why there may be more than is shown. Where the broker is away, the banner says that already. */
export const Waiting = ({of}) => of?.waiting && !isAway(of.waiting_told) && html`<p class="note">${t("waiting", {why: reason(of.waiting, of.waiting_told)})}</p>`;

/** What went wrong, in words. Where the server is away, the banner says that already. */
export const Failed = ({error, retry}) =>
  html`<div class="empty failed" role="alert"><p class="empty-title">${error instanceof Away ? t("failed.away") : t("failed")}</p>
    ${!(error instanceof Away) && html`<p>${reason(error.message, error.code)}</p>`}
    ${retry && html`<button onClick=${retry}>${t("again")}</button>`}</div>`;

/** What a camera sends, in words; of a rate that nobody has measured nothing is said. */
export function picture(camera, digits = 0) {
  if (!camera.width) return "–";
  const rate = !camera.over && camera.frames_per_second ? `, ${t("unit.fps", {n: number(camera.frames_per_second, digits)})}` : "";
  return `${camera.codec} ${camera.width}×${camera.height}${rate}`;
}

/** A forgotten stretch as the API lists it, in milliseconds. */
export const forgottenSpan = (each) => ({from: Date.parse(each.from), to: Date.parse(each.to), at: Date.parse(each.time), why: each.why});

/** That a stretch was forgotten, when, and why, if that was written down. */
export const forgottenSays = ({at, why}) => t(why ? "forgotten.why" : "forgotten.is", {time: shortTime(at), why});

export const Chip = ({kind, children, title}) => html`<span class="chip chip-${kind}" title=${title}>${children}</span>`;
export const Severity = ({severity}) => html`<${Chip} kind=${severity}>${word("severity", severity)}<//>`;
export const VerdictChip = ({verdict}) => verdict && html`<${Chip} kind="verdict-${verdict}">${word("verdict", verdict)}<//>`;

/** What failed and may be answered in a moment is tried again so often. */
export const RETRY_MS = 5_000;

/** What is asked for once, or every `everyMs` while the page is looked at, and again with `again`; also while another answer is shown. */
export function useAnswer(ask, inputs, everyMs = 0) {
  const [state, setState] = useState({answer: null, error: null, inputs});
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isOver = false;
    let timer = 0;
    const look = async () => {
      // What failed is tried again also where nobody asked for more than one answer.
      let wait = everyMs;
      try {
        const answer = await ask();
        if (!isOver) setState({answer, error: null, inputs});
      } catch (error) {
        // What is forgotten meanwhile is not shown from memory either.
        const isKept = (before) => before.inputs === inputs && error.status !== FORGOTTEN;
        if (!isOver) setState((before) => ({answer: isKept(before) ? before.answer : null, error, inputs}));
        if (isPassing(error)) wait = Math.min(everyMs || RETRY_MS, RETRY_MS);
      }
      if (!isOver && wait) timer = setTimeout(whenSeen, wait, look);
    };
    const whenSeen = (then) => (document.hidden ? (timer = setTimeout(whenSeen, RETRY_MS, then)) : then());
    look();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [...inputs, round]);
  return {...state, again: () => setRound((count) => count + 1)};
}

/** Whether a media query holds. */
export function useMedia(query) {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const changed = () => setHolds(list.matches);
    list.addEventListener("change", changed);
    return () => list.removeEventListener("change", changed);
  }, [query]);
  return holds;
}

/** A labelled choice; `options` are pairs of value and text. */
export const Choice = ({label, value, options, onChange}) =>
  html`<label class="field"><span>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([each, text]) => html`<option key=${each} value=${each} selected=${each === value}>${text}</option>`)}
    </select></label>`;

export const Field = ({label, type = "text", value, onChange, ...more}) =>
  html`<label class="field"><span>${label}</span>
    <input type=${type} value=${value} onChange=${(event) => onChange(event.target.value)} ...${more} /></label>`;

/** Text for `datetime-local`, in the viewer's zone, and back. */
export function toLocal(time) {
  const moment = new Date(time);
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function fromLocal(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? "" : time.toISOString();
}

/**
 * A table. `columns`: pairs of heading and what to show of a row. `until`: up to which width in pixels there is no room
 * for them; its rows are cards there, each cell beside its heading, without cells that say nothing.
 *
 * Browsers take what is not laid out as a table for none: the roles say it.
 */
export function Table({caption, columns, rows, id, until = 767}) {
  const isStacked = useMedia(`(max-width: ${until}px)`);
  const cell = (heading, shown) => (isStacked && shown === "–" ? null : html`<td class=${isStacked ? "stacked-cell" : null} role="cell" key=${heading} data-heading=${heading}><span class="cell">${shown}</span></td>`);
  return html`<div class="table ${isStacked ? "stacked" : ""}" tabindex="0" role="region" aria-label=${caption}><table role="table"><caption class="hidden">${caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map(([heading]) => html`<th scope="col" role="columnheader" key=${heading}>${heading}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`<tr role="row" key=${id(row)}>${columns.map(([heading, show]) => cell(heading, show(row)))}</tr>`)}</tbody></table></div>`;
}

/** Something said to all, also to those who do not see it. */
export function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}

/** The score curve of a few windows: bars, those of labels that raise events coloured. */
export const Trace = ({points, alarming, label}) =>
  html`<svg class="trace" viewBox="0 0 ${TRACE} 24" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${points.slice(-TRACE / 3).map((point, index, all) => {
      const height = Math.max(1, point.score * 24);
      const isAlarm = alarming.has(point.label);
      return html`<rect key=${point.at} class=${isAlarm ? "bar-alarm" : "bar"} x=${TRACE - (all.length - index) * 3} y=${24 - height} width="2" height=${height} />`;
    })}</svg>`;
const TRACE = 120;
