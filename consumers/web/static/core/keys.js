// Single keys, for those who want them: they can be switched off, as software that types for somebody may hit them.
import {useEffect, useRef} from "../vendor/htm-preact.js";
import {store, stored} from "./i18n.js";
import {Signal} from "./signal.js";

export const areOn = new Signal(stored("keys") !== "off");
areOn.watch((value) => store("keys", value ? null : "off"));

const TYPED_INTO = "input:not([type=checkbox]), select, textarea, [contenteditable]";

/** Call what belongs to a key that is pressed outside of fields; `actions` by `event.key`. */
export function useKeys(actions) {
  const newest = useRef(actions);
  newest.current = actions;
  useEffect(() => {
    const pressed = (event) => {
      if (!areOn.value || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPED_INTO)) return;
      // Buttons are pressed with it.
      if (event.key === " " && event.target.closest?.("button, summary, video, input")) return;
      const action = newest.current[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
