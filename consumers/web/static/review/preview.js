// Footage within a card, while somebody points at it or stands on it by keys: one at a time, without sound.
import {html, useEffect, useRef, useState} from "../vendor/htm-preact.js";
import {t} from "../core/i18n.js";
import {loadPlayer} from "../core/player.js";
import {Signal, useSignal} from "../core/signal.js";

const WAIT_MS = 300;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** The event that plays. */
const playing = new Signal(null);
let timer = 0;

/** Somebody came to a card: its footage plays in a moment, if they stay. */
export function enter(id) {
  clearTimeout(timer);
  if (still.matches || playing.value === id) return;
  playing.value = null;
  timer = setTimeout(() => (playing.value = id), WAIT_MS);
}

export function leave(id) {
  clearTimeout(timer);
  if (playing.value === id) playing.value = null;
}

/** What a card listens to. A finger that scrolls points at nothing. */
export const listeners = (id) => ({
  onPointerEnter: (event) => event.pointerType === "mouse" && enter(id),
  onPointerLeave: () => leave(id),
  // Focus does not bubble.
  onFocusCapture: () => enter(id),
  onBlurCapture: () => leave(id),
});

function Video({event}) {
  const ref = useRef(null);
  const [isShown, setShown] = useState(false);
  useEffect(() => {
    let isOver = false;
    let player = null;
    const end = () => {
      player?.destroy();
      player = null;
    };
    loadPlayer().then((mount) => {
      if (isOver || !mount) return;
      const url = `/api/v1/events/${encodeURIComponent(event.event)}/evidence.m3u8?lead_seconds=2&tail_seconds=2`;
      player = mount(ref.current, {
        url,
        live: false,
        onState: (state) => {
          if (isOver) return;
          if (state === "playing") {
            setShown(true);
            ref.current.play().catch(() => null);
          } else if (state !== "loading") {
            // There is no footage (any more): the pictures are what there is.
            setShown(false);
            end();
          }
        },
      });
    });
    return () => {
      isOver = true;
      end();
    };
  }, [event.event]);
  return html`<video ref=${ref} class="preview ${isShown ? "preview-on" : ""}" muted loop playsinline disablepictureinpicture tabindex="-1" aria-label=${t("preview.of", {camera: event.camera})}></video>`;
}

export function Preview({event}) {
  const id = useSignal(playing);
  useEffect(() => () => leave(event.event), [event.event]);
  return id === event.event ? html`<${Video} event=${event} />` : null;
}
