// Texts in the language of who looks, and numbers and times as that one writes them, in that one's zone.
import {TEXTS} from "../texts.js";
import {Signal} from "./signal.js";

const LANGUAGES = Object.keys(TEXTS);

export function stored(name) {
  try {
    return localStorage.getItem(`clipline.${name}`);
  } catch {
    return null;
  }
}

export function store(name, value) {
  try {
    if (value === null) localStorage.removeItem(`clipline.${name}`);
    else localStorage.setItem(`clipline.${name}`, value);
  } catch {
    // It is then for this page only.
  }
}

function first() {
  const wanted = [stored("language"), ...navigator.languages].filter(Boolean).map((each) => each.slice(0, 2));
  return wanted.find((each) => LANGUAGES.includes(each)) ?? "en";
}

export const language = new Signal(first());
document.documentElement.lang = language.value;
language.watch((value) => {
  document.documentElement.lang = value;
  store("language", value);
});

/** The text of a key, `{name}` replaced; the key itself where there is none, so that it is seen. */
export function t(key, values = {}) {
  const text = TEXTS[language.value][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The text of a key for a number of things: that of `key.one` for one. */
export const counted = (key, count, values = {}) => t(count === 1 && `${key}.one` in TEXTS[language.value] ? `${key}.one` : key, {count: number(count), ...values});

/** The text of `key.NAME` for what the API names by a word; the word itself where nobody has written one. */
export const word = (key, name) => TEXTS[language.value][`${key}.${name}`] ?? String(name);

/**
 * What the server says, in the language of who looks; as it says it where nobody has other words for that. `told`: what
 * it says, as a code, or a code and the values in it.
 */
export function reason(text, told = null) {
  const {code, values = {}} = typeof told === "string" ? {code: told} : (told ?? {});
  if (!text || !(`because.${code}` in TEXTS[language.value])) return text ?? "";
  return t(`because.${code}`, values.since ? {...values, time: shortTime(Date.parse(values.since))} : values);
}

/** Whether it is that a service does not answer. */
export const isAway = (told) => told?.code === "away";

const formats = new Map();

function format(kind, options) {
  const key = `${language.value} ${kind} ${JSON.stringify(options)}`;
  // British or American: as the browser has it, where it has that language at all.
  const locale = navigator.languages.find((each) => each.startsWith(language.value)) ?? language.value;
  if (!formats.has(key)) formats.set(key, new Intl[kind](locale, options));
  return formats.get(key);
}

/** A time as parts of it are wanted, see `Intl.DateTimeFormat`. */
export const dated = (options, time) => format("DateTimeFormat", options).format(new Date(time));
const CLOCK = {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"};

export const timeOfDay = (time) => dated(CLOCK, time);
export const day = (time) => dated({weekday: "short", day: "2-digit", month: "short"}, time);
export const wholeTime = (time) =>
  dated({...CLOCK, weekday: "short", day: "2-digit", month: "short", year: "numeric", timeZoneName: "short"}, time);

/** The day where it is another one than today, and the time. */
export function shortTime(time) {
  const isToday = new Date(time).toDateString() === new Date().toDateString();
  return isToday ? timeOfDay(time) : `${day(time)}, ${timeOfDay(time)}`;
}

export const score = (value) =>
  value === null || value === undefined ? "–" : format("NumberFormat", {minimumFractionDigits: 2, maximumFractionDigits: 2}).format(value);
export const number = (value, digits = 0, least = 0) => format("NumberFormat", {minimumFractionDigits: least, maximumFractionDigits: digits}).format(value);

/** "4.2 s", "3 min", "2 h", "5 d". */
export function duration(seconds) {
  if (seconds < 10) return t("unit.s", {n: number(seconds, 1)});
  if (seconds < 120) return t("unit.s", {n: number(seconds)});
  if (seconds < 7200) return t("unit.min", {n: number(seconds / 60)});
  if (seconds < 172800) return t("unit.h", {n: number(seconds / 3600)});
  return t("unit.d", {n: number(seconds / 86400)});
}
