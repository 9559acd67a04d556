// Plays a camera's fast view, one MP4 that grows, with as little delay as its segments allow.
//
//     segment     ├──────2 s──────┤
//     arrives                     ▼ shown from here on, MARGIN later, so that the next one is there in time
//
// The same states as player.js has, and the same way to try again.

import {refusal} from "./refusal.js";

const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000];
const RETRY_UNPLAYABLE_MS = 60000;
const LOOK_MS = 250;
const STALLED_MS = 1500;
// What is left to be shown when the next segment comes, in seconds.
const MARGIN = 0.35;
// Beyond that it is made up for, a little faster or slower, or at once.
const SLACK = 0.2;
const FASTER = 1.08;
const SLOWER = 0.94;
const JUMP = 4;
// Where the newest keyframe is further behind, what is removed takes all that needs it along.
const BACK_BUFFER = 30;
// The server ends a view of which nothing comes for 30 s.
const SILENT_MS = 40000;
// Pieces that wait for the browser: it is far behind, and begins anew.
const MOST_WAITING = 200;

/**
 * Play a fast view in a video element.
 *
 * `url`: its address. `onState(state, reason, told)`: as of player.js. Returns `destroy()`, `time` as of player.js, and
 * `behind`: seconds of footage that are there and not shown yet.
 */
export function mountFast(video, {url, onState = () => {}}) {
  let isOver = false;
  let run = null;
  let failures = 0;
  let timer = 0;
  let said = "";
  let shown = -1;
  let movedAt = performance.now();
  // Where what is there ends, and how long segments are, in seconds.
  let newest = 0;
  let longest = 2;
  // When something came last; null while nothing is waited for.
  let arrivedAt = null;
  // When the video's own time was 0.
  let zeroAt = null;

  function tell(state, reason = null, told = null) {
    if (isOver || said === `${state} ${reason}`) return;
    said = `${state} ${reason}`;
    onState(state, reason, told);
  }

  function again(state, reason, told) {
    if (isOver) return;
    run?.abort();
    arrivedAt = null;
    clearTimeout(timer);
    if (state) tell(state, reason, told);
    const wait = state === "not-playable" ? RETRY_UNPLAYABLE_MS : RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
    failures += 1;
    timer = setTimeout(begin, wait * (0.75 + Math.random() / 2));
  }

  async function begin() {
    if (isOver) return;
    run = new AbortController();
    const {signal} = run;
    if (!said) tell("loading");
    if (!globalThis.MediaSource) {
      again("not-playable", "this browser plays no pieces of video", "no-pieces");
      return;
    }
    try {
      const response = await fetch(url, {signal, cache: "no-store"});
      if (!response.ok) {
        const {kind, reason, code} = await refusal(response);
        again(kind === "not-playable" ? "not-playable" : "offline", reason, code);
        return;
      }
      const type = response.headers.get("content-type");
      if (!MediaSource.isTypeSupported(type)) {
        again("not-playable", `this browser cannot play ${type}`, {code: "cannot-play", values: {codec: type}});
        return;
      }
      const zero = Date.parse(response.headers.get("clipline-time"));
      zeroAt = Number.isNaN(zero) ? null : zero;
      await play(response, type, signal);
      // It ended in order: the camera has changed its parameters, or an hour is over.
      failures = 0;
      again(null, null);
    } catch (error) {
      if (!signal.aborted) again("offline", error.message);
    }
  }

  async function play(response, type, signal) {
    const source = new MediaSource();
    const address = URL.createObjectURL(source);
    video.src = address;
    try {
      await new Promise((resolve, reject) => {
        source.addEventListener("sourceopen", resolve, {once: true});
        signal.addEventListener("abort", reject, {once: true});
      });
      const buffer = source.addSourceBuffer(type);
      const waiting = [];
      const next = () => {
        if (signal.aborted || source.readyState !== "open" || buffer.updating) return;
        const {buffered} = video;
        const old = video.currentTime - BACK_BUFFER;
        if (buffered.length && buffered.start(0) < old - BACK_BUFFER) buffer.remove(buffered.start(0), old);
        else if (waiting.length) buffer.appendBuffer(waiting.shift());
        else follow();
      };
      buffer.addEventListener("updateend", next);
      arrivedAt = performance.now();
      for await (const piece of pieces(response.body, signal)) {
        arrivedAt = performance.now();
        waiting.push(piece);
        if (waiting.length > MOST_WAITING) throw new Error("this browser does not keep up");
        next();
      }
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  /** Something new is there: show it MARGIN after what came before, neither later nor sooner. */
  function follow() {
    const {buffered} = video;
    if (!buffered.length) return;
    const last = buffered.length - 1;
    const [start, end] = [buffered.start(last), buffered.end(last)];
    const isFirst = newest === 0;
    if (end > newest) {
      // What was left just before this one came.
      const left = newest - video.currentTime;
      if (!isFirst) {
        longest = Math.max(0.2, Math.min(4, end - newest));
        video.playbackRate = left > MARGIN + SLACK ? FASTER : left < MARGIN - SLACK ? SLOWER : 1;
      }
      newest = end;
    }
    if (video.currentTime < start || end - video.currentTime > JUMP + longest) {
      video.currentTime = Math.max(start, end - longest - MARGIN);
    }
    if (!video.paused) return;
    // A browser that lets nothing begin by itself says so.
    const play = () => isOver || video.play().catch(() => {});
    if (isFirst) setTimeout(play, MARGIN * 1000);
    else play();
  }

  function look() {
    const now = performance.now();
    // A connection that is gone without a word is not heard of.
    if (arrivedAt !== null && now - arrivedAt > SILENT_MS) {
      arrivedAt = null;
      again("offline", "nothing comes", "no-data");
    }
    if (video.currentTime !== shown) {
      if (shown >= 0 && !video.seeking) {
        failures = 0;
        tell("playing");
      }
      [shown, movedAt] = [video.currentTime, now];
    } else if (said.startsWith("playing") && now - movedAt > STALLED_MS) {
      tell("stalled", "nothing new comes", "nothing-new");
    }
  }

  function failed() {
    newest = 0;
    if (video.error) again("offline", video.error.message);
  }

  function emptied() {
    newest = 0;
  }

  video.addEventListener("error", failed);
  video.addEventListener("emptied", emptied);
  const watch = setInterval(look, LOOK_MS);
  begin();

  return {
    destroy() {
      if (isOver) return;
      isOver = true;
      run?.abort();
      clearTimeout(timer);
      clearInterval(watch);
      video.removeEventListener("error", failed);
      video.removeEventListener("emptied", emptied);
      video.removeAttribute("src");
      video.load();
    },
    get time() {
      return zeroAt === null || newest === 0 ? null : zeroAt + video.currentTime * 1000;
    },
    get behind() {
      return newest > 0 ? newest - video.currentTime : null;
    },
  };
}

async function* pieces(body, signal) {
  const reader = body.getReader();
  try {
    while (!signal.aborted) {
      const {done, value} = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => null);
  }
}
