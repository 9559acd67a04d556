// The fleet: what reads and classifies cameras, how far each is, and what the server itself waits for.
import {html} from "../vendor/htm-preact.js";
import {get, serverNow} from "../core/api.js";
import {counted, duration, isAway, number, reason, shortTime, t, word} from "../core/i18n.js";
import {cameras, freshness, health, isGivenUp} from "../core/live.js";
import {address} from "../core/route.js";
import {clock, useSignal} from "../core/signal.js";
import {Chip, Empty, Failed, Loading, Moment, picture, Table, typed, useAnswer, Waiting} from "../core/ui.js";

const KINDS = {working: "ok", running: "ok", dead: "bad", ended: "plain"};

/** Agents and workers as they were told of last: {fleet, at (milliseconds)}; while the broker is away nobody tells. */
let last = null;

/** What to show of agents and workers, and of when it is, null where of now. */
function known(answer) {
  if (!isAway(answer.waiting_told)) {
    last = {fleet: answer, at: serverNow()};
    return {fleet: answer, at: null};
  }
  const asBefore = (items) => items.map((each) => ({...each, state: "unknown"}));
  return last ? {fleet: {agents: asBefore(last.fleet.agents), workers: asBefore(last.fleet.workers)}, at: last.at} : {fleet: null, at: null};
}

function megabits(camera) {
  const seconds = (Date.parse(camera.heard) - Date.parse(camera.since)) / 1000;
  return camera.bytes && seconds > 5 ? t("unit.mbit", {n: number((camera.bytes * 8) / 1e6 / seconds, 1)}) : "–";
}

function Cameras() {
  const all = useSignal(cameras);
  useSignal(clock);
  if (!all) return html`<${Loading} lines="1" />`;
  if (!all.length) return html`<${Empty} title=${t("wall.empty")}>${t("wall.empty.how")}<//>`;
  const columns = [
    [t("filter.camera"), (each) => html`<a href=${address("cameras", each.camera)}>${each.camera}</a>`],
    [t("event.state"), (each) => html`<span class="chip chip-state-${freshness(each)}">${word("state", freshness(each))}</span> <span class="quiet">${reason(each.cause ?? each.why, each.code)}${isGivenUp(each) ? ` · ${t("why.given-up")}` : ""}</span>`],
    [t("fleet.since"), (each) => html`<${Moment} time=${Date.parse(each.since)} />`],
    [t("fleet.picture"), (each) => picture(each)],
    [t("fleet.rate"), (each) => (freshness(each) === "live" ? megabits(each) : "–")],
    [t("fleet.behind"), (each) => (each.behind_seconds === null || freshness(each) !== "live" ? "–" : duration(each.behind_seconds))],
    [t("fleet.worker"), (each) => each.worker ?? "–"],
  ];
  return html`<${Table} caption=${t("fleet.cameras")} columns=${columns} rows=${all} id=${(each) => each.camera} />`;
}

function Processes({answer}) {
  const {fleet, at} = known(answer);
  if (!fleet) return html`<p class="note">${t("fleet.unknown")}</p>`;
  const process = (id) => [
    [t("fleet.name"), (each) => html`${each.name ? html`<b>${each.name}</b> ` : ""}${each[id]}`],
    [t("event.state"), (each) => html`<${Chip} kind=${KINDS[each.state]}>${word("process", each.state)}<//>`],
    [t("fleet.heard"), (each) => html`<${Moment} time=${Date.parse(each.heard)} />`],
    [t("fleet.since"), (each) => html`<${Moment} time=${Date.parse(each.started)} />`],
  ];
  const agents = [
    ...process("agent"),
    [t("fleet.cameras"), (each) => t("wall.count", {live: each.live, all: each.cameras})],
    [t("fleet.disk"), (each) => each.disk ?? t("fleet.fine")],
    [t("fleet.spool"), (each) => (each.spooled === null ? "–" : number(each.spooled))],
    [t("fleet.version"), (each) => each.version],
  ];
  const workers = [
    ...process("worker"),
    [t("fleet.cameras"), (each) => html`<span title=${each.cameras.join(", ")}>${each.cameras.length}</span>`],
    [t("fleet.behind"), (each) => (each.behind_seconds === null ? "–" : duration(each.behind_seconds))],
    [t("fleet.lag"), (each) => html`<span class="num">${number(each.lag)}${each.waiting === null ? "" : ` (${number(each.waiting)})`}</span>`],
    [t("fleet.partitions"), (each) => (each.partitions === null ? "–" : each.partitions.join(", ") || "–")],
    [t("fleet.once"), (each) => (each.exactly_once === null ? "–" : t(each.exactly_once ? "fleet.once.exactly" : "fleet.once.least"))],
    [t("fleet.redis"), (each) => (each.redis_behind === null ? "–" : number(each.redis_behind))],
    [t("fleet.lost"), (each) => (each.lost_to_retention ? html`<${Chip} kind="bad">${number(each.lost_to_retention)}<//>` : "0")],
    [t("fleet.waits"), (each) => each.awaited.map((why, index) => reason(why, each.awaited_told[index])).join(", ") || "–"],
    [t("filter.model"), (each) => html`<code>${each.model}</code> ${each.engine}`],
  ];
  return html`
    ${at !== null && html`<p class="note">${t("fleet.before", {time: shortTime(at)})}</p>`}
    <section><h2>${t("fleet.agents")}</h2>${fleet.agents.length ? html`<${Table} caption=${t("fleet.agents")} columns=${agents} rows=${fleet.agents} id=${(each) => each.agent} />` : html`<p class="quiet">${t("fleet.none")}</p>`}</section>
    <section><h2>${t("fleet.workers")}</h2>${fleet.workers.length ? html`<${Table} until=${1199} caption=${t("fleet.workers")} columns=${workers} rows=${fleet.workers} id=${(each) => each.worker} />` : html`<p class="quiet">${t("fleet.none")}</p>`}</section>`;
}

function Health() {
  const known = useSignal(health);
  if (!known) return null;
  const columns = [
    [t("fleet.topics"), (each) => each.topics.join(", ")],
    [t("event.state"), (each) => (each.away ? html`<${Chip} kind="bad">${reason(each.away, each.away_told)}<//>` : each.missing ? html`<${Chip} kind="plain">${t("fleet.missing")}<//>` : html`<${Chip} kind="ok">${t("fleet.read")}<//>`)],
    [t("fleet.unread"), (each) => (each.behind === null ? "–" : number(each.behind))],
    [t("fleet.records"), (each) => number(each.records)],
    [t("fleet.kept"), (each) => (each.kept === null ? "–" : number(each.kept))],
    [t("fleet.left"), (each) => number(each.left_out + (each.dropped ?? 0))],
  ];
  return html`<section><h2>${t("fleet.server")} <span class="quiet">Clipline ${known.version}</span></h2>
    ${known.unreadable > 0 && html`<p class="note">${t("fleet.unreadable", {count: number(known.unreadable)})}</p>`}
    <${Table} caption=${t("fleet.server")} columns=${columns} rows=${Object.values(known.topics)} id=${(each) => each.topics[0]} /></section>`;
}

/** What is wrong, in words; what somebody said of it stands behind it as that one said it. */
function troubleSays({kind, name, seconds, count, names, why, code, told: what}) {
  const told = {name, time: duration(seconds ?? 0), names: names.join(", "), why: reason(why, what ?? code)};
  const text = count === null ? t(`trouble.${kind}`, told) : counted(`trouble.${kind}`, count, told);
  return ["camera_quiet", "camera_given_up"].includes(kind) && why ? `${text} (${told.why})` : typed(text);
}

export function Fleet() {
  const found = useAnswer(() => get("/fleet"), [], 4_000);
  const troubles = found.answer?.troubles ?? [];
  // Where there are words for them only, those are English.
  const problems = troubles.length ? [] : (found.answer?.problems ?? []);
  return html`<div class="head"><h1 tabindex="-1">${t("fleet")}</h1></div>
    <${Waiting} of=${found.answer} />
    ${troubles.length + problems.length > 0 && html`<section class="panel problems"><h2>${t("fleet.problems")}</h2><ul role="list">
      ${troubles.map((each) => html`<li key=${`${each.kind} ${each.name} ${each.names}`}>${troubleSays(each)}</li>`)}
      ${problems.map((each) => html`<li key=${each} lang="en">${each}</li>`)}</ul></section>`}
    ${found.answer && !troubles.length && !problems.length && html`<p class="fine">${t("fleet.well")}</p>`}
    <div class="stack fleet">
      <section><h2>${t("fleet.cameras")}</h2><${Cameras} /></section>
      ${found.error && !found.answer && html`<${Failed} error=${found.error} retry=${found.again} />`}
      ${!found.answer && !found.error && html`<${Loading} lines="1" />`}
      ${found.answer && html`<${Processes} answer=${found.answer} />`}
      <${Health} />
    </div>`;
}
