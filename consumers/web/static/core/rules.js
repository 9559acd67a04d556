// What held scores back, by the rules of a label of a camera (docs/rules.md).

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

function days(text) {
  return text.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map((each) => DAYS.indexOf(each));
    return from <= to ? DAYS.slice(from, to + 1) : [...DAYS.slice(from), ...DAYS.slice(0, to + 1)];
  });
}

const minutes = (text) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3, 5));

/** Whether a time lies within a stretch such as "mon-fri 22:00-06:00"; `at`: day and minute in the schedule's zone. */
function isWithin(stretch, at) {
  const parts = stretch.trim().toLowerCase().split(/\s+/);
  const hours = parts.find((each) => each.includes(":"));
  const named = parts.find((each) => !each.includes(":"));
  const wanted = named ? days(named) : DAYS;
  if (!hours) return wanted.includes(at.day);
  const [from, to] = hours.split("-").map(minutes);
  if (from < to) return wanted.includes(at.day) && at.minute >= from && at.minute < to;
  const yesterday = DAYS[(DAYS.indexOf(at.day) + 6) % 7];
  return (wanted.includes(at.day) && at.minute >= from) || (wanted.includes(yesterday) && at.minute < to);
}

/** Whether a schedule lets events begin at a time, in milliseconds. */
export function isScheduled(settings, time) {
  if (!settings.schedule?.length) return true;
  const parts = new Intl.DateTimeFormat("en-GB", {timeZone: settings.time_zone, weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23"}).formatToParts(time);
  const of = (type) => parts.find((each) => each.type === type).value;
  const at = {day: of("weekday").toLowerCase(), minute: Number(of("hour")) * 60 + Number(of("minute"))};
  return settings.schedule.some((stretch) => isWithin(stretch, at));
}

function smoothed(windows, label, count) {
  return windows.map((_, index) => {
    const last = windows.slice(Math.max(0, index - count + 1), index + 1).map((each) => each.scores[label] ?? 0);
    return last.reduce((sum, each) => sum + each, 0) / last.length;
  });
}

/**
 * Why nothing was reported, or that something was, stretch by stretch, oldest first.
 *
 * windows: as the API lists them, of one model. settings: a rule as the API lists it. events: of this label. Returns
 * [{from, to (milliseconds), why, peak, seconds}]; why: event, gap, below, short, disabled, schedule, cooldown,
 * forgotten, withheld (by an event that is forgotten), unknown. forgotten: stretches {from, to (milliseconds), …} of which nothing is told; `forgotten` of a reason is the one it is of.
 */
export function reasons(windows, label, settings, events, forgotten = []) {
  const scores = smoothed(windows, label, settings.smoothing);
  const found = [];
  const spans = events.map((each) => [Date.parse(each.start), Date.parse(each.end)]);
  let before = null;
  let run = null;
  const close = () => {
    if (!run) return;
    run.seconds = (run.to - run.from) / 1000;
    run.why = run.isHigh ? whyNot(run, settings, spans) : "below";
    found.push(run);
    run = null;
  };
  windows.forEach((each, index) => {
    const [from, to] = [Date.parse(each.start), Date.parse(each.end)];
    if (before !== null && from > before + (to - from)) {
      close();
      found.push({from: before, to: from, why: "gap", peak: null, seconds: (from - before) / 1000});
    }
    const isHigh = run?.isHigh ? scores[index] >= (settings.end ?? settings.start) : scores[index] >= settings.start;
    if (run?.isHigh !== isHigh) {
      close();
      run = {from, to, isHigh, peak: 0};
    }
    run.to = to;
    run.peak = Math.max(run.peak, scores[index]);
    before = to;
  });
  close();
  return withForgotten(found.map(({isHigh, ...each}) => each), windows, forgotten, settings.cooldown_seconds * 1000);
}

/**
 * Gaps that somebody had forgotten, and what was high beside them: an event that reaches into such a stretch is not told of
 * either, and holds others back for its cooldown (milliseconds).
 */
function withForgotten(found, windows, forgotten, cooldown) {
  if (!forgotten.length) return found;
  const [first, last] = [Date.parse(windows[0].start), Date.parse(windows.at(-1).end)];
  const step = Date.parse(windows[0].end) - first;
  const near = (each, before, after) => forgotten.find((span) => span.from < each.to + before && span.to > each.from - after);
  const told = found.map((each) => {
    if (each.why === "unknown" && near(each, step, step + cooldown)) return {...each, why: "withheld"};
    const span = each.why === "gap" && near(each, 0, 0);
    return span ? {...each, why: "forgotten", forgotten: span} : each;
  });
  const beyond = forgotten.filter((each) => each.to <= first || each.from >= last);
  const rows = beyond.map((span) => ({from: span.from, to: span.to, why: "forgotten", peak: null, seconds: (span.to - span.from) / 1000, forgotten: span}));
  return [...told, ...rows].sort((one, other) => one.from - other.from);
}

function whyNot(run, settings, spans) {
  if (spans.some(([from, to]) => from < run.to && to > run.from)) return "event";
  if (settings.enabled === false) return "disabled";
  if (!isScheduled(settings, run.from)) return "schedule";
  if (spans.some(([, to]) => run.from >= to && run.from < to + settings.cooldown_seconds * 1000)) return "cooldown";
  if ((run.to - run.from) / 1000 < settings.min_seconds) return "short";
  return "unknown";
}
