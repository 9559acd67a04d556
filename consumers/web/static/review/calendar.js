// A month at a glance: how many events began on each day. A click shows those of one day.
import {html, useState} from "../vendor/htm-preact.js";
import {get, serverNow} from "../core/api.js";
import {dated, language, t} from "../core/i18n.js";
import {setParameters} from "../core/route.js";
import {useSignal} from "../core/signal.js";
import {Failed, useAnswer} from "../core/ui.js";

const REFRESH_MS = 30_000;
const pad = (number) => String(number).padStart(2, "0");
const monthOf = (time) => `${new Date(time).getFullYear()}-${pad(new Date(time).getMonth() + 1)}`;
const shifted = (month, by) => monthOf(new Date(Number(month.slice(0, 4)), Number(month.slice(5)) - 1 + by, 15));
/** Midnight of a day, and of the next one, where the viewer is. */
const bounds = (month, number) => [0, 1].map((more) => new Date(Number(month.slice(0, 4)), Number(month.slice(5)) - 1, number + more).toISOString());

/** 0: Monday. */
const weekday = (date) => (date.getDay() + 6) % 7;
// The fifth of January 2026 was a Monday.
const WEEKDAYS = Array.from({length: 7}, (_, index) => new Date(2026, 0, 5 + index));

function Day({month, number, counts, chosen}) {
  const [from, to] = bounds(month, number);
  const isChosen = chosen.from === from && chosen.to === to;
  const day = dated({day: "numeric", month: "long"}, from);
  const label = counts ? t("calendar.day", {day, alerts: counts.alerts, detections: counts.detections, unjudged: counts.unjudged}) : t("calendar.day.none", {day});
  const isToday = new Date(from).toDateString() === new Date(serverNow()).toDateString();
  return html`<button class="day ${counts ? "" : "day-none"} ${isToday ? "day-today" : ""}" aria-pressed=${isChosen} title=${label} onClick=${() => setParameters(isChosen ? {from: "", to: ""} : {from, to})}>
    <span class="hidden">${label}</span><span class="day-number" aria-hidden="true">${number}</span>
    <span class="day-alerts" aria-hidden="true">${counts?.alerts || ""}</span><span class="day-detections" aria-hidden="true">${counts?.detections || ""}</span>
    ${counts?.unjudged > 0 && html`<i class="day-dot"></i>`}</button>`;
}

function Month({filters, chosen}) {
  useSignal(language);
  const [month, setMonth] = useState(() => monthOf(chosen.from ? Date.parse(chosen.from) : serverNow()));
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const found = useAnswer(() => get("/events/calendar", {...filters, month, time_zone: zone}), [month, JSON.stringify(filters)], REFRESH_MS);
  const days = new Map((found.answer?.month === month ? found.answer.days : []).map((each) => [Number(each.day.slice(8)), each]));
  const first = new Date(Number(month.slice(0, 4)), Number(month.slice(5)) - 1, 1);
  const count = new Date(first.getFullYear(), first.getMonth() + 1, 0).getDate();
  return html`<div class="calendar-head">
      <button onClick=${() => setMonth(shifted(month, -1))} aria-label=${t("calendar.before")}>‹</button>
      <b aria-live="polite">${dated({month: "long", year: "numeric"}, first)}</b>
      <button onClick=${() => setMonth(shifted(month, 1))} disabled=${month >= monthOf(serverNow())} aria-label=${t("calendar.after")}>›</button>
      ${(chosen.from || chosen.to) && html`<button class="plain" onClick=${() => setParameters({from: "", to: ""})}>${t("calendar.all")}</button>`}
    </div>
    ${found.error && !found.answer && html`<${Failed} error=${found.error} retry=${found.again} />`}
    <div class="days">${WEEKDAYS.map((each) => html`<span class="quiet day-name" key=${each} aria-hidden="true">${dated({weekday: "short"}, each)}</span>`)}
      ${Array.from({length: weekday(first)}, (_, index) => html`<span key=${`before${index}`}></span>`)}
      ${Array.from({length: count}, (_, index) => html`<${Day} key=${index} month=${month} number=${index + 1} counts=${days.get(index + 1)} chosen=${chosen} />`)}</div>
    <p class="quiet">${t("calendar.legend")}</p>`;
}

/** `filters`: as the API takes them, without times; `chosen`: the stretch that is shown. */
export function Calendar({filters, chosen}) {
  const [isOpen, setOpen] = useState(false);
  return html`<details class="calendar panel" onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>${t("calendar")}</summary>
    ${isOpen && html`<${Month} filters=${filters} chosen=${chosen} />`}</details>`;
}
