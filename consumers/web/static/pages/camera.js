// One camera: how it is and was, what it sends, its clock, its settings, and what the model sees of it.
import {html, useEffect, useMemo, useState} from "../vendor/htm-preact.js";
import {get, serverNow} from "../core/api.js";
import {counted, duration, number, reason, score, t, timeOfDay, wholeTime, word} from "../core/i18n.js";
import {cameras, freshness, isGivenUp} from "../core/live.js";
import {address, route, setParameters} from "../core/route.js";
import {clock, useSignal} from "../core/signal.js";
import {Band, Bars, Line, Ticks} from "../core/timeline.js";
import {Choice, Empty, Failed, forgottenSays, forgottenSpan, Loading, Moment, picture, useAnswer, Waiting} from "../core/ui.js";
import {Screen} from "./wall.js";

const HOURS = ["1", "6", "24"];
const REFRESH_MS = 30_000;
const MOST_CHANGES = 100;
const iso = (time) => new Date(time).toISOString();
const path = (camera, what = "") => `/cameras/${encodeURIComponent(camera)}${what}`;

/** "1.2 MB", "30 kB". */
function size(bytes) {
  if (bytes < 1e6) return t("unit.kb", {n: number(bytes / 1e3)});
  return bytes < 1e9 ? t("unit.mb", {n: number(bytes / 1e6, 1)}) : t("unit.gb", {n: number(bytes / 1e9, 1)});
}
const rate = (bits) => t("unit.mbit", {n: number(bits / 1e6, bits < 1e6 ? 2 : 1)});
/** Clocks differ by milliseconds or by years. */
function offset(seconds) {
  const text = Math.abs(seconds) < 1 ? t("unit.ms", {n: number(Math.abs(seconds) * 1000)}) : duration(Math.abs(seconds));
  return seconds < 0 ? `−${text}` : text;
}

const KINDS = {live: "live", ended: "ended", unknown: "unknown", connecting: "waiting", opening: "waiting"};
const kind = (status) => KINDS[status] ?? "bad";
const parsed = (each) => ({from: Date.parse(each.from), to: Date.parse(each.to)});
const fromTo = ({from, to}) => `${timeOfDay(from)} – ${timeOfDay(to)}`;

function Minutes({seconds}) {
  return html`<dl class="figures">${["watched", "late", "blind", "unknown", "ended"].filter((each) => each !== "ended" || seconds.ended > 0).map((each) => html`<div key=${each} title=${t(`camera.${each}.is`)}>
    <dt><i class="key key-span span-key-${each}"></i>${t(`camera.${each}`)}</dt><dd class="num">${duration(seconds[each])}</dd></div>`)}</dl>`;
}

function Changes({items}) {
  const found = items.filter((each) => each.status !== "unknown").slice(-MOST_CHANGES).reverse();
  return html`<details class="changes"><summary>${t("camera.past.changes")} <span class="chip">${found.length}</span></summary>
    <ul class="lines" role="list">${found.map((each) => html`<li key=${each.from}>
      <span><span class="chip chip-state-${each.status}">${word("state", each.status)}</span> ${reason(each.why, each.code)}</span>
      <span class="quiet"><${Moment} time=${Date.parse(each.from)} /> · ${duration((Date.parse(each.to) - Date.parse(each.from)) / 1000)}</span></li>`)}</ul></details>`;
}

function Past({camera, past, footage, stretch}) {
  const spans = past.items.map((each) => ({...parsed(each), kind: kind(each.status), title: `${word("state", each.status)}, ${fromTo(parsed(each))}${each.why ? `: ${reason(each.why, each.code)}` : ""}`}));
  const late = past.late.map((each) => ({...parsed(each), kind: "late", title: `${t("camera.late")}, ${fromTo(parsed(each))}`}));
  const gaps = footage?.gaps.map((each) => ({...parsed(each), kind: "gap", title: `${t("camera.footage.gap")}, ${fromTo(parsed(each))}`}));
  const forgotten = footage?.forgotten_spans.map(forgottenSpan) ?? [];
  gaps?.push(...forgotten.map((each) => ({...each, kind: "forgotten", title: forgottenSays(each)})));
  const told = Object.fromEntries(Object.entries(past.seconds).map(([name, seconds]) => [name, duration(seconds)]));
  return html`<section class="panel" aria-labelledby="past"><h2 id="past">${t("camera.past")}</h2>
    <div class="band-rows">
      <span class="quiet">${t("camera.past.states")}</span><${Band} spans=${[...spans, ...late]} stretch=${stretch} label=${t("camera.past.label", {camera, ...told})} />
      ${gaps && html`<span class="quiet">${t("camera.past.footage")}</span><${Band} small spans=${[{from: stretch[0], to: stretch[1], kind: "kept", title: t("camera.footage.kept")}, ...gaps]} stretch=${stretch} label=${`${t("camera.past.footage")}: ${duration(footage.covered_seconds)}`} />`}
      <span></span><${Ticks} stretch=${stretch} />
    </div>
    <${Minutes} seconds=${past.seconds} />
    ${footage?.gone > 0 && html`<p class="quiet">${counted("camera.footage.gone", footage.gone)}</p>`}
    ${forgotten.slice(-5).map((each) => html`<p class="quiet" key=${each.from}><${Moment} time=${each.from} /> – <${Moment} time=${each.to} />: ${forgottenSays(each)}</p>`)}
    ${footage?.notes.filter((each) => !each.includes(": forgotten, as ")).map((each) => html`<p class="quiet" key=${each}>${each}</p>`)}
    <${Waiting} of=${past} />
    <${Changes} items=${past.items} />
  </section>`;
}

function Rate({found, stretch}) {
  const footage = found.answer;
  const steps = useMemo(
    () =>
      footage?.items.map((each) => {
        const from = Date.parse(each.start);
        // A part of which half is missing is not half as heavy.
        const bits = each.seconds > 0 ? (each.bytes * 8) / each.seconds : 0;
        return {from, to: from + footage.step_seconds * 1000, value: bits, title: `${timeOfDay(from)}: ${rate(bits)}`};
      }) ?? [],
    [footage],
  );
  const bytes = footage?.items.reduce((sum, each) => sum + each.bytes, 0) ?? 0;
  const most = Math.max(0, ...steps.map((each) => each.value));
  const mean = bytes ? (bytes * 8) / footage.covered_seconds : 0;
  return html`<section class="panel" aria-labelledby="rate"><h2 id="rate">${t("camera.rate")}</h2>
    ${found.error && !footage && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${!footage && !found.error && html`<${Loading} lines="1" />`}
    ${footage && !bytes && html`<p class="quiet">${t("camera.rate.none")}</p>`}
    ${bytes > 0 && html`<${Bars} steps=${steps} stretch=${stretch} label=${t("camera.rate.label", {mean: rate(mean), most: rate(most)})} /><${Ticks} stretch=${stretch} />
      <dl class="figures">${[["mean", rate(mean)], ["most", rate(most)], ["sum", size(bytes)]].map(([name, text]) => html`<div key=${name}><dt>${t(`camera.rate.${name}`)}</dt><dd class="num">${text}</dd></div>`)}</dl>`}
  </section>`;
}

function Clock({camera, past, stretch}) {
  const points = past.clock.map((each) => ({at: Date.parse(each.at), value: each.offset_seconds}));
  const values = points.map((each) => each.value);
  return html`<section class="panel" aria-labelledby="clock"><h2 id="clock">${t("camera.clock")}</h2>
    ${!points.length && html`<p class="quiet">${t(hasSent(camera) ? "camera.clock.none" : "camera.never")}</p>`}
    ${points.length > 2 && html`<div class="curve-axes"><span class="curve-range quiet" aria-hidden="true"><span>${offset(Math.max(...values))}</span><span>${offset(Math.min(...values))}</span></span>
      <${Line} points=${points} stretch=${stretch} label=${t("camera.clock.label")} /><span></span><${Ticks} stretch=${stretch} /></div>`}
    ${points.length > 0 && html`<dl class="facts">
      <${Fact} name=${t("camera.clock.offset")}><b>${offset(values.at(-1))}</b><//>
      <${Fact} name=${t("camera.clock.range")}>${offset(Math.min(...values))} – ${offset(Math.max(...values))}<//>
      <${Fact} name=${t("camera.clock.drift")}>${t("camera.clock.ppm", {n: number(past.drift_ppm)})}<//></dl>`}
  </section>`;
}

const Fact = ({name, children}) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
const hasSent = (camera) => Boolean(camera.data);
const yes = (value) => t(value ? "camera.yes" : "camera.no");

function Facts({camera, settings, error}) {
  return html`<section class="panel" aria-labelledby="now"><h2 id="now">${t("camera.now")}</h2><dl class="facts">
      <${Fact} name=${t("event.state")}><span class="chip chip-state-${freshness(camera)}">${word("state", freshness(camera))}</span> ${t("wall.since")} <${Moment} time=${Date.parse(camera.since)} />${camera.why ? html`<br />${reason(camera.cause ?? camera.why, camera.code)}` : ""}${isGivenUp(camera) ? html` <span class="quiet">${t("why.given-up")}</span>` : ""}<//>
      <${Fact} name=${t("fleet.picture")}>${picture(camera, 1)}<//>
      <${Fact} name=${t("filter.label")}>${camera.label ? html`<b>${camera.label}</b> ${score(camera.score)}` : t("wall.unclassified")}<//>
      <${Fact} name=${t("fleet.behind")}>${camera.behind_seconds === null ? "–" : duration(camera.behind_seconds)}<//>
      <${Fact} name=${t("fleet.worker")}>${camera.worker ?? "–"}<//>
      <${Fact} name=${t("camera.agent")}>${camera.agent}<//>
      <${Fact} name=${t("camera.bytes")}>${size(camera.bytes)}<//>
    </dl></section>
    <section class="panel" aria-labelledby="settings"><h2 id="settings">${t("camera.settings")}</h2>
      ${!settings && (error ? html`<p class="quiet">${error.kind ? reason(error.message, error.code) : t("failed.away")}</p>` : html`<p class="quiet">${t("loading")}</p>`)}
      ${settings && html`<dl class="facts">
        <${Fact} name=${t("camera.source")}>${!settings.is_named ? t("camera.source.none") : settings.source ? html`<code>${settings.source}</code>` : t("camera.source.role")}<//>
        ${settings.is_named && html`<${Fact} name=${t("camera.loop")}>${yes(settings.loop)}<//><${Fact} name=${t("camera.transcode")}>${yes(settings.transcode)}<//>`}
        ${settings.fps && html`<${Fact} name=${t("camera.fps")}>${number(settings.fps, 2)}<//>`}
        <${Fact} name=${t("filter.model")}>${settings.clip ? html`<code>${settings.clip.model}</code>` : settings.why}<//>
      </dl>`}
    </section>`;
}

function Sample({camera}) {
  const found = useAnswer(() => get(path(camera, "/sample")), [camera]);
  const sample = found.answer?.picture;
  return html`<section class="panel" aria-labelledby="sample"><div class="head"><h2 id="sample">${t("camera.sample")}</h2>
      <div class="tools tools-inline"><button onClick=${found.again}>${t("camera.sample.again")}</button></div></div>
    ${found.error && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${!found.answer && !found.error && html`<${Loading} lines="1" />`}
    ${found.answer?.why && html`<p class="quiet">${t("camera.sample.none", {why: reason(found.answer.why, found.answer.code)})}</p>`}
    ${sample && html`<figure class="sample"><img src=${sample.href} width=${sample.width} height=${sample.height}
        alt=${t("camera.sample.alt", {count: sample.frames.length, camera, spacing: duration(sample.clip.spacing_seconds)})} />
      <figcaption class="quiet">${wholeTime(Date.parse(sample.frames.at(-1)))}. ${t("camera.sample.is", {count: sample.frames.length, spacing: t("unit.s", {n: number(sample.clip.spacing_seconds, 2)}), width: sample.clip.width, height: sample.clip.height, model: sample.clip.model})} ${sample.clip.views === 2 ? t("camera.sample.views") : ""}</figcaption></figure>`}
  </section>`;
}

/** Whether all that is known of a camera, its states and its footage, began less than an hour before `now`. */
function isNew(past, footage, now) {
  const known = past.items.filter((each) => each.status !== "unknown").map((each) => Date.parse(each.from));
  const sent = (footage?.items ?? []).filter((each) => each.bytes > 0).map((each) => Date.parse(each.start));
  return Math.min(now, ...known, ...sent) > now - 3_600_000;
}

function Shown({camera, hours, isFast, onKnown}) {
  const name = camera.camera;
  const [now, setNow] = useState(() => serverNow());
  const stretch = [now - hours * 3_600_000, now];
  const asked = {from: iso(stretch[0]), to: iso(stretch[1])};
  const past = useAnswer(() => get(path(name, "/history"), asked), [name, now, hours]);
  const footage = useAnswer(() => get(path(name, "/footage"), {...asked, steps: 120}), [name, now, hours]);
  const settings = useAnswer(() => get(path(name, "/settings")), [name]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setNow(serverNow()), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (past.answer && (footage.answer || footage.error)) onKnown?.(isNew(past.answer, footage.answer, now));
  }, [past.answer, footage.answer, footage.error]);
  // What is shown while the next answer comes is of the stretch before.
  const shown = (answer) => (answer ? [Date.parse(answer.from), Date.parse(answer.from) + hours * 3_600_000] : stretch);
  return html`<div class="event">
    <div class="event-main">
      <div class="panel camera-live ${freshness(camera) === "live" ? "" : "tile-stale"}"><${Screen} camera=${camera} isFast=${isFast} /></div>
      ${past.error && !past.answer && html`<${Failed} error=${past.error} retry=${past.again} />`}
      ${!past.answer && !past.error && html`<${Loading} lines="1" />`}
      ${past.answer && html`<${Past} camera=${name} past=${past.answer} footage=${footage.answer} stretch=${shown(past.answer)} />`}
      <${Rate} found=${footage} stretch=${shown(footage.answer)} />
      ${hasSent(camera) ? html`<${Sample} camera=${name} />` : html`<section class="panel" aria-labelledby="sample"><h2 id="sample">${t("camera.sample")}</h2><p class="quiet">${t("camera.never")}</p></section>`}
    </div>
    <div class="event-side">
      <${Facts} camera=${camera} settings=${settings.answer} error=${settings.error} />
      ${past.answer && html`<${Clock} camera=${camera} past=${past.answer} stretch=${shown(past.answer)} />`}
    </div>
  </div>`;
}

function Choose({all}) {
  return html`<div class="head"><h1 tabindex="-1">${t("cameras")}</h1></div>
    ${all.length ? html`<${Empty} title=${t("camera.choose")}><span class="pair">${all.map((each) => html`<a class="button" key=${each.camera} href=${address("cameras", each.camera)}>${each.camera}</a>`)}</span><//>` : html`<${Empty} title=${t("wall.empty")}>${t("wall.empty.how")}<//>`}`;
}

/** Switches the fast view on and off; on only where something may come. */
function Fast({camera, isFast}) {
  const why = !hasSent(camera) ? "camera.never" : camera.over ? "camera.fast.ended" : null;
  return html`<button aria-pressed=${isFast} disabled=${why && !isFast} title=${t(why ?? "camera.fast.is")} onClick=${() => setParameters({view: isFast ? "" : "fast"})}>${t("camera.fast")}</button>`;
}

export function CameraPage() {
  const {subject, parameters} = useSignal(route);
  const all = useSignal(cameras);
  useSignal(clock);
  const [isYoung, setYoung] = useState({});
  const chosen = HOURS.includes(parameters.hours) ? parameters.hours : null;
  // Of what began less than an hour ago, six would be empty; once that is decided it stays, as long as one stays.
  const hours = chosen ?? (isYoung[subject] ? "1" : "6");
  const decide = (answer) => setYoung((before) => (subject in before ? before : {[subject]: answer}));
  const isFast = parameters.view === "fast";
  const camera = all?.find((each) => each.camera === subject);
  if (!all) return html`<div class="head"><h1 tabindex="-1">${subject || t("cameras")}</h1></div><${Loading} lines="3" shape=${subject ? "page" : "cards"} />`;
  if (!subject) return html`<${Choose} all=${all} />`;
  return html`<div class="head">
      <h1 tabindex="-1">${subject}</h1>
      ${camera && html`<span class="chip chip-state-${freshness(camera)}">${word("state", freshness(camera))}</span>`}
      <div class="tools tools-narrow">
        ${camera && html`<${Choice} label=${t("camera.hours")} value=${hours} options=${HOURS.map((each) => [each, t("unit.h", {n: each})])} onChange=${(value) => setParameters({hours: value})} />`}
        ${camera && html`<${Fast} camera=${camera} isFast=${isFast} />`}
        <a class="button" href=${address("review", "", {camera: subject})}>${t("camera.events")}</a>
        <a class="button" href=${address("why", "", {camera: subject})}>${t("camera.why")}</a>
        <a class="button" href=${address("rules", "", {camera: subject})}>${t("rules")}</a>
      </div>
    </div>
    ${camera ? html`<${Shown} key=${subject} camera=${camera} hours=${Number(hours)} isFast=${isFast} onKnown=${chosen ? null : decide} />` : html`<${Empty} title=${t("camera.none", {camera: subject})} />`}`;
}
