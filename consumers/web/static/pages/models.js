// Models with their figures and cards, and reports of what they did.
import {html} from "../vendor/htm-preact.js";
import {get, session} from "../core/api.js";
import {number, score, t} from "../core/i18n.js";
import {address, route} from "../core/route.js";
import {useSignal} from "../core/signal.js";
import {Chip, Empty, Failed, Loading, Moment, Table, useAnswer} from "../core/ui.js";

// Rounded as cards and tables round: 82.55 is a little less than it reads.
const tenth = (value) => number(Number((value * 100).toFixed(1)), 1, 1);
const range = ({value, low, high}) => (low === null ? t("unit.percent", {n: tenth(value)}) : t("models.range", {value: tenth(value), low: tenth(low), high: tenth(high)}));
/** From 50 to 100 %, in hundredths of the width. */
const place = (value) => Math.min(100, Math.max(0, (value - 0.5) * 200));

/** A figure with its interval, on a line that all models share. */
function Whisker({figure, name, title}) {
  return html`<div class="whisker" title=${title}><span class="quiet">${name}</span>
    <svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true"><rect class="whisker-ground" x="0" y="5" width="100" height="2" />
      ${figure.low !== null && html`<rect class="whisker-range" x=${place(figure.low)} y="3.5" width=${Math.max(0.5, place(figure.high) - place(figure.low))} height="5" />`}
      <rect class="whisker-value" x=${place(figure.value) - 0.5} y="1" width="1" height="10" /></svg>
    <b class="num">${range(figure)}</b></div>`;
}

function Accuracy({model}) {
  if (!model.accuracy && !model.unseen) return html`<p class="quiet">${t("models.unseen.none")}</p>`;
  return html`<div class="whiskers">
    ${model.accuracy && html`<${Whisker} figure=${model.accuracy} name=${t("models.held")} title=${t("models.held.is", {videos: model.videos ?? "–", sources: model.sources ?? "–"})} />`}
    ${model.unseen ? html`<${Whisker} figure=${model.unseen.accuracy} name=${t("models.unseen")} title=${t("models.unseen.is", {videos: model.unseen.clips, sources: model.unseen.sources})} />` : html`<p class="quiet">${t("models.unseen.none")}</p>`}</div>`;
}

const Fact = ({name, children}) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;

function Facts({model}) {
  const clip = {frames: model.clip.frames, width: model.clip.width, height: model.clip.height, spacing: t("unit.s", {n: number(model.clip.spacing_seconds, 2)})};
  return html`<dl class="facts">
    <${Fact} name=${t("models.labels")}>${model.labels.slice(0, 12).join(", ")}${model.labels.length > 12 ? ` … (${model.labels.length})` : ""}<//>
    <${Fact} name=${t("models.clip")}>${t("models.clip.is", clip)}<//>
    <${Fact} name=${t("models.thresholds")}>${model.thresholds.length ? model.thresholds.slice(0, 8).map((each) => html`<span class="block" key=${each.label}>${t("models.threshold", {label: each.label, start: score(each.start), end: score(each.end)})}</span>`) : t("models.thresholds.none")}<//>
    <${Fact} name=${t("models.data")}>${model.data.join(", ") || "–"}${model.sources ? html`<span class="block quiet">${t("models.counted", {videos: model.videos, sources: model.sources})}</span>` : ""}<//>
    <${Fact} name=${t("models.size")}>${t("unit.mb", {n: number(model.megabytes, 1)})}<//>
  </dl>`;
}

function Chips({model}) {
  return html`${model.is_served && html`<${Chip} kind="ok">${t("models.served")}<//>`}
    ${model.workers > 0 && html`<${Chip} kind="plain">${model.workers === 1 ? t("models.worker") : t("models.workers", {count: model.workers})}<//>`}
    ${model.is_shipped && html`<${Chip} kind="plain">${t("models.shipped")}<//>`}`;
}

function Model({model}) {
  return html`<li class="panel model"><div class="head"><h2><a href=${address("models", model.name)}>${model.name}</a></h2><${Chips} model=${model} /></div>
    <${Accuracy} model=${model} /><${Facts} model=${model} /></li>`;
}

const columns = () => [
  [t("fleet.name"), (each) => html`<a href=${each.href} target="_blank" rel="noopener noreferrer">${each.title ?? each.name}</a>${each.title && html` <span class="quiet">${each.name}</span>`}`],
  [t("reports.written"), (each) => html`<${Moment} time=${Date.parse(each.time)} />`],
  [t("models.size"), (each) => t("unit.kb", {n: number(each.bytes / 1e3, each.bytes < 1e4 ? 1 : 0)})],
];

function Reports() {
  const who = useSignal(session);
  const seesAll = who?.cameras === null;
  const found = useAnswer(async () => (seesAll ? get("/reports") : null), [seesAll], 30_000);
  const items = found.answer?.items;
  return html`<section aria-labelledby="reports"><h2 id="reports">${t("reports")}</h2>
    ${!seesAll && html`<p class="quiet">${t("reports.role")}</p>`}
    ${found.error && !items && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${found.answer?.why && html`<p class="note">${t("waiting", {why: found.answer.why})}</p>`}
    ${items?.length === 0 && html`<${Empty} title=${t("reports.none")}>${found.answer.is_named ? t("reports.none.how") : t("reports.unnamed")}<//>`}
    ${items?.length > 0 && html`<${Table} caption=${t("reports")} columns=${columns()} rows=${items} id=${(each) => each.name} />`}
  </section>`;
}

/** Bold, code and the words of links: all that cards use within a line. */
function Words({text}) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)]*\))/).map((part) => {
    if (part.startsWith("**")) return html`<b>${part.slice(2, -2)}</b>`;
    if (part.startsWith("`")) return html`<code>${part.slice(1, -1)}</code>`;
    return part.startsWith("[") ? part.slice(1, part.indexOf("](")) : part;
  });
}

/** A card, as far as cards go: headings, paragraphs, lists, blocks of code. No HTML of theirs gets anywhere. */
function Markdown({text}) {
  const blocks = text.replace(/<!--[\s\S]*?-->/g, "").split(/\n{2,}/).map((each) => each.replace(/\s+$/, "")).filter((each) => each.trim());
  return html`<div class="prose" lang="en">${blocks.map((block, index) => {
    if (/^#{1,6} /.test(block)) return index ? html`<h3 key=${index}><${Words} text=${block.replace(/^#+ /, "")} /></h3>` : null;
    if (/^( {4}|\t)/.test(block)) return html`<pre key=${index}>${block.replace(/^( {4}|\t)/gm, "")}</pre>`;
    if (/^[-*] /.test(block)) return html`<ul key=${index}>${block.split(/\n(?=[-*] )/).map((each) => html`<li key=${each}><${Words} text=${each.slice(2)} /></li>`)}</ul>`;
    return html`<p key=${index}><${Words} text=${block.trim()} /></p>`;
  })}</div>`;
}

const FIGURES = new Set(["low", "high", "videos", "groups"]);

function One({name}) {
  const found = useAnswer(() => get(`/models/${encodeURIComponent(name)}`), [name]);
  const model = found.answer?.model;
  if (found.error?.status === 404) return html`<h1 tabindex="-1">${name}</h1><${Empty} title=${t("models.none", {model: name})}><a href=${address("models")}>${t("models.all")}</a><//>`;
  if (found.error && !model) return html`<h1 tabindex="-1">${name}</h1><${Failed} error=${found.error} retry=${found.again} />`;
  if (!model) return html`<h1 tabindex="-1">${name}</h1><${Loading} lines="2" />`;
  return html`<div class="head"><h1 tabindex="-1">${model.name}</h1><${Chips} model=${model} />
      <div class="tools"><a class="button" href=${address("models")}>${t("models.all")}</a></div></div>
    <div class="event"><div class="event-main">
      <section class="panel" aria-labelledby="card"><h2 id="card">${t("models.card")} <span class="quiet">${found.answer.text ? t("models.card.english") : ""}</span></h2>
        ${found.answer.text ? html`<${Markdown} text=${found.answer.text} />` : html`<p class="quiet">${t("models.card.none")}</p>`}</section>
    </div><div class="event-side">
      <section class="panel" aria-labelledby="accuracy"><h2 id="accuracy">${t("models.accuracy")}</h2><${Accuracy} model=${model} /><p class="quiet">${t("models.axis")}</p></section>
      <section class="panel" aria-labelledby="facts"><h2 id="facts">${t("event.facts")}</h2><${Facts} model=${model} />
        <dl class="facts"><${Fact} name=${t("models.architecture")}><code>${model.architecture}</code><//>
          <${Fact} name=${t("event.id")}><code>${model.id}</code><//>
          <${Fact} name=${t("models.temperature")}>${number(model.temperature, 3)}<//>
          ${model.held_out && html`<${Fact} name=${t("models.heldout")}><span lang="en">${model.held_out}</span><//>`}
          ${model.command && html`<${Fact} name=${t("models.command")}><code>${model.command}</code><//>`}</dl></section>
      <section class="panel" aria-labelledby="figures"><h2 id="figures">${t("models.figures")}</h2>
        <dl class="facts facts-wide">${Object.entries(model.metrics).filter(([key]) => !FIGURES.has(key)).map(([key, value]) => html`<${Fact} key=${key} name=${html`<code>${key}</code>`}><span class="num">${number(value, 4)}</span><//>`)}</dl></section>
    </div></div>`;
}

function All() {
  const found = useAnswer(() => get("/models"), [], 60_000);
  const answer = found.answer;
  return html`<div class="head"><h1 tabindex="-1">${t("models")}</h1>${answer && html`<p class="quiet">${t("models.axis")}</p>`}</div>
    <div class="stack">
      ${found.error && !answer && html`<${Failed} error=${found.error} retry=${found.again} />`}
      ${!answer && !found.error && html`<${Loading} />`}
      ${answer?.notes.map((each) => html`<p class="note" lang="en" key=${each}>${each}</p>`)}
      ${answer?.elsewhere.length > 0 && html`<p class="note">${t("models.elsewhere", {models: answer.elsewhere.join(", ")})}</p>`}
      ${answer && html`<ul class="models" role="list">${[...answer.items].sort((one, other) => other.is_served - one.is_served).map((each) => html`<${Model} key=${each.id} model=${each} />`)}</ul>
        <p class="quiet">${t("models.high")} <span lang="en">${answer.baseline}.</span></p>`}
      <${Reports} />
    </div>`;
}

export function ModelsPage() {
  const {subject} = useSignal(route);
  return subject ? html`<${One} key=${subject} name=${subject} />` : html`<${All} />`;
}
