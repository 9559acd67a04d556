// Why nothing was reported: the scores of a stretch, what they had to reach, and what held them back.
import {html, useMemo, useRef, useState} from "../vendor/htm-preact.js";
import {get, serverNow} from "../core/api.js";
import {Chart} from "../core/chart.js";
import {duration, score, t, word} from "../core/i18n.js";
import {cameras} from "../core/live.js";
import {address, route, setParameters} from "../core/route.js";
import {reasons} from "../core/rules.js";
import {useSignal} from "../core/signal.js";
import {Choice, Chip, Empty, Failed, Field, forgottenSays, forgottenSpan, fromLocal, Loading, Moment, Table, toLocal, useAnswer} from "../core/ui.js";

const SPANS = [1, 5, 15, 60, 240];
const MOST_WINDOWS = 10_000;
/** What is of late may still be classified; of what is long over only rules and what is forgotten change. */
const LATE_MS = 600_000;
const REFRESH_MS = 10_000;
const REFRESH_OLD_MS = 60_000;
const iso = (time) => new Date(time).toISOString();
const CHIPS = {event: "ok", gap: "warn", forgotten: "plain", withheld: "plain", below: "plain", unknown: "bad"};
/** What bands show: all but what was low. */
const BANDS = new Set(["event", "gap", "cooldown", "schedule", "short", "disabled", "unknown", "forgotten", "withheld"]);

function Choose({parameters, from, to}) {
  const all = useSignal(cameras) ?? [];
  const names = all.map((each) => each.camera);
  const chosen = parameters.camera ?? "";
  const options = [["", t("why.choose")], ...[...new Set([...names, chosen].filter(Boolean))].sort().map((each) => [each, each])];
  return html`<div class="tools tools-row">
    <${Choice} label=${t("filter.camera")} value=${chosen} options=${options} onChange=${(camera) => setParameters({camera, label: ""})} />
    <${Field} label=${t("filter.from")} type="datetime-local" step="1" value=${toLocal(from)} onChange=${(value) => setParameters({from: fromLocal(value), to: iso(to)})} />
    <${Field} label=${t("filter.to")} type="datetime-local" step="1" value=${toLocal(to)} onChange=${(value) => setParameters({from: iso(from), to: fromLocal(value)})} />
    <div class="field field-pair" role="group" aria-label=${t("why.last")}><span aria-hidden="true">${t("why.last")}</span><div class="pair">
      ${SPANS.map((minutes) => html`<button key=${minutes} onClick=${() => setParameters({from: iso(serverNow() - minutes * 60_000), to: iso(serverNow())})}>${minutes < 60 ? t("unit.min", {n: minutes}) : t("unit.h", {n: minutes / 60})}</button>`)}
    </div></div>
  </div>`;
}

const columns = () => [
  [t("filter.from"), (each) => html`<${Moment} time=${each.from} />`],
  [t("event.long"), (each) => duration(each.seconds)],
  [t("score.highest"), (each) => (each.peak === null ? "–" : score(each.peak))],
  [t("why.reason"), (each) => html`<${Chip} kind=${CHIPS[each.why] ?? "warn"}>${word("reason", each.why)}<//> <span class="quiet">${each.says}</span>`],
];

/** What a reason means, with the figures that it is about. */
function says(each, rule) {
  if (each.forgotten) return forgottenSays(each.forgotten);
  const values = {peak: score(each.peak), start: score(rule.start), seconds: duration(each.seconds), min: duration(rule.min_seconds), cooldown: duration(rule.cooldown_seconds), schedule: rule.schedule.join(", ")};
  return t(`reason.${each.why}.says`, values);
}

const MOST_ROWS = 200;

function Found({camera, from, to, windows, rules, events, forgotten, isCut, wanted}) {
  const models = [...new Set(windows.map((each) => each.model))];
  const model = models.at(-1);
  const own = useMemo(() => windows.filter((each) => each.model === model), [windows, model]);
  const labels = Object.keys(own.at(-1).scores);
  const isKnown = rules?.model === model;
  const alarming = isKnown ? rules.items.map((each) => each.label) : events.map((each) => each.label);
  const label = labels.includes(wanted) ? wanted : (alarming.find((each) => labels.includes(each)) ?? labels[0]);
  const known = isKnown ? rules.items.find((each) => each.label === label) : null;
  const [assumed, setAssumed] = useState(0.5);
  const rule = known ?? {start: assumed, end: assumed / 2, min_seconds: 2, cooldown_seconds: 5, smoothing: 1, schedule: [], time_zone: null, enabled: isKnown ? false : undefined};
  const mine = events.filter((each) => each.label === label && each.model === model);
  const found = useMemo(
    () => reasons(own, label, rule, mine, forgotten).map((each) => ({...each, says: says(each, rule)})),
    [windows, label, assumed, rules, events],
  );
  const bands = useMemo(() => found.filter((each) => BANDS.has(each.why)).map((each) => ({from: each.from, to: each.to, kind: each.why, text: word("reason", each.why)})), [found]);
  const lines = useMemo(() => [{score: rule.start, colour: "--line-start", text: t("line.start")}, {score: rule.end, colour: "--line-end", text: t("line.end")}], [rule.start, rule.end]);
  const count = (...whys) => found.filter((each) => whys.includes(each.why)).length;
  const [reported, gaps, low] = [count("event"), count("gap"), count("below")];
  const highest = Math.max(...own.map((each) => each.scores[label] ?? 0));
  return html`
    <div class="panel">
      <div class="tools tools-left">
        <${Choice} label=${t("filter.label")} value=${label} options=${labels.map((each) => [each, each])} onChange=${(value) => setParameters({label: value})} />
        ${!isKnown && html`<label class="field"><span>${t("why.assumed", {score: score(assumed)})}</span><input type="range" min="0.05" max="1" step="0.05" value=${assumed} onInput=${(event) => setAssumed(Number(event.target.value))} /></label>`}
      </div>
      <p class="answer">${low < found.length ? t("why.some", {events: reported, held: found.length - reported - gaps - low - count("forgotten"), gaps, highest: score(highest)}) : t("why.never", {label, highest: score(highest), start: score(rule.start)})}</p>
      <${Chart} windows=${own} labels=${[label]} bands=${bands} lines=${lines} stretch=${[from, to]} />
      ${!isKnown && html`<p class="note">${rules?.why ? t("why.unknown.because", {why: rules.why}) : t("why.othermodel", {model})}</p>`}
      ${isKnown && !known && html`<p class="note">${t("why.noevents", {label})}</p>`}
      ${isCut && html`<p class="note">${t("why.cut")}</p>`}
      ${models.length > 1 && html`<p class="quiet">${t("why.models", {models: models.join(", ")})}</p>`}
    </div>
    <div class="panel"><h2>${t("why.table")}</h2><${Table} until=${0} caption=${t("why.table")} columns=${columns()} rows=${found.slice(-MOST_ROWS).reverse()} id=${(each) => each.from} />
      ${found.length > MOST_ROWS && html`<p class="quiet">${t("why.more", {count: found.length - MOST_ROWS})}</p>`}
      ${mine.length > 0 && html`<p class="after">${mine.slice(0, 20).map((each) => html`<a key=${each.event} class="inline" href=${address("event", each.event)}>${each.label} <${Moment} time=${Date.parse(each.start)} /></a> `)}</p>`}
    </div>`;
}

/** What was answered before where nothing has changed, so that nothing is drawn anew. */
async function asBefore(kept, asked) {
  const answer = await asked;
  const text = JSON.stringify(answer);
  if (kept.current.text !== text) kept.current = {text, answer};
  return kept.current.answer;
}

function Answer({camera, from, to, label}) {
  const path = `/cameras/${encodeURIComponent(camera)}`;
  const stretch = {from: iso(from), to: iso(to)};
  const kept = useRef({});
  const found = useAnswer(
    () => asBefore(kept, Promise.all([get(`${path}/predictions`, {...stretch, limit: MOST_WINDOWS}), get(`${path}/rules`, {at: stretch.from}), get("/events", {...stretch, camera, limit: 500})])),
    [camera, from, to],
    serverNow() - to < LATE_MS ? REFRESH_MS : REFRESH_OLD_MS,
  );
  if (found.error?.kind === "not-found" && !found.answer) return html`<${Empty} title=${t("camera.none", {camera})} />`;
  if (found.error && !found.answer) return html`<${Failed} error=${found.error} retry=${found.again} />`;
  if (!found.answer) return html`<${Loading} lines="2" shape="wide" />`;
  const [predictions, rules, events] = found.answer;
  if (predictions.camera !== camera) return html`<${Loading} lines="2" shape="wide" />`;
  const forgotten = predictions.forgotten_spans.map(forgottenSpan);
  if (!predictions.items.length && forgotten.length) return html`<${Empty} title=${t("reason.forgotten")}>${forgotten.slice(0, 5).map(forgottenSays).join(" ")}<//>`;
  if (!predictions.items.length) return html`<${Empty} title=${t("why.nothing")}>${t("why.nothing.how")}<//>`;
  return html`<${Found} camera=${camera} from=${from} to=${to} windows=${predictions.items} rules=${rules} events=${events.items} forgotten=${forgotten} isCut=${predictions.cut} wanted=${label} />`;
}

export function WhyNot() {
  const {parameters} = useSignal(route);
  const [begun] = useState(() => Math.floor(serverNow() / 1000) * 1000);
  const to = Date.parse(parameters.to) || begun;
  const from = Date.parse(parameters.from) || to - 5 * 60_000;
  const all = useSignal(cameras) ?? [];
  return html`<div class="head"><h1 tabindex="-1">${t("why")}</h1><p class="quiet">${t("why.is")}</p><${Choose} parameters=${parameters} from=${from} to=${to} /></div>
    ${!parameters.camera && html`<${Empty} title=${t("why.empty")}>
      <span class="pair">${all.slice(0, 12).map((each) => html`<a class="button" key=${each.camera} href=${address("why", "", {...parameters, camera: each.camera})}>${each.camera}</a>`)}</span><//>`}
    ${parameters.camera && from >= to && html`<${Empty} title=${t("why.order")} />`}
    ${parameters.camera && from < to && html`<${Answer} key=${parameters.camera} camera=${parameters.camera} from=${from} to=${to} label=${parameters.label} />`}`;
}
