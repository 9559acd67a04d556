// What a link shows: one event, and nothing that leads anywhere else.
import {html, render, useEffect, useMemo, useState} from "./vendor/htm-preact.js";
import {Chart} from "./core/chart.js";
import {duration, language, score, t, wholeTime} from "./core/i18n.js";
import {Signal, useSignal} from "./core/signal.js";
import {Chip, Empty, Failed, Loading, Moment, Severity} from "./core/ui.js";
import {Footage, LEAD_MS} from "./pages/event.js";

const ROOT = location.pathname.replace(/\/$/, "");
const REFRESH_MS = 30_000;

/** What there is to show, null before the first answer, or what went wrong. */
function useShared() {
  const [state, setState] = useState({event: null, error: null, isGone: false});
  useEffect(() => {
    let timer = 0;
    const look = async () => {
      try {
        const answer = await fetch(`${ROOT}/event.json`, {credentials: "omit", cache: "no-store"});
        if (answer.status === 404) return setState({event: null, error: null, isGone: true});
        if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? answer.statusText);
        setState({event: await answer.json(), error: null, isGone: false});
      } catch (error) {
        setState((before) => ({...before, error}));
      }
      timer = setTimeout(look, REFRESH_MS);
      return undefined;
    };
    look();
    return () => clearTimeout(timer);
  }, []);
  return state;
}

function Picture({event, kind}) {
  const found = event.pictures[kind];
  if (!found) return null;
  const text = kind === "strip" ? t("picture.strip", {count: found.frames}) : t("picture.peak");
  return html`<figure><img src=${found.href} width=${found.width} height=${found.height} alt=${text} /><figcaption>${t(kind === "strip" ? "picture.strip.is" : "picture.peak")}</figcaption></figure>`;
}

function Shown({event}) {
  const [playhead, seek] = useMemo(() => [new Signal(null), new Signal(null)], []);
  const stretch = useMemo(() => [Date.parse(event.from), Date.parse(event.to)], [event.from, event.to]);
  const bands = useMemo(() => [{from: Date.parse(event.start), to: Date.parse(event.end), kind: "event", text: t("band.event")}], [event.start, event.end]);
  const windows = useMemo(() => event.windows, [event.windows.length]);
  const hasPictures = event.pictures.strip || event.pictures.peak;
  return html`
    <div class="head"><h1>${event.label} <span class="quiet">·</span> ${event.camera}</h1>
      <${Severity} severity=${event.severity} />
      ${event.drill && html`<${Chip} kind="warn">${t("event.drill")}<//>`}
      <p class="quiet">${wholeTime(Date.parse(event.start))}</p></div>
    <section class="panel" aria-label=${t("event.footage")}>
      <${Footage} camera=${event.camera} stretch=${stretch} begin=${Date.parse(event.start) - LEAD_MS} playhead=${playhead} seek=${seek} url=${`${ROOT}/evidence.m3u8`} />
      ${windows.length > 0 && html`<${Chart} windows=${windows} labels=${[event.label]} bands=${bands} playhead=${playhead} onSeek=${(time) => {
        seek.value = null;
        seek.value = time;
      }} stretch=${stretch} />`}
    </section>
    ${hasPictures && html`<section class="panel" aria-labelledby="pictures"><h2 id="pictures">${t("event.pictures")}</h2>
      <div class="pictures"><${Picture} event=${event} kind="strip" /><${Picture} event=${event} kind="peak" /></div></section>`}
    <section class="panel" aria-labelledby="facts"><h2 id="facts">${t("event.facts")}</h2><dl class="facts">
      <div><dt>${t("event.when")}</dt><dd><${Moment} time=${Date.parse(event.start)} /> – <${Moment} time=${Date.parse(event.end)} /></dd></div>
      <div><dt>${t("event.long")}</dt><dd>${duration(event.seconds)}</dd></div>
      <div><dt>${t("score.peak")}</dt><dd><b>${score(event.peak_score)}</b> <${Moment} time=${Date.parse(event.peak)} /></dd></div>
      <div><dt>${t("share.until.long")}</dt><dd><${Moment} time=${Date.parse(event.expires)} /></dd></div>
    </dl></section>`;
}

function Page() {
  const {event, error, isGone} = useShared();
  useSignal(language);
  const other = language.value === "en" ? "de" : "en";
  document.title = event ? `${event.label} · ${event.camera}` : "Clipline";
  return html`<main class="shared" id="main">
    <div class="switches"><button class="plain" lang=${other} onClick=${() => (language.value = other)}>${other === "de" ? "Deutsch" : "English"}</button></div>
    ${isGone && html`<${Empty} title=${t("share.gone")}>${t("share.gone.why")}<//>`}
    ${!isGone && !event && (error ? html`<${Failed} error=${error} />` : html`<${Loading} lines="3" />`)}
    ${event && html`<${Shown} event=${event} />`}
  </main>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${Page} />`, root);
