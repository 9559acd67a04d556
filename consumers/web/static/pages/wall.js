// The wall: all cameras, each with how it is, what was seen last, and its picture while it is on screen.
import {html, useEffect, useMemo, useRef, useState} from "../vendor/htm-preact.js";
import {get} from "../core/api.js";
import {duration, reason, score, shortTime, t, timeOfDay, word} from "../core/i18n.js";
import {alarming, cameras, freshness, isGivenUp, newestAt, waiting} from "../core/live.js";
import {fastUrl, liveUrl, loadFast, loadPlayer} from "../core/player.js";
import {address, route, setParameters} from "../core/route.js";
import {clock, useSignal} from "../core/signal.js";
import {Choice, Empty, Field, Loading, Moment, picture, Trace, Waiting} from "../core/ui.js";

const COLUMNS = ["auto", "1", "2", "3", "4", "6"];
/** Windows that a trace shows. */
const POINTS = 40;
const TRACE_SECONDS = 90;
const SNAPSHOT_MS = 10_000;
/** Of what is not live for a moment the player goes on out of sight, so that a busy machine does not begin all of a wall anew. */
const KEPT_MS = 20_000;
/** Each costs the server a look at the broker. */
const LOOKS_AT_ONCE = 2;

/** By camera; kept while one is on other pages. */
const traces = new Map();
const looks = [];
let looking = 0;

function run() {
  while (looking < LOOKS_AT_ONCE && looks.length) {
    looking += 1;
    looks.shift()().catch(() => null).finally(() => {
      looking -= 1;
      run();
    });
  }
}

/** The scores of the last minute and a half, once; what comes then is in the list of cameras. */
function beginTrace(camera, redraw) {
  if (traces.has(camera.camera)) return;
  traces.set(camera.camera, []);
  looks.push(async () => {
    // What is classified now is as old as classification is behind.
    const to = (camera.data ? Date.parse(camera.data) : Date.now()) - (camera.behind_seconds ?? 0) * 1000;
    const stretch = {from: new Date(to - TRACE_SECONDS * 1000).toISOString(), to: new Date(to + 60_000).toISOString()};
    const found = await get(`/cameras/${encodeURIComponent(camera.camera)}/predictions`, {...stretch, limit: 500});
    const older = found.items.map((each) => ({at: each.id, label: each.label, score: each.scores[each.label]}));
    traces.set(camera.camera, [...older, ...traces.get(camera.camera)].slice(-POINTS));
    redraw();
  });
  run();
}

function extendTrace(camera) {
  const points = traces.get(camera.camera);
  if (!points || camera.label === null || camera.score === null) return;
  const last = points.at(-1);
  if (last && last.heard === camera.heard) return;
  points.push({at: camera.heard, heard: camera.heard, label: camera.label, score: camera.score});
  if (points.length > POINTS) points.shift();
}

function useOnScreen(ref) {
  const [isOn, setOn] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setOn(entries.at(-1).isIntersecting), {rootMargin: "80px"});
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return isOn;
}

/** Whether a camera's player goes on. */
function useKept(state) {
  const liveAt = useRef(-Infinity);
  if (state === "live") liveAt.current = Date.now();
  return state === "live" || ((state === "stale" || state === "away") && Date.now() - liveAt.current < KEPT_MS);
}

/** The live picture; what the player says of itself goes to `onState`. */
function Video({camera, isFast, isShown, onState}) {
  const ref = useRef(null);
  useEffect(() => {
    let isOver = false;
    let player = null;
    onState("loading", null);
    (isFast ? loadFast() : loadPlayer()).then((mount) => {
      if (isOver) return;
      const url = isFast ? fastUrl(camera) : liveUrl(camera);
      if (mount) player = mount(ref.current, {url, live: true, onState: (state, why, told) => isOver || onState(state, why, told)});
      else onState("missing", null);
    });
    return () => {
      isOver = true;
      player?.destroy();
    };
  }, [camera, isFast]);
  return html`<video ref=${ref} class=${isShown ? "" : "kept"} muted playsinline disablepictureinpicture tabindex="-1" aria-label=${t("wall.video", {camera})}></video>`;
}

/**
 * The newest keyframe, and why there is none; asked for again and again, of a camera of which nothing comes until it is there.
 *
 * `isOver`: nothing comes. `data`: when the newest came, which asks anew. `isAway`: nobody would answer.
 */
function useStill(camera, isOver, data = null, isAway = false) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    let isGone = false;
    let isKnown = false;
    let isAsked = false;
    const take = (answer) => {
      isAsked = false;
      isKnown = answer !== null;
      // Where nobody answered, what is there says of when it is.
      if (!isGone && isKnown) setFound(answer);
    };
    const look = () => (isGone ? Promise.resolve() : get(`/cameras/${encodeURIComponent(camera)}/snapshot`).then(take, () => take(null)));
    const ask = () => {
      if (isAway || document.hidden || isAsked || (isOver && isKnown)) return;
      isAsked = true;
      looks.push(look);
      run();
    };
    ask();
    const timer = setInterval(ask, SNAPSHOT_MS);
    return () => {
      isGone = true;
      clearInterval(timer);
    };
  }, [camera, isOver, data, isAway]);
  return found;
}

/** Of a camera of which nothing comes any more: its last picture, in grey, and of when it is; `seenAt`: when it came. */
function Last({camera, state, seenAt, children}) {
  const still = useStill(camera.camera, true, camera.data, state === "away")?.picture;
  const ago = seenAt && state !== "ended" ? duration(Math.max(0, Date.now() - seenAt) / 1000) : "";
  if (!still) {
    return html`<div class="screen-said">${children}${ago && html`<p>${t("wall.newest", {time: timeOfDay(seenAt), ago})}</p>`}</div>`;
  }
  const time = shortTime(Date.parse(still.time));
  return html`<div class="screen-snapshot"><img src=${still.href} width=${still.width} height=${still.height} alt=${t("wall.last.alt", {camera: camera.camera})} />
    <div class="screen-over">${children}</div><p class="screen-time">${ago ? t("wall.last.ago", {time, ago}) : t("wall.last", {time})}</p></div>`;
}

/** Of what this browser does not play: the newest keyframe, and of when it is. */
function Snapshot({camera, why}) {
  const found = useStill(camera, false);
  const still = found?.picture;
  if (!still) {
    return html`<div class="screen-said"><p class="screen-title">${word("player", "not-playable")}</p><p>${why}</p>${found?.why && html`<p class="quiet">${reason(found.why, found.code)}</p>`}</div>`;
  }
  return html`<div class="screen-snapshot"><img src=${still.href} width=${still.width} height=${still.height} alt=${t("wall.snapshot.alt", {camera})} />
    <p class="screen-time" title=${why}>${t("wall.snapshot", {time: timeOfDay(Date.parse(still.time)), codec: still.codec})}</p></div>`;
}

/** The picture of a camera while it is one of now; else why there is none, and since when. */
export function Screen({camera, isOnScreen = true, isFast = false}) {
  const [player, setPlayer] = useState({state: "loading", why: null, told: null});
  const state = freshness(camera);
  const isLive = state === "live";
  const isKept = useKept(state);
  const isPlaying = isLive && player.state === "playing";
  const isUnplayable = isLive && isOnScreen && player.state === "not-playable";
  const isAlarm = isLive && camera.events.length > 0;
  const seenAt = newestAt(camera);
  const isEnded = state === "ended";
  // Of what has never sent anything there is none.
  const hasLast = !isLive && (isEnded || seenAt !== null);
  const said = isEnded ? reason(camera.why ?? t("why.ended"), camera.code) : !isLive ? word("state", state) : word("player", player.state);
  const because = !isLive && !isEnded && (state === camera.status && camera.why ? reason(camera.cause ?? camera.why, camera.code) : t(`why.${state}`));
  return html`<div class="screen">
      ${isOnScreen && isKept && html`<${Video} camera=${camera.camera} isFast=${isFast} isShown=${isLive} onState=${(next, why, told) => setPlayer({state: next, why, told})} />`}
      ${isUnplayable && html`<${Snapshot} camera=${camera.camera} why=${reason(player.why, player.told)} />`}
      ${hasLast && isOnScreen && html`<${Last} camera=${camera} state=${state} seenAt=${seenAt}><p class="screen-title">${said}</p>${because && html`<p>${because}</p>`}${isGivenUp(camera) && html`<p>${t("why.given-up")}</p>`}<//>`}
      ${!hasLast && !isPlaying && !isUnplayable && html`<div class="screen-said">
        <p class="screen-title">${said}</p>
        ${isLive && player.why && html`<p>${reason(player.why, player.told)}</p>`}
        ${because && html`<p>${because}</p>`}
        ${isGivenUp(camera) && html`<p class="quiet">${t("why.given-up")}</p>`}
        ${isLive && html`<p class="quiet">${picture(camera)}</p>`}
      </div>`}
      ${isAlarm && html`<p class="screen-alarm">${camera.events.join(", ")}</p>`}
    </div>`;
}

function Tile({camera}) {
  const ref = useRef(null);
  const [, redraw] = useState(0);
  const isOnScreen = useOnScreen(ref);
  useSignal(clock);
  const state = freshness(camera);
  const isLive = state === "live";
  useEffect(() => {
    if (isOnScreen) beginTrace(camera, () => redraw((count) => count + 1));
  }, [isOnScreen]);
  extendTrace(camera);
  const points = traces.get(camera.camera) ?? [];
  const alarms = useSignal(alarming);
  const isAlarm = isLive && camera.events.length > 0;
  return html`<li class="tile ${isLive ? "" : "tile-stale"} ${isAlarm ? "tile-alarm" : ""}" ref=${ref} data-camera=${camera.camera} data-state=${state}>
    <div class="tile-head">
      <h2 class="name"><a href=${address("cameras", camera.camera)} title=${t("wall.open")}>${camera.camera}</a></h2>
      <span class="chip chip-state-${state}">${word("state", state)}</span>
    </div>
    <${Screen} camera=${camera} isOnScreen=${isOnScreen} />
    <div class="tile-foot">
      <p class="seen">${camera.label ? html`<b>${camera.label}</b> ${score(camera.score)}` : html`<span class="quiet">${t("wall.unclassified")}</span>`}</p>
      ${(camera.label || points.length > 0) && html`<${Trace} points=${points} alarming=${alarms} label=${t("wall.trace", {camera: camera.camera})} />`}
      <p class="lag ${isLive && camera.behind_seconds > 10 ? "lag-high" : ""}" title=${t("wall.lag")}>${camera.behind_seconds === null || !isLive ? "–" : duration(camera.behind_seconds)}</p>
    </div>
    <p class="tile-since">${t("wall.since")} <${Moment} time=${Date.parse(camera.since)} /></p>
  </li>`;
}

function counts(items) {
  const live = items.filter((each) => freshness(each) === "live").length;
  return t("wall.count", {live, all: items.length});
}

export function Wall() {
  const all = useSignal(cameras);
  const cut = useSignal(waiting);
  const {parameters} = useSignal(route);
  useSignal(clock);
  const filter = (parameters.filter ?? "").toLowerCase();
  const columns = COLUMNS.includes(parameters.layout) ? parameters.layout : "auto";
  const shown = useMemo(() => all?.filter((each) => each.camera.toLowerCase().includes(filter)), [all, filter]);
  return html`
    <div class="head">
      <h1 tabindex="-1">${t("wall")}</h1>
      ${all?.length > 0 && html`<p class="quiet">${counts(all)}</p>`}
      <div class="tools">
        <${Field} label=${t("filter.name")} type="search" value=${parameters.filter ?? ""} onInput=${(event) => setParameters({filter: event.target.value})} onChange=${() => null} />
        <${Choice} label=${t("wall.columns")} value=${columns} options=${COLUMNS.map((each) => [each, each === "auto" ? t("wall.auto") : each])} onChange=${(layout) => setParameters({layout: layout === "auto" ? "" : layout})} />
      </div>
    </div>
    <${Waiting} of=${cut} />
    ${!shown && html`<${Loading} />`}
    ${shown && !all.length && html`<${Empty} title=${t("wall.empty")}>${t("wall.empty.how")}<//>`}
    ${shown && all.length > 0 && !shown.length && html`<${Empty} title=${t("wall.none", {filter: parameters.filter})} />`}
    ${shown && html`<ul class="wall wall-${columns}" role="list">${shown.map((each) => html`<${Tile} key=${each.camera} camera=${each} />`)}</ul>`}`;
}
