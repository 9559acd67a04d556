// Reviewing: events as cards, the newest first, those that nobody has judged before the others.
import {html, useEffect, useLayoutEffect, useMemo, useRef, useState} from "../vendor/htm-preact.js";
import {awaySince, may} from "../core/api.js";
import {EventList} from "../core/events.js";
import {duration, score, t, word} from "../core/i18n.js";
import {areOn, useKeys} from "../core/keys.js";
import {alarming, cameras, onReport} from "../core/live.js";
import {address, go, route, setParameters} from "../core/route.js";
import {poll, useSignal} from "../core/signal.js";
import {Choice, Empty, Failed, Field, fromLocal, Loading, Moment, say, Severity, toLocal, VerdictChip, Waiting} from "../core/ui.js";
import {changed, give, undo} from "../core/verdicts.js";
import {Calendar} from "../review/calendar.js";
import {clearMarks, judgeMarked, mark, MarkBar, MarkBox, marked} from "../review/marks.js";
import {listeners, Preview} from "../review/preview.js";

const GAP = 12;
const NARROWEST = 320;
/** Beside the picture, whose height is half its width. */
const TEXT_HEIGHT = 92;
const ROWS_BEYOND = 2;
const REFRESH_MS = 4_000;
const FILTERS = ["camera", "label", "from", "to", "verdict", "model", "min_score"];
const VERDICTS = ["", "unseen", "none", "right", "false", "contested"];

/** Where one was, for when one comes back from an event. */
let place = {key: null, list: null, scroll: 0, selected: null};

function Strip({event, onGone}) {
  const strip = event.pictures?.strip;
  const [broken, setBroken] = useState(null);
  const since = useSignal(awaySince);
  // What did not come while the server was away is asked for again.
  useEffect(() => since === null && setBroken(null), [since]);
  if (strip && broken === strip.href) return html`<div class="strip strip-none"><span>${t("picture.broken")}</span></div>`;
  const failed = () => {
    setBroken(strip.href);
    onGone();
  };
  if (!strip) {
    const missing = event.pictures?.missing?.strip;
    return html`<div class="strip strip-none"><span>${missing ? t("picture.missing", {why: missing.detail}) : t("picture.none")}</span></div>`;
  }
  return html`<img class="strip" src=${strip.href} width=${strip.width} height=${strip.height} loading="lazy" decoding="async"
    alt=${t("picture.strip", {count: strip.frames.length})} onError=${failed} />`;
}

function Card({list, event, isSelected, index, count, onSelect, onGone}) {
  const judge = (answer) => (click) => {
    click.stopPropagation();
    give(event, answer);
  };
  return html`<div role="listitem" class="card ${isSelected ? "card-selected" : ""} ${event.verdict ? "card-judged" : ""}" aria-setsize=${count} aria-posinset=${index + 1} data-event=${event.event} onClick=${onSelect} ...${listeners(event.event)}>
    <a class="card-picture" href=${address("event", event.event)} tabindex="-1" aria-hidden="true"><${Strip} event=${event} onGone=${onGone} /><${Preview} event=${event} /></a>
    <${MarkBox} list=${list} event=${event} />
    <div class="card-text">
      <h2><a class="card-link" href=${address("event", event.event)} onFocus=${onSelect}>${event.camera} <span class="quiet">·</span> ${event.label}</a></h2>
      <span class="num card-score" title=${t("score.peak")}>${score(event.peak_score)}</span>
      <p class="quiet"><${Moment} time=${Date.parse(event.start)} /> · ${event.state === "ended" ? duration(event.seconds) : t("event.on")}</p>
      <div class="card-judge">
        <span class="pair">${event.verdict ? html`<${VerdictChip} verdict=${event.verdict} />` : html`<${Severity} severity=${event.severity} />`}
          ${event.escalated && html`<span class="chip chip-alert">${t("event.escalated")}</span>`}</span>
        ${may("operator") && html`<span class="pair">
          <button onClick=${judge("right")} aria-pressed=${event.verdict === "right"} title=${t("verdict.right.key")}>${t("verdict.right")}</button>
          <button onClick=${judge("false")} aria-pressed=${event.verdict === "false"} title=${t("verdict.false.key")}>${t("verdict.false")}</button>
        </span>`}
      </div>
    </div>
  </div>`;
}

/** Columns and height of a row, by the width that there is. */
function layout(width) {
  const columns = Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)));
  const cardWidth = (width - GAP * (columns - 1)) / columns;
  return {columns, rowHeight: Math.round(cardWidth / 2) + TEXT_HEIGHT + GAP};
}

/** The rows that are on screen, and some beyond. */
function useWindow(ref, count) {
  const [range, setRange] = useState({columns: 1, rowHeight: 300, first: 0, last: 6});
  const look = useRef(null);
  look.current = () => {
    if (!ref.current) return;
    const box = ref.current.getBoundingClientRect();
    const {columns, rowHeight} = layout(box.width);
    const rows = Math.ceil(count / columns);
    const top = Math.max(0, Math.floor(-box.top / rowHeight) - ROWS_BEYOND);
    const first = Math.min(top, Math.max(0, rows - 1));
    const last = Math.min(rows, Math.ceil((innerHeight - box.top) / rowHeight) + ROWS_BEYOND);
    setRange((before) =>
      before.columns === columns && before.rowHeight === rowHeight && before.first === first && before.last === last
        ? before
        : {columns, rowHeight, first, last},
    );
  };
  useLayoutEffect(() => look.current(), [count]);
  useEffect(() => {
    let frame = 0;
    const later = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => look.current());
    };
    addEventListener("scroll", later, {passive: true});
    const observer = new ResizeObserver(later);
    observer.observe(ref.current);
    return () => {
      removeEventListener("scroll", later);
      observer.disconnect();
      cancelAnimationFrame(frame);
    };
  }, []);
  return range;
}

function Cards({list, selected, setSelected}) {
  const ref = useRef(null);
  useSignal(list.version);
  const count = list.items.length;
  const {columns, rowHeight, first, last} = useWindow(ref, count);
  const rows = Math.ceil(count / columns);
  const from = first * columns;
  const to = Math.min(count, last * columns);
  list.inView = list.items.slice(from, to).map((each) => each.event);
  const gone = useRef(new Set());
  useEffect(() => {
    if (to + columns * 4 >= count && !list.error) list.more();
  }, [to, count, columns, list.version.value]);
  const renew = (event) => () => {
    const href = event.pictures?.strip?.href;
    if (gone.current.has(href)) return list.put({event: event.event, pictures: {missing: {strip: {detail: t("picture.gone")}}}});
    gone.current.add(href);
    return list.renew(event.event).catch(() => null);
  };
  const focusAt = (index) => {
    const box = ref.current.getBoundingClientRect();
    const top = box.top + Math.floor(index / columns) * rowHeight;
    const above = document.querySelector(".top").offsetHeight + GAP;
    if (top < above || top + rowHeight > innerHeight) scrollTo({top: scrollY + top - above});
    setSelected(list.items[index].event);
    // It is drawn once it is on screen.
    requestAnimationFrame(() => requestAnimationFrame(() => ref.current?.querySelector(".card-selected .card-link")?.focus({preventScroll: true})));
  };
  const step = (by) => () => {
    // Keys come faster than pages are drawn.
    const now = list.indexOf(place.selected);
    const next = Math.min(count - 1, Math.max(0, now < 0 ? 0 : now + by));
    if (count) focusAt(next);
  };
  const judge = (answer) => () => {
    if (marked.value.size) return judgeMarked(list, answer);
    const event = list.find(place.selected);
    return event && give(event, answer);
  };
  const select = (isRange) => () => place.selected && may("operator") && mark(list, place.selected, isRange);
  useKeys({
    x: select(false),
    X: select(true),
    Escape: clearMarks,
    j: step(1),
    k: step(-1),
    " ": () => place.selected && go("event", place.selected),
    y: judge("right"),
    n: judge("false"),
    z: undo,
  });
  const shown = [];
  for (let row = first; row * columns < to; row += 1) {
    shown.push(html`<div class="row row-${Math.min(columns, 6)}" role="presentation" key=${row} style=${{top: `${row * rowHeight}px`, height: `${rowHeight - GAP}px`, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`}}>
      ${list.items.slice(row * columns, (row + 1) * columns).map((event, at) => html`<${Card} key=${event.event} list=${list} event=${event} index=${row * columns + at} count=${list.isDone ? count : -1}
        isSelected=${event.event === selected} onSelect=${() => setSelected(event.event)} onGone=${renew(event)} />`)}</div>`);
  }
  return html`<div ref=${ref} class="cards" role="list" aria-label=${t("review.list")} style=${{height: `${rows * rowHeight}px`}}>${shown}</div>
    ${list.isLoading && html`<${Loading} lines=${count ? 3 : 8} />`}
    ${list.error && html`<${Failed} error=${list.error} retry=${() => list.more()} />`}
    ${list.isDone && count > 0 && html`<p class="end quiet">${t("review.end", {count})}</p>`}`;
}

function Filters({parameters}) {
  const all = useSignal(cameras) ?? [];
  const labels = useSignal(alarming);
  const set = (name) => (value) => setParameters({[name]: value});
  const time = (name) => (value) => setParameters({[name]: value && fromLocal(value)});
  const used = FILTERS.filter((name) => parameters[name]).length;
  return html`<details class="filters panel" open=${used > 0}>
    <summary>${t("filters")}${used > 0 && html` <span class="chip">${used}</span>`}</summary>
    <div class="filters-in">
      <${Field} label=${t("filter.camera")} value=${parameters.camera ?? ""} onChange=${set("camera")} list="cameras" placeholder="gate*" />
      <datalist id="cameras">${all.map((each) => html`<option value=${each.camera} key=${each.camera} />`)}</datalist>
      <${Field} label=${t("filter.label")} value=${parameters.label ?? ""} onChange=${set("label")} list="labels" />
      <datalist id="labels">${[...labels].map((each) => html`<option value=${each} key=${each} />`)}</datalist>
      <${Field} label=${t("filter.from")} type="datetime-local" step="1" value=${parameters.from ? toLocal(parameters.from) : ""} onChange=${time("from")} />
      <${Field} label=${t("filter.to")} type="datetime-local" step="1" value=${parameters.to ? toLocal(parameters.to) : ""} onChange=${time("to")} />
      <${Choice} label=${t("filter.verdict")} value=${parameters.verdict ?? ""} options=${VERDICTS.map((each) => [each, each ? word("verdict", each) : t("verdict.first")])} onChange=${set("verdict")} />
      <${Field} label=${t("filter.model")} value=${parameters.model ?? ""} onChange=${set("model")} />
      <${Field} label=${t("filter.score")} type="number" min="0" max="1" step="0.05" value=${parameters.min_score ?? ""} onChange=${set("min_score")} />
      <button onClick=${() => setParameters(Object.fromEntries(FILTERS.map((name) => [name, ""])))} disabled=${!used}>${t("filter.clear")}</button>
    </div>
  </details>`;
}

function KeyHelp() {
  const isOn = useSignal(areOn);
  const keys = [["j", "k"], ["space"], ["y"], ["n"], ["x"], ["Escape"], ["z"]];
  const [isOpen, setOpen] = useState(false);
  const ref = useRef(null);
  useEffect(() => {
    if (!isOpen) return undefined;
    const close = () => (ref.current.open = false);
    const pointed = (event) => ref.current.contains(event.target) || close();
    const pressed = (event) => {
      if (event.key !== "Escape") return;
      // It means this only, and not also what is selected.
      event.stopPropagation();
      close();
      ref.current.querySelector("summary").focus();
    };
    document.addEventListener("pointerdown", pointed);
    document.addEventListener("keydown", pressed);
    return () => {
      document.removeEventListener("pointerdown", pointed);
      document.removeEventListener("keydown", pressed);
    };
  }, [isOpen]);
  return html`<details class="keys" ref=${ref} onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>${t("keys")}</summary><div class="keys-in">
    <dl>${keys.map((each) => html`<div key=${each[0]}><dt>${each.map((key) => html`<kbd key=${key}>${key === "space" ? t("keys.spacebar") : key === "Escape" ? "Esc" : key}</kbd>`)}</dt><dd>${t(`keys.${each[0]}`)}</dd></div>`)}</dl>
    <label><input type="checkbox" checked=${isOn} onChange=${(event) => (areOn.value = event.target.checked)} /> ${t("keys.on")}</label></div>
  </details>`;
}

/** What the address says, as the API takes it. */
function filtersOf(parameters, severity) {
  const filters = {...Object.fromEntries(FILTERS.map((name) => [name, parameters[name] ?? ""])), severity};
  return filters.verdict === "unseen" ? {...filters, verdict: "", unseen_by: "me"} : filters;
}

function useList(filters) {
  const key = JSON.stringify(filters);
  const list = useMemo(() => {
    if (place.key === key) return place.list;
    place.list?.close();
    clearMarks();
    place = {key, list: new EventList(filters), scroll: 0, selected: null};
    place.list.more();
    return place.list;
  }, [key]);
  useEffect(() => {
    const ends = [
      onReport((report) => {
        if (list.put({revision: 0, ...report})) say(t("review.new", {camera: report.camera, label: report.label}));
      }),
      changed.watch((change) => change && list.find(change.event) && list.put(change)),
      poll(() => list.refresh().then(() => list.letGo()), REFRESH_MS),
    ];
    return () => ends.forEach((end) => end());
  }, [list]);
  return list;
}

export function Review() {
  const {parameters} = useSignal(route);
  const severity = parameters.severity === "detection" ? "detection" : "alert";
  const filters = filtersOf(parameters, severity);
  const list = useList(filters);
  const [selected, drawSelected] = useState(place.selected);
  const setSelected = (id) => {
    place.selected = id;
    drawSelected(id);
  };
  useSignal(list.version);
  const newest = list.items[0]?.event;
  const before = useRef({list, newest, count: list.items.length});
  useLayoutEffect(() => {
    // Whoever looks further down goes on looking at the same cards.
    const {newest: first, list: earlier} = before.current;
    const added = earlier === list && first ? list.indexOf(first) : 0;
    const grid = document.querySelector(".cards");
    if (added > 0 && grid && grid.getBoundingClientRect().top < 0) {
      const {columns, rowHeight} = layout(grid.getBoundingClientRect().width);
      scrollBy({top: Math.round(added / columns) * rowHeight});
    }
    before.current = {list, newest};
  }, [newest, list]);
  useEffect(() => {
    if (place.scroll) scrollTo({top: place.scroll});
    return () => (place.scroll = scrollY);
  }, []);
  return html`
    <div class="head">
      <h1 tabindex="-1">${t("review")}</h1>
      <div class="pair" role="group" aria-label=${t("severity")}>
        ${["alert", "detection"].map((each) => html`<button key=${each} aria-pressed=${each === severity} onClick=${() => setParameters({severity: each === "alert" ? "" : each})}>${t(`severity.${each}.all`)}</button>`)}
      </div>
      <div class="tools"><${KeyHelp} /></div>
    </div>
    <div class="choosers"><${Filters} parameters=${parameters} />
      <${Calendar} filters=${{...filters, from: "", to: "", severity: ""}} chosen=${{from: parameters.from ?? "", to: parameters.to ?? ""}} /></div>
    <${Waiting} of=${list} />
    ${list.isDone && !list.items.length && html`<${Empty} title=${t("review.empty")}>${t("review.empty.how")}<//>`}
    <${Cards} list=${list} selected=${selected} setSelected=${setSelected} />
    <${MarkBar} list=${list} />`;
}
