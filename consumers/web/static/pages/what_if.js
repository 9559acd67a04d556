// What another threshold would have done in the last week, by the scores that are kept. The server's tracker answers.
import {html, useEffect, useState} from "../vendor/htm-preact.js";
import {get, isPassing} from "../core/api.js";
import {number, score, shortTime, t} from "../core/i18n.js";
import {address} from "../core/route.js";
import {Failed, Field, Loading, Moment, RETRY_MS, VerdictChip} from "../core/ui.js";

/** Whoever moves the slider is not asked for at each step. */
const WAIT_MS = 350;
/** The server reads a part with each question; so often it is asked to read on. */
const MOST_QUESTIONS = 60;
const SHOWN = 12;
/** Scores come and verdicts change while somebody looks. */
const REFRESH_MS = 60_000;

/** The newest answer, asked again while there is more to be read, now and then, and when what failed may be answered. */
function useWhatIf(event, start, seconds) {
  const [state, setState] = useState({answer: null, of: null, error: null, isAsking: true});
  const [round, setRound] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let isOver = false;
    let timer = 0;
    const of = `${start} ${seconds}`;
    const ask = async () => {
      for (let question = 0; question < MOST_QUESTIONS && !isOver; question += 1) {
        const parameters = {label: event.label, start: start ?? 0.5, min_seconds: seconds};
        const answer = await get(`/cameras/${encodeURIComponent(event.camera)}/what-if`, parameters, {signal: AbortSignal.any([abort.signal, AbortSignal.timeout(30_000)])});
        if (isOver) return;
        setState({answer, of, error: null, isAsking: answer.goes_on});
        if (!answer.goes_on) return;
      }
    };
    const look = async () => {
      let wait = REFRESH_MS;
      try {
        await ask();
      } catch (error) {
        wait = isPassing(error) ? RETRY_MS : 0;
        // What is still so stays; the banner says that the server is away.
        if (!isOver) setState((before) => ({...before, error: wait && before.of === of ? null : error, isAsking: false}));
      }
      if (!isOver && wait) timer = setTimeout(whenSeen, wait);
    };
    const whenSeen = () => (document.hidden ? (timer = setTimeout(whenSeen, RETRY_MS)) : look());
    setState((before) => ({...before, isAsking: true}));
    timer = setTimeout(look, start === null ? 0 : WAIT_MS);
    return () => {
      isOver = true;
      clearTimeout(timer);
      abort.abort();
    };
  }, [event.camera, event.label, start, seconds, round]);
  return {...state, again: () => setRound((count) => count + 1)};
}

function Events({events, count}) {
  return html`<ul class="lines" role="list">${events.slice(0, SHOWN).map((each) => html`<li key=${each.start}>
      <span>${each.event ? html`<a href=${address("event", each.event)}><${Moment} time=${Date.parse(each.start)} /></a>` : html`<${Moment} time=${Date.parse(each.start)} /> <span class="quiet">${t("whatif.unreported")}</span>`}
        ${" "}<${VerdictChip} verdict=${each.verdict} /></span>
      <span class="quiet num">${score(each.peak_score)}</span></li>`)}</ul>
    ${count > SHOWN && html`<p class="quiet">${t("whatif.more", {count: count - SHOWN})}</p>`}`;
}

function Answer({answer}) {
  if (answer.why) return html`<p class="note">${t("whatif.none", {why: answer.why})}</p>`;
  if (!answer.windows && !answer.goes_on) return html`<p class="quiet">${t("whatif.empty")}</p>`;
  return html`<div class="stack"><dl class="figures figures-large" aria-live="polite">
      <div><dt>${t("whatif.now")}</dt><dd class="num">${number(answer.before)} <small class="quiet">${t("whatif.events")}</small></dd></div>
      <div><dt>${t("whatif.then")}</dt><dd class="num ${answer.lost_right ? "bad" : ""}">${number(answer.after)} <small class="quiet">${t("whatif.events")}</small></dd></div>
    </dl>
    ${!answer.lost_count && !answer.gained_count && html`<p>${t("whatif.same")}</p>`}
    ${answer.lost_count > 0 && html`<div><h3>${t("whatif.lost", {count: answer.lost_count})}</h3>
      ${answer.lost_right > 0 && html`<p class="error">${t("whatif.lost.right", {count: answer.lost_right})}</p>`}
      ${answer.lost_false > 0 && html`<p class="quiet">${t("whatif.lost.false", {count: answer.lost_false})}</p>`}
      <${Events} events=${answer.lost} count=${answer.lost_count} /></div>`}
    ${answer.gained_count > 0 && html`<div><h3>${t("whatif.gained", {count: answer.gained_count})}</h3><${Events} events=${answer.gained} count=${answer.gained_count} /></div>`}</div>`;
}

function Asked({event}) {
  const [start, setStart] = useState(null);
  const [seconds, setSeconds] = useState(null);
  const found = useWhatIf(event, start, seconds);
  const now = found.answer?.now;
  // The first answer tells what holds now; then one begins from there.
  useEffect(() => {
    if (start === null && now) setStart(now.start);
  }, [now?.start]);
  const shown = start ?? 0.5;
  const isAsOne = !now || (shown === now.start && (seconds === null || seconds === now.min_seconds));
  return html`<div class="what-if-in"><div class="tools tools-left">
      <label class="field field-wide"><span>${t("whatif.start", {score: score(shown)})}</span>
        <input type="range" min="0.02" max="1" step="0.01" value=${shown} disabled=${!now} onInput=${(input) => setStart(Number(input.target.value))} /></label>
      <${Field} label=${t("whatif.seconds")} type="number" min="0" max="600" step="0.5" value=${seconds ?? now?.min_seconds ?? ""} disabled=${!now} onChange=${(value) => setSeconds(value === "" ? null : Math.max(0, Number(value)))} />
      <button onClick=${() => (setStart(now.start), setSeconds(null))} disabled=${isAsOne}>${t("whatif.reset")}</button>
    </div>
    <div>${found.error ? html`<${Failed} error=${found.error} retry=${found.again} />` : !found.answer ? html`<${Loading} lines="1" />` : (start !== null || found.answer.why) && html`<${Answer} answer=${found.answer} />`}</div>
    <p class="quiet" role="status">${found.answer?.windows > 0 && html`${t("whatif.since", {windows: number(found.answer.windows), time: shortTime(Date.parse(found.answer.from))})} ${found.isAsking ? t("whatif.reading") : found.answer.cut ? t("whatif.cut") : ""} ${t("whatif.note")}`}</p></div>`;
}

/** Closed at first: reading a week of scores is not for everybody who opens an event. */
export function WhatIf({event}) {
  const [isOpen, setOpen] = useState(false);
  return html`<details class="panel what-if" onToggle=${(toggled) => setOpen(toggled.currentTarget.open)}><summary><h2>${t("whatif")}</h2></summary>
    ${isOpen && html`<${Asked} event=${event} />`}</details>`;
}
