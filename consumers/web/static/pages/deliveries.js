// Messages to channels, and what became of them.
import {html, useEffect, useState} from "../vendor/htm-preact.js";
import {get} from "../core/api.js";
import {number, t, word} from "../core/i18n.js";
import {address, route, setParameters} from "../core/route.js";
import {useSignal} from "../core/signal.js";
import {Choice, Chip, Empty, Failed, Field, Loading, Moment, Table, useAnswer} from "../core/ui.js";

const STATES = ["", "queued", "sending", "retrying", "sent", "failed", "held", "acknowledged"];
const KINDS = ["", "event", "condition", "summary", "test"];
const CHIPS = {sent: "ok", acknowledged: "ok", failed: "bad", retrying: "warn", held: "warn"};
const PAGE = 100;

function about(entry) {
  const data = entry.message.data ?? {};
  if (entry.event ?? data.event) return html`<a href=${address("event", data.event)}>${data.camera} · ${data.label}</a>`;
  if (entry.kind === "condition") return `${data.subject ?? ""} ${data.name ?? ""} ${data.condition ?? data.state ?? ""}`;
  if (entry.kind === "summary") return t("deliveries.covers", {count: number(entry.covers.length)});
  return entry.message.type ?? "";
}

/** Why, in a word that pages know, and what the other side said. */
const because = (entry) => [entry.why && word("refusal", entry.why), entry.detail].filter(Boolean).join(": ");

const columns = () => [
  [t("deliveries.time"), (each) => html`<${Moment} time=${Date.parse(each.time)} />`],
  [t("deliveries.channel"), (each) => html`<b>${each.channel}</b>`],
  [t("event.state"), (each) => html`<${Chip} kind=${CHIPS[each.state] ?? "plain"}>${word("delivery", each.state)}<//> ${each.attempt > 1 && html`<span class="quiet">${t("deliveries.attempt", {n: each.attempt})}</span>`}`],
  [t("deliveries.kind"), (each) => word("kind", each.kind)],
  [t("deliveries.about"), about],
  [t("why.reason"), (each) => !because(each) && !each.due ? "–" : html`${because(each)}${each.due && html` <span class="quiet">${t("deliveries.due")} <${Moment} time=${Date.parse(each.due)} /></span>`}`],
];

export function Deliveries() {
  const {parameters} = useSignal(route);
  const filters = {state: parameters.state, kind: parameters.kind, channel: parameters.channel};
  const key = JSON.stringify(filters);
  const isFiltered = Object.values(filters).some(Boolean);
  const found = useAnswer(() => get("/deliveries", {...filters, limit: PAGE}), [key], 5_000);
  const [older, setOlder] = useState({items: [], next: undefined, error: null});
  useEffect(() => setOlder({items: [], next: undefined, error: null}), [key]);
  const next = older.next === undefined ? found.answer?.next : older.next;
  const more = async () => {
    try {
      const page = await get("/deliveries", {...filters, limit: PAGE, cursor: next});
      setOlder((before) => ({items: [...before.items, ...page.items], next: page.next, error: null}));
    } catch (error) {
      setOlder((before) => ({...before, error}));
    }
  };
  const items = found.answer && [...new Map([...older.items, ...found.answer.items].map((each) => [each.delivery, each])).values()].sort((one, other) => (one.time < other.time ? 1 : -1));
  const options = (name, values) => values.map((each) => [each, each ? word(name, each) : t("all")]);
  return html`<div class="head"><h1 tabindex="-1">${t("deliveries")}</h1><div class="tools">
      <${Choice} label=${t("event.state")} value=${parameters.state ?? ""} options=${options("delivery", STATES)} onChange=${(state) => setParameters({state})} />
      <${Choice} label=${t("deliveries.kind")} value=${parameters.kind ?? ""} options=${options("kind", KINDS)} onChange=${(kind) => setParameters({kind})} />
      <${Field} label=${t("deliveries.channel")} value=${parameters.channel ?? ""} onChange=${(channel) => setParameters({channel})} />
    </div></div>
    ${found.error && !items && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${!items && !found.error && html`<${Loading} lines="3" shape="wide" />`}
    ${items?.length === 0 && html`<${Empty} title=${t("deliveries.empty")}>${isFiltered ? t("empty.filtered") : t("deliveries.empty.how")}<//>`}
    ${items?.length > 0 && html`<${Table} caption=${t("deliveries")} columns=${columns()} rows=${items} id=${(each) => each.delivery} />`}
    ${older.error && html`<${Failed} error=${older.error} />`}
    ${next && items?.length > 0 && html`<p class="end"><button onClick=${more}>${t("more")}</button></p>`}`;
}
