// What goes on: cameras and health, asked again and again, and reports of events, as they come.
import {awaySince, begin, get, serverNow, session} from "./api.js";
import {poll, Signal} from "./signal.js";

/** So long after its newest video a picture is no longer live: what comes within 10 s has to show. */
const STALE_MS = 8_500;
/** States are told every 5 s and looked at every 2 s. */
const TRUSTED_MS = 8_000;

/** As the API lists them; null: not asked yet. */
export const cameras = new Signal(null);
export const waiting = new Signal(null);
export const health = new Signal(null);
/** Labels that raise events, as far as that is known. */
export const alarming = new Signal(new Set());
/** Whether reports come as they are made. */
export const isStreaming = new Signal(false);

/** gate-2 before gate-10. */
const inOrder = new Intl.Collator(undefined, {numeric: true});

/** By camera: the newest video's time as it was told, and when that was true by the clock of this page. */
const seen = new Map();
const reports = new Set();
let askedAt = 0;

/** Whether a camera's picture is what is there now; else why not: "away", "stale", or its status. */
export function freshness(camera, now = Date.now()) {
  if (awaySince.value !== null || now - askedAt > TRUSTED_MS) return "away";
  if (camera.status !== "live") return camera.status;
  const known = seen.get(camera.camera);
  return known && now - known.at > STALE_MS ? "stale" : "live";
}

/** Whether its agent has given a camera up: nobody tries to read it any more. */
export const isGivenUp = (camera) => camera.over && freshness(camera) === "failed";

/** When the newest video came, by the clock of this page. */
export const newestAt = (camera) => (camera.data && seen.get(camera.camera)?.at) ?? null;

function note(items, now) {
  for (const camera of items) {
    const before = seen.get(camera.camera);
    if (before?.data === camera.data) continue;
    const age = camera.data ? Math.max(0, serverNow() - Date.parse(camera.data)) : STALE_MS + 1;
    // An agent's clock may be wrong: what changes is new. What is seen first may be old.
    const isOld = before ? age > TRUSTED_MS : false;
    seen.set(camera.camera, {data: camera.data, at: now - (isOld ? 0 : age)});
  }
  for (const name of [...seen.keys()]) if (!items.some((each) => each.camera === name)) seen.delete(name);
}

export async function askCameras() {
  const answer = await get("/cameras");
  askedAt = Date.now();
  note(answer.items, askedAt);
  alarm(answer.items.flatMap((each) => each.events));
  const cut = answer.waiting && {waiting: answer.waiting, waiting_told: answer.waiting_told};
  // Whoever watches it is told of what is new only.
  if (cut?.waiting !== waiting.value?.waiting) waiting.value = cut;
  cameras.value = answer.items.sort((one, other) => inOrder.compare(one.camera, other.camera));
}

/** Have `listener` called with each report of an event as it comes; returns what ends that. */
export function onReport(listener) {
  reports.add(listener);
  return () => reports.delete(listener);
}

let source = null;
let retryMs = 1_000;
let timer = 0;

function open() {
  if (source || document.hidden || !session.value) return;
  source = new EventSource("/api/v1/events/stream");
  source.onopen = () => {
    isStreaming.value = true;
    retryMs = 1_000;
  };
  source.onmessage = (message) => {
    if (!message.data) return;
    const report = JSON.parse(message.data);
    alarm([report.label]);
    for (const listener of [...reports]) listener(report);
  };
  source.onerror = () => {
    isStreaming.value = false;
    // The browser comes back by itself, but not where it was refused.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    clearTimeout(timer);
    timer = setTimeout(open, retryMs);
    retryMs = Math.min(retryMs * 2, 30_000);
  };
}

function close() {
  source?.close();
  source = null;
  isStreaming.value = false;
}

function alarm(labels) {
  const fresh = labels.filter((each) => !alarming.value.has(each));
  if (fresh.length) alarming.value = new Set([...alarming.value, ...fresh]);
}

/** Begin; what is not looked at for a while lets go of its stream, as a server has so many only. */
export function start() {
  poll(askCameras, 2_000);
  poll(async () => {
    health.value = await get("/health");
  }, 10_000);
  // Not for those who see some cameras only: what has raised events tells them.
  if (session.value.cameras === null) get("/fleet").then((fleet) => alarm(fleet.workers.flatMap((each) => each.alarms ?? [])), () => null);
  open();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, 30_000);
    else open();
  });
  awaySince.watch((since) => since === null && open());
  // Where sessions end with the server's start, the next answer says so.
  awaySince.watch((since) => since === null && session.value && begin().catch(() => null));
}
