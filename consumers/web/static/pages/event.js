// One event: what was seen, when and by what, with its scores under its footage.
import {html, useEffect, useMemo, useRef, useState} from "../vendor/htm-preact.js";
import {get, may, save, serverNow} from "../core/api.js";
import {Chart} from "../core/chart.js";
import {counted, duration, reason, score, t, wholeTime, word} from "../core/i18n.js";
import {useKeys} from "../core/keys.js";
import {onReport} from "../core/live.js";
import {loadPlayer, recordedUrl} from "../core/player.js";
import {address, route} from "../core/route.js";
import {Signal, useSignal} from "../core/signal.js";
import {Chip, Empty, Failed, forgottenSays, Loading, Moment, Severity, useAnswer, useMedia, VerdictChip} from "../core/ui.js";
import {changed, give, undo, withdraw} from "../core/verdicts.js";
import {Shares} from "./shares.js";
import {WhatIf} from "./what_if.js";

/** Around the event. */
const MARGIN_MS = 15_000;
/** Footage begins so long before the event; the curve shows more of what was before. */
export const LEAD_MS = 3_000;
const NEIGHBOUR_MS = 60_000;
const REFRESH_MS = 4_000;

/** Reading, drawing and signing may wait for those of others. */
const BUNDLE_PATIENCE_MS = 180_000;

/** What the API says of an event that nobody is shown, and what is said of it here. */
const GONE = {forgotten: "event.forgotten", "not-found": "event.none", invalid: "event.none"};

/** Why an event is not shown, and of one that is forgotten since when and why. */
function goneSays(gone, {forgotten}) {
  return forgotten ? `${t(`${gone}.is`)} ${forgottenSays({at: Date.parse(forgotten.time), why: forgotten.why})}` : t(`${gone}.is`);
}

const iso = (time) => new Date(time).toISOString();

/**
 * Footage with a playhead in event time. `stretch`: milliseconds. `begin`: where in it to begin, milliseconds. `seek`: a
 * Signal of milliseconds to go to. `url`: of the playlist, where it is another one than the camera's.
 */
export function Footage({camera, stretch, begin = stretch[0], playhead, seek, url = null}) {
  const ref = useRef(null);
  const [state, setState] = useState({state: "loading", why: null});
  useEffect(() => {
    let isOver = false;
    let player = null;
    let frame = 0;
    let isPlaced = false;
    const follow = () => {
      if (isOver) return;
      // Where the player does not know what time it shows, the video's own clock begins with the stretch.
      const known = player?.time;
      playhead.value = known ? Number(new Date(known)) : stretch[0] + ref.current.currentTime * 1000;
      if (known && !isPlaced) {
        isPlaced = true;
        // Not where somebody has been faster.
        if (playhead.value < begin && ref.current.paused) ref.current.currentTime += (begin - playhead.value) / 1000;
      }
      frame = requestAnimationFrame(follow);
    };
    loadPlayer().then((mount) => {
      if (isOver) return;
      if (!mount) return setState({state: "missing", why: null});
      player = mount(ref.current, {url: url ?? recordedUrl(camera, iso(stretch[0]), iso(stretch[1])), live: false, onState: (next, why, told) => isOver || setState({state: next, why, told})});
      follow();
      return undefined;
    });
    const unwatch = seek.watch((time) => {
      if (time === null || !ref.current) return;
      const offset = playhead.value === null ? stretch[0] : playhead.value - ref.current.currentTime * 1000;
      ref.current.currentTime = Math.max(0, (time - offset) / 1000);
      playhead.value = time;
    });
    return () => {
      isOver = true;
      cancelAnimationFrame(frame);
      unwatch();
      player?.destroy();
    };
  }, [camera, stretch[0], stretch[1]]);
  const isShown = ["playing", "loading"].includes(state.state);
  return html`<div class="screen screen-large ${isShown ? "" : "screen-nothing"}">
    <video ref=${ref} controls muted playsinline aria-label=${t("event.video", {camera})}></video>
    ${!isShown && html`<div class="screen-said"><p class="screen-title">${word("player", state.state)}</p>${state.why && html`<p>${reason(state.why, state.told)}</p>`}</div>`}
  </div>`;
}

function Fact({name, children}) {
  return html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
}

function Facts({event}) {
  return html`<dl class="facts">
    <${Fact} name=${t("event.when")}><${Moment} time=${Date.parse(event.start)} /> – <${Moment} time=${Date.parse(event.end)} /><//>
    <${Fact} name=${t("event.long")}>${duration(event.seconds)}, ${counted("event.windows", event.windows)}<//>
    <${Fact} name=${t("score.peak")}><b>${score(event.peak_score)}</b> <${Moment} time=${Date.parse(event.peak)} /><//>
    <${Fact} name=${t("event.state")}>${word("ending", event.ending ?? event.state)}<//>
    <${Fact} name=${t("filter.model")}><code>${event.model}</code><//>
    <${Fact} name=${t("event.rule")}>${event.rule ? html`<a href=${address("rules", event.rule)}><code>${event.rule}</code></a>` : "–"}<//>
    <${Fact} name=${t("event.id")}><code>${event.event}</code><//>
  </dl>`;
}

function Verdicts({event}) {
  const said = useAnswer(() => get("/verdicts", {event: event.event}), [event.event, event.verdict]);
  const byHand = said.answer?.items.find((each) => each.channel === null);
  return html`<section class="panel" aria-labelledby="verdicts"><h2 id="verdicts">${t("event.verdict")}</h2>
    <div class="pair">
      <button onClick=${() => give(event, "right")} aria-pressed=${event.verdict === "right"} disabled=${!may("operator")}>${t("verdict.right")} <kbd>y</kbd></button>
      <button onClick=${() => give(event, "false")} aria-pressed=${event.verdict === "false"} disabled=${!may("operator")}>${t("verdict.false")} <kbd>n</kbd></button>
      <button class="plain" onClick=${() => withdraw(event)} disabled=${!may("operator") || !event.verdict || !byHand || byHand.answer === "withdrawn"}>${t("verdict.withdraw")}</button>
    </div>
    ${!may("operator") && html`<p class="quiet">${t("verdict.role")}</p>`}
    ${said.answer?.items.length > 0 && html`<ul class="lines" role="list">${said.answer.items.slice(0, 10).map((each) => html`<li key=${each.id}>
      <span><b>${word("answer", each.answer)}</b> ${each.by ?? each.channel ?? ""}</span> <span class="quiet"><${Moment} time=${Date.parse(each.time)} /></span></li>`)}</ul>`}
  </section>`;
}

/** The event as one signed file that plays without a network. */
function Keep({event}) {
  const [state, setState] = useState("");
  const [error, setError] = useState(null);
  const keep = async () => {
    setError(null);
    setState("making");
    try {
      await save(`/events/${encodeURIComponent(event.event)}/bundle`, {}, BUNDLE_PATIENCE_MS);
      setState("made");
    } catch (failure) {
      setState("");
      setError(failure);
    }
  };
  return html`<section class="panel" aria-labelledby="keep"><h2 id="keep">${t("event.keep")}</h2>
    <p class="quiet">${t("event.keep.is")}</p>
    <div class="pair"><button onClick=${keep} disabled=${!may("operator") || state === "making"}>${t("event.keep.do")}</button></div>
    <p role="status" class="quiet">${state && word("event.keep", state)}</p>
    ${error && html`<p class="error" role="alert">${error.message}</p>`}
    ${!may("operator") && html`<p class="quiet">${t("event.keep.role")}</p>`}
  </section>`;
}

function Messages({event}) {
  const found = useAnswer(() => get("/deliveries", {event: event.event, limit: 50}), [event.event, event.revision], 10_000);
  return html`<section class="panel" aria-labelledby="messages"><h2 id="messages">${t("event.deliveries")}</h2>
    ${found.error && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${found.answer?.items.length === 0 && html`<p class="quiet">${t("event.deliveries.none")}</p>`}
    ${found.answer?.items.length > 0 && html`<ul class="lines" role="list">${found.answer.items.map((each) => html`<li key=${each.delivery}>
      <span><b>${each.channel}</b> <${Chip} kind=${{sent: "ok", acknowledged: "ok", failed: "bad", retrying: "warn"}[each.state] ?? "plain"}>${word("delivery", each.state)}<//></span>
      <span class="quiet">${each.why ?? ""} <${Moment} time=${Date.parse(each.time)} /></span></li>`)}</ul>`}
  </section>`;
}

function Neighbours({event}) {
  const [from, to] = [Date.parse(event.start) - NEIGHBOUR_MS, Date.parse(event.end) + NEIGHBOUR_MS];
  const found = useAnswer(() => get("/events", {from: iso(from), to: iso(to), limit: 100}), [event.event, event.end], 10_000);
  const others = found.answer?.items.filter((each) => each.camera !== event.camera) ?? [];
  return html`<section class="panel" aria-labelledby="neighbours"><h2 id="neighbours">${t("event.neighbours")}</h2>
    ${found.answer && !others.length && html`<p class="quiet">${t("event.neighbours.none")}</p>`}
    ${others.length > 0 && html`<ul class="lines" role="list">${others.slice(0, 20).map((each) => html`<li key=${each.event}>
      <a href=${address("event", each.event)}>${each.camera} · ${each.label}</a> <span class="quiet">${score(each.peak_score)} <${Moment} time=${Date.parse(each.start)} /></span></li>`)}</ul>`}
  </section>`;
}

function Pictures({event}) {
  const found = event.pictures;
  if (!found?.strip && !found?.peak) return html`<p class="quiet">${found?.missing?.strip ? t("picture.missing", {why: found.missing.strip.detail}) : t("picture.none")}</p>`;
  return html`<div class="pictures">
    ${found.strip && html`<figure><img src=${found.strip.href} width=${found.strip.width} height=${found.strip.height} alt=${t("picture.strip", {count: found.strip.frames.length})} /><figcaption>${t("picture.strip.is")}</figcaption></figure>`}
    ${found.peak && html`<figure><img src=${found.peak.href} width=${found.peak.width} height=${found.peak.height} alt=${t("picture.peak")} /><figcaption>${t("picture.peak")}</figcaption></figure>`}
  </div>`;
}

function Scores({event, stretch, playhead, seek}) {
  const inputs = [event.event, event.end];
  const path = `/cameras/${encodeURIComponent(event.camera)}`;
  const found = useAnswer(() => get(`${path}/predictions`, {from: iso(stretch[0]), to: iso(stretch[1]), limit: 5000}), inputs);
  const rules = useAnswer(() => get(`${path}/rules`, {at: event.start}), inputs);
  const windows = useMemo(() => found.answer?.items.filter((each) => each.model === event.model), [found.answer]);
  const rule = rules.answer?.model === event.model ? rules.answer.items.find((each) => each.label === event.label) : null;
  const bands = useMemo(() => {
    const [from, to] = [Date.parse(event.start), Date.parse(event.end)];
    const shown = [{from, to, kind: "event", text: t("band.event")}];
    shown.push(...(found.answer?.forgotten_spans ?? []).map((each) => ({from: Date.parse(each.from), to: Date.parse(each.to), kind: "forgotten", text: t("reason.forgotten")})));
    if (rule && event.state === "ended") shown.push({from: to, to: to + rule.cooldown_seconds * 1000, kind: "cooldown", text: t("band.cooldown")});
    return shown;
  }, [event.start, event.end, event.state, rule, found.answer]);
  const lines = useMemo(() => (rule ? [{score: rule.start, colour: "--line-start", text: t("line.start")}, {score: rule.end, colour: "--line-end", text: t("line.end")}] : []), [rule]);
  if (found.error && !found.answer) return html`<${Failed} error=${found.error} retry=${found.again} />`;
  if (!windows) return html`<${Loading} lines="1" />`;
  if (!windows.length) return html`<${Empty} title=${t("scores.none")}>${t("scores.none.why")}<//>`;
  return html`<${Chart} windows=${windows} labels=${[event.label]} bands=${bands} lines=${lines} playhead=${playhead} onSeek=${(time) => {
    seek.value = null;
    seek.value = time;
  }} stretch=${stretch} />
    <p class="quiet">${rule ? t("scores.rule", {seconds: duration(rule.min_seconds), smoothing: rule.smoothing}) : t("scores.norule")}</p>`;
}

function Shown({event}) {
  const [playhead, seek] = useMemo(() => [new Signal(null), new Signal(null)], [event.event]);
  // It grows while the event goes on, but not with every report: the video would begin anew each time.
  const until = event.state === "ended" ? Date.parse(event.end) + MARGIN_MS : Math.ceil((Date.parse(event.end) + MARGIN_MS) / 30_000) * 30_000;
  const stretch = [Date.parse(event.start) - MARGIN_MS, Math.min(until, Math.max(Date.parse(event.end), serverNow() + MARGIN_MS))];
  const steady = useRef(stretch);
  if (steady.current[0] !== stretch[0] || until > steady.current[1] + 30_000) steady.current = stretch;
  // Beside the footage where there is room, below it where there is none: it is what one is asked here.
  const isNarrow = useMedia("(max-width: 1023px)");
  useKeys({y: () => give(event, "right"), n: () => give(event, "false"), z: undo});
  return html`
    <div class="head">
      <h1 tabindex="-1">${event.label} <span class="quiet">·</span> ${event.camera}</h1>
      <${Severity} severity=${event.severity} />
      ${event.escalated && html`<${Chip} kind="alert">${t("event.escalated")}<//>`}
      ${event.drill && html`<${Chip} kind="warn">${t("event.drill")}<//>`}
      <${VerdictChip} verdict=${event.verdict} />
      <p class="quiet">${wholeTime(Date.parse(event.start))}</p>
      <div class="tools"><a class="button" href=${address("review")}>${t("event.back")}</a>
        <a class="button" href=${address("why", "", {camera: event.camera, from: iso(stretch[0]), to: iso(stretch[1]), label: event.label})}>${t("event.around")}</a></div>
    </div>
    <div class="event">
      <div class="event-main">
        <section class="panel" aria-label=${t("event.footage")}>
          <${Footage} camera=${event.camera} stretch=${steady.current} begin=${Date.parse(event.start) - LEAD_MS} playhead=${playhead} seek=${seek} />
          <${Scores} event=${event} stretch=${steady.current} playhead=${playhead} seek=${seek} />
        </section>
        ${isNarrow && html`<${Verdicts} event=${event} />`}
        <section class="panel" aria-labelledby="pictures"><h2 id="pictures">${t("event.pictures")}</h2><${Pictures} event=${event} /></section>
        ${!event.drill && html`<${WhatIf} event=${event} />`}
      </div>
      <div class="event-side">
        ${!isNarrow && html`<${Verdicts} event=${event} />`}
        <section class="panel" aria-labelledby="facts"><h2 id="facts">${t("event.facts")}</h2><${Facts} event=${event} /></section>
        ${may("operator") && html`<${Shares} event=${event} />`}
        <${Keep} event=${event} />
        <${Messages} event=${event} />
        <${Neighbours} event=${event} />
      </div>
    </div>`;
}

/** Above what is no event, or not yet. */
const Head = () => html`<div class="head"><h1 tabindex="-1">${t("event")}</h1><div class="tools"><a class="button" href=${address("review")}>${t("event.back")}</a></div></div>`;

export function EventPage() {
  const {subject} = useSignal(route);
  const found = useAnswer(() => get(`/events/${encodeURIComponent(subject)}`), [subject], REFRESH_MS);
  const [said, setSaid] = useState(null);
  useEffect(() => {
    const ends = [
      onReport((report) => report.event === subject && found.again()),
      changed.watch((change) => {
        if (change?.event === subject) setSaid(change.verdict);
      }),
    ];
    return () => ends.forEach((end) => end());
  }, [subject]);
  // What is said is shown at once; the next answer knows it as well.
  useEffect(() => setSaid(null), [found.answer]);
  if (found.error && !found.answer) {
    const gone = GONE[found.error.kind];
    return html`<${Head} />${gone ? html`<${Empty} title=${t(gone)}>${goneSays(gone, found.error)}<//>` : html`<${Failed} error=${found.error} retry=${found.again} />`}`;
  }
  if (!found.answer || found.answer.event !== subject) return html`<${Head} /><${Loading} lines="3" shape="page" />`;
  const event = said === null ? found.answer : {...found.answer, verdict: said};
  return html`<${Shown} key=${subject} event=${event} />`;
}
