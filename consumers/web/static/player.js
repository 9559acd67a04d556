// Plays a playlist in a video element, for as long as it takes: what breaks off is tried again.
//
//   loading ──▶ playing ◀──▶ stalled        nothing new comes
//      ▲           │
//      └─ backoff ─┴──▶ offline             the server, the broker or the camera is away; `reason` says it
//                  └──▶ not-playable        the browser cannot; looked at again once in a while
//
// What was shown last stays in the element meanwhile: whoever shows it says that it is old.

import "./vendor/hls.min.js";
import {refusal} from "./refusal.js";

const {Hls} = globalThis;

const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
// Another codec may come, also where nobody reloads the page.
const RETRY_UNPLAYABLE_MS = 60000;
const STALLED_MS = 3000;
const LOOK_MS = 500;
const BACK_SECONDS = 10;
const BEHIND_SECONDS = 3;
// A broken segment is passed over in this way so often; beyond that the player is built anew.
const MOST_RECOVERIES = 3;

const CODEC_ERRORS = new Set([
  "manifestIncompatibleCodecsError",
  "bufferAddCodecError",
  "bufferIncompatibleCodecsError",
]);

const once = {maxTimeToFirstByteMs: 10000, maxLoadTimeMs: 20000, timeoutRetry: null, errorRetry: null};
const again = {
  ...once,
  timeoutRetry: {maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0},
  errorRetry: {maxNumRetry: 3, retryDelayMs: 500, maxRetryDelayMs: 4000},
};

function configuration(live) {
  return {
    // A worker would be made of a blob, which a strict content security policy refuses.
    enableWorker: false,
    // Or nothing is caught up with.
    lowLatencyMode: true,
    // Bounded, however long a tab stays open.
    backBufferLength: live ? BACK_SECONDS : 60,
    maxBufferLength: 20,
    maxMaxBufferLength: live ? 30 : 60,
    maxBufferSize: 32 * 1024 * 1024,
    liveSyncDuration: BEHIND_SECONDS,
    liveMaxLatencyDuration: 20,
    // Picture only: a little faster is not noticed, and brings back what a pause has cost.
    maxLiveSyncPlaybackRate: 1.1,
    liveDurationInfinity: true,
    fragLoadPolicy: {default: again},
    playlistLoadPolicy: {default: again},
    manifestLoadPolicy: {default: once},
  };
}

/**
 * Play a playlist.
 *
 * `url`: its address, or a function that returns it, or a promise of it: asked each time that playing begins (anew), as
 * where the token in it expires. `onState(state, reason, told)`: told `loading`, `playing`, `stalled`, `offline` or
 * `not-playable`, and why, in words or null; and those for other languages, as `reason` of core/i18n.js has it, or
 * null. `live: false`: a recording; it does not start by itself.
 *
 * Returns `destroy()`, and `time`: when what is shown was recorded, in milliseconds since the Unix epoch; null where
 * that is not known.
 */
export function mount(video, {url, onState = () => {}, live = true}) {
  let hls = null;
  let isOver = false;
  let failures = 0;
  let recoveries = 0;
  let timer = 0;
  let said = "";
  let movedAt = performance.now();
  let shown = -1;
  let resumeAt = null;
  let isLongGroup = false;
  const abort = new AbortController();

  function tell(state, reason = null, told = null) {
    if (isOver || said === `${state} ${reason}`) return;
    said = `${state} ${reason}`;
    onState(state, reason, told);
  }

  function close() {
    hls?.destroy();
    hls = null;
  }

  /** Try again later, from where it was. */
  function fail(state, reason, told) {
    if (isOver) return;
    clearTimeout(timer);
    hls?.stopLoad();
    tell(state, reason, told);
    const wait = state === "not-playable" ? RETRY_UNPLAYABLE_MS : RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
    failures += 1;
    // Not all of a wall at once.
    timer = setTimeout(begin, wait * (0.75 + Math.random() / 2));
  }

  async function begin() {
    if (isOver) return;
    if (!said) tell("loading");
    let address;
    try {
      address = typeof url === "function" ? await url() : url;
      // Asked first, since the player does not tell what the server says.
      const response = await fetch(address, {signal: abort.signal, cache: "no-store"});
      if (!response.ok) {
        const {kind, reason, code} = await refusal(response);
        return fail(kind === "not-playable" ? "not-playable" : "offline", reason, code);
      }
    } catch (error) {
      return fail("offline", error.message);
    }
    if (!isOver) play(address);
    return undefined;
  }

  function play(address) {
    if (!live && shown > 0) resumeAt = video.currentTime;
    close();
    tell("loading");
    shown = -1;
    recoveries = 0;
    movedAt = performance.now();
    if (!Hls.isSupported()) {
      if (!video.canPlayType("application/vnd.apple.mpegurl")) return fail("not-playable", "this browser plays no playlists", "no-playlists");
      video.src = address;
      start();
      return undefined;
    }
    hls = new Hls(configuration(live));
    hls.on(Hls.Events.ERROR, (_, data) => mend(data));
    hls.on(Hls.Events.MANIFEST_PARSED, start);
    if (live) hls.on(Hls.Events.LEVEL_UPDATED, (_, {details}) => keepGroup(details));
    hls.loadSource(address);
    hls.attachMedia(video);
    return undefined;
  }

  function start() {
    if (resumeAt !== null) video.currentTime = resumeAt;
    resumeAt = null;
    // A browser that lets nothing begin by itself says so; its own controls begin it.
    if (live) video.play().catch(() => {});
  }

  /**
   * Of long groups of pictures, keep what the newest picture needs: all back to where its group begins.
   *
   * Else what is behind would be let go of as it comes, all that needs it with it, and be asked for again at once.
   */
  function keepGroup({startTimeOffset, totalduration}) {
    isLongGroup = startTimeOffset !== null;
    if (!isLongGroup) return;
    hls.config.backBufferLength = Math.max(BACK_SECONDS, totalduration);
    // Nothing can begin where that would go.
    hls.config.liveMaxLatencyDuration = 3600;
  }

  /** Go to the newest picture of a long group, once all that it needs is there. */
  function catchUp() {
    const {buffered} = video;
    if (!isLongGroup || !buffered.length) return;
    const newest = buffered.end(buffered.length - 1);
    if (newest - video.currentTime > 2 * BEHIND_SECONDS && buffered.start(buffered.length - 1) <= video.currentTime) {
      video.currentTime = newest - BEHIND_SECONDS;
    }
  }

  function mend(data) {
    if (CODEC_ERRORS.has(data.details)) return fail("not-playable", `this browser cannot play ${codec(data)}`, {code: "cannot-play", values: {codec: codec(data)}});
    if (!data.fatal) return undefined;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && recoveries < MOST_RECOVERIES) {
      recoveries += 1;
      return hls.recoverMediaError();
    }
    return fail("offline", data.response?.code ? `${data.response.code} ${data.response.text ?? ""}`.trim() : data.details);
  }

  function codec(data) {
    return data.mimeType ?? hls?.levels?.[0]?.videoCodec ?? "this codec";
  }

  /** See whether the picture moves. */
  function look() {
    const now = performance.now();
    if (live) catchUp();
    if (video.currentTime !== shown) {
      if (shown >= 0 && !video.seeking) {
        failures = 0;
        tell("playing");
      }
      [shown, movedAt] = [video.currentTime, now];
    } else if (said.startsWith("playing") && !video.paused && !video.ended && now - movedAt > STALLED_MS) {
      tell("stalled", "nothing new comes", "nothing-new");
    } else if (!live && video.readyState >= 2 && said.startsWith("loading")) {
      // A recording waits to be started.
      tell("playing");
    }
  }

  function failed() {
    // Without hls.js, and where that gives no reason of its own.
    if (!hls && video.error) fail("offline", video.error.message);
  }

  video.addEventListener("error", failed);
  const watch = setInterval(look, LOOK_MS);
  begin();

  return {
    destroy() {
      if (isOver) return;
      isOver = true;
      abort.abort();
      clearTimeout(timer);
      clearInterval(watch);
      video.removeEventListener("error", failed);
      close();
      video.removeAttribute("src");
      video.load();
    },
    get time() {
      const start = video.getStartDate?.();
      const date = hls ? hls.playingDate : start && new Date(start.getTime() + video.currentTime * 1000);
      return date && !Number.isNaN(date.getTime()) ? date.getTime() : null;
    },
  };
}
