// Values that pages watch, and what asks for them again and again.
import {useEffect, useState} from "../vendor/htm-preact.js";

export class Signal {
  #value;
  #watchers = new Set();

  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  set value(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Have `watcher` called with each new value; returns what ends that. */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

export function useSignal(signal) {
  const [, redraw] = useState(0);
  const {value} = signal;
  useEffect(() => {
    const again = () => redraw((count) => count + 1);
    // It is watched from now on, and may have changed since it was drawn.
    if (!Object.is(signal.value, value)) again();
    return signal.watch(again);
  }, [signal]);
  return value;
}

/** Ask again and again, one question at a time, while the page is looked at; returns what ends it. */
export function poll(ask, milliseconds) {
  let timer = 0;
  let isOver = false;
  const again = async () => {
    clearTimeout(timer);
    try {
      if (!document.hidden) await ask();
    } catch {
      // Whoever asks tells what went wrong; here it is only tried again.
    }
    clearTimeout(timer);
    if (!isOver) timer = setTimeout(again, milliseconds);
  };
  const shown = () => document.hidden || again();
  document.addEventListener("visibilitychange", shown);
  again();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", shown);
  };
}

/** Seconds as they pass: what depends on the time is drawn again. */
export const clock = new Signal(Date.now());
setInterval(() => {
  if (!document.hidden) clock.value = Date.now();
}, 1000);
