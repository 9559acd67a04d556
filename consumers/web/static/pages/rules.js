// Versions of the rules, and what holds for a camera now.
import {html} from "../vendor/htm-preact.js";
import {get} from "../core/api.js";
import {counted, duration, score, t, word} from "../core/i18n.js";
import {cameras} from "../core/live.js";
import {route, setParameters} from "../core/route.js";
import {useSignal} from "../core/signal.js";
import {Choice, Chip, Empty, Failed, Loading, Moment, Table, useAnswer} from "../core/ui.js";

const told = (value) => (Array.isArray(value) ? value.join(", ") : typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));
const Pairs = ({of}) => html`<span class="settings">${Object.entries(of).map(([name, value]) => html`<code key=${name}>${name} = ${told(value)}</code>`)}</span>`;

function Version({version, isOpen}) {
  return html`<details class="panel version" open=${isOpen} id=${version.version}>
    <summary><h2><code>${version.version}</code></h2> ${version.holds && html`<${Chip} kind="ok">${t("rules.holds")}<//>`}
      <span class="quiet">${t("rules.since")} ${version.since.startsWith("1970") ? t("rules.beginning") : html`<${Moment} time=${Date.parse(version.since)} />`} · ${t("rules.applied")} <${Moment} time=${Date.parse(version.applied)} /></span></summary>
    <h3>${t("rules.tracker")}</h3><${Pairs} of=${version.tracker} />
    ${version.rules.length > 0 && html`<h3>${t("rules.tables")}</h3><ol class="tables">${version.rules.map((each, index) => html`<li key=${index}><b>${each.camera ?? "*"} · ${each.label ?? "*"}</b> <${Pairs} of=${Object.fromEntries(Object.entries(each).filter(([name]) => name !== "camera" && name !== "label"))} /></li>`)}</ol>`}
  </details>`;
}

const columns = () => [
  [t("filter.label"), (each) => html`<b>${each.label}</b>`],
  [t("severity"), (each) => html`<${Chip} kind=${each.severity}>${word("severity", each.severity)}<//>`],
  [t("line.start"), (each) => score(each.start)],
  [t("line.end"), (each) => score(each.end)],
  [t("rules.min"), (each) => duration(each.min_seconds)],
  [t("rules.cooldown"), (each) => duration(each.cooldown_seconds)],
  [t("rules.smoothing"), (each) => counted("event.windows", each.smoothing)],
  [t("rules.schedule"), (each) => (each.schedule.length ? `${each.schedule.join(", ")} (${each.time_zone})` : t("rules.always"))],
];

function OfCamera() {
  const all = useSignal(cameras) ?? [];
  const {parameters} = useSignal(route);
  const isEmpty = useSignal(cameras)?.length === 0;
  const camera = parameters.camera || all[0]?.camera || "";
  const found = useAnswer(async () => camera && get(`/cameras/${encodeURIComponent(camera)}/rules`), [camera], 10_000);
  const answer = found.answer?.camera === camera ? found.answer : null;
  const rows = answer?.items ?? [];
  if (isEmpty) return null;
  return html`<section class="panel"><div class="head"><h2>${t("rules.camera")}</h2>
      <div class="tools"><${Choice} label=${t("filter.camera")} value=${camera} options=${all.map((each) => [each.camera, each.camera])} onChange=${(value) => setParameters({camera: value})} /></div></div>
    ${found.error && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${answer?.why && html`<p class="note">${t("why.unknown.because", {why: answer.why})}</p>`}
    ${rows.length > 0 && html`<${Table} caption=${t("rules.camera")} columns=${columns()} rows=${rows} id=${(each) => each.label} />
      <p class="quiet">${t("rules.bymodel", {model: answer.model})}</p>`}
    ${answer && !answer.why && !rows.length && html`<p class="quiet">${t("rules.nolabel")}</p>`}
  </section>`;
}

/** What an event's link to a version means that is none of those that were applied. */
const Unlisted = ({version, items}) =>
  version && items && !items.some((each) => each.version === version) && html`<p class="note">${t(items.length ? "rules.unlisted" : "rules.own", {version})}</p>`;

export function Rules() {
  const {subject} = useSignal(route);
  const found = useAnswer(() => get("/rules"), [], 10_000);
  const items = found.answer?.items;
  return html`<div class="head"><h1 tabindex="-1">${t("rules")}</h1>${found.answer && html`<p class="quiet">${t("rules.group", {group: found.answer.group})}</p>`}</div>
    <${Unlisted} version=${subject} items=${items} />
    <div class="stack">
      <${OfCamera} />
      ${found.error && !items && html`<${Failed} error=${found.error} retry=${found.again} />`}
      ${!items && !found.error && html`<${Loading} lines="2" shape="wide" />`}
      ${items?.length === 0 && html`<${Empty} title=${t("rules.empty")}>${t("rules.empty.how")}<//>`}
      ${items?.map((each) => html`<${Version} key=${each.version + each.since} version=${each} isOpen=${subject ? each.version === subject : each.holds} />`)}
    </div>`;
}
