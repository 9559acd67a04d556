// The player, where there is one: it is loaded with the first video.
let loaded = null;

/** `mount` of player.js, or null where it is missing. */
export function loadPlayer() {
  loaded ??= import("../player.js").then(
    (module) => module.mount,
    () => null,
  );
  return loaded;
}

let fast = null;

/** `mountFast` of fast.js. */
export function loadFast() {
  fast ??= import("../fast.js").then(
    (module) => module.mountFast,
    () => null,
  );
  return fast;
}

export const fastUrl = (camera) => `/api/v1/cameras/${encodeURIComponent(camera)}/fast.mp4`;
export const liveUrl = (camera) => `/api/v1/cameras/${encodeURIComponent(camera)}/live.m3u8`;
export const recordedUrl = (camera, from, to) =>
  `/api/v1/cameras/${encodeURIComponent(camera)}/recorded.m3u8?${new URLSearchParams({from, to})}`;
