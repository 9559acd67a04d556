// Score curves: uPlot, loaded with the first of them, with thresholds and bands under the lines.
import {html, useEffect, useRef} from "../vendor/htm-preact.js";
import {drawKey, fillBand} from "./bands.js";
import {language, score, t, timeOfDay} from "./i18n.js";
import {useSignal} from "./signal.js";

let loaded = null;

function loadPlot() {
  loaded ??= new Promise((resolve, reject) => {
    const base = new URL("../vendor/", import.meta.url);
    const style = Object.assign(document.createElement("link"), {rel: "stylesheet", href: new URL("uPlot.min.css", base)});
    const script = Object.assign(document.createElement("script"), {src: new URL("uPlot.iife.min.js", base)});
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => {
      loaded = null;
      reject(new Error(script.src));
    };
    document.head.append(style, script);
  });
  return loaded;
}

const SERIES = ["--bar-alarm", "--series-2", "--series-3", "--series-4", "--series-5"];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Windows as columns: their middles in seconds, and a row of scores for each label; null where windows are missing. */
export function columns(windows, labels) {
  const times = [];
  const rows = labels.map(() => []);
  let before = null;
  for (const each of windows) {
    const [start, end] = [Date.parse(each.start) / 1000, Date.parse(each.end) / 1000];
    if (before !== null && start > before + (end - start)) {
      times.push((before + start) / 2);
      for (const row of rows) row.push(null);
    }
    times.push((start + end) / 2);
    labels.forEach((label, index) => rows[index].push(each.scores[label] ?? null));
    before = end;
  }
  return [times, ...rows];
}

function paint(plot, {bands, lines}) {
  const {ctx, bbox} = plot;
  const ratio = devicePixelRatio;
  const place = (time) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(time, "x", true)));
  ctx.save();
  for (const band of bands) {
    const [from, to] = [place(band.from / 1000), place(band.to / 1000)];
    fillBand(ctx, band.kind, from, bbox.top, Math.max(ratio, to - from), bbox.height);
  }
  ctx.setLineDash([6 * ratio, 4 * ratio]);
  ctx.lineWidth = 1.5 * ratio;
  for (const line of lines) {
    const y = plot.valToPos(line.score, "y", true);
    ctx.strokeStyle = colour(line.colour);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

function options(host, labels, shown) {
  const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line"), width: 1}, font: "12px system-ui"};
  return {
    width: host.clientWidth,
    height: host.clientHeight,
    padding: [10, 34, 0, 0],
    legend: {show: false},
    cursor: {y: false, drag: {x: false, y: false}},
    scales: {x: {time: true}, y: {range: [0, 1.02]}},
    series: [{}, ...labels.map((label, index) => ({label, stroke: colour(SERIES[index % SERIES.length]), width: 2, points: {show: true, size: 4}}))],
    axes: [
      {...axis, size: 32, space: 80, values: (_, ticks) => ticks.map((each) => timeOfDay(each * 1000))},
      {...axis, size: 46, values: (_, ticks) => ticks.map((each) => score(each))},
    ],
    hooks: {drawClear: [(plot) => paint(plot, shown.current)]},
  };
}

/**
 * A curve of scores.
 *
 * windows: as the API lists them. labels: of which. bands: {from, to (milliseconds), kind (of bands.js), text}.
 * lines: {score, colour, text}. playhead: a Signal of milliseconds, or null. onSeek: called with milliseconds.
 */
export function Chart({windows, labels, bands = [], lines = [], playhead = null, onSeek = null, stretch}) {
  const host = useRef(null);
  const plot = useRef(null);
  const head = useRef(null);
  const legend = useRef(null);
  const shown = useRef({bands, lines});
  shown.current = {bands, lines};
  const spoken = useSignal(language);
  const names = labels.join("\n");
  const placeHead = () => {
    const time = playhead?.value;
    if (!head.current || !plot.current) return;
    const left = time ? plot.current.valToPos(time / 1000, "x") : -1;
    const isIn = left >= 0 && left <= plot.current.over.clientWidth;
    head.current.hidden = !isIn;
    if (isIn) head.current.style.transform = `translateX(${plot.current.over.offsetLeft + left}px)`;
  };
  useEffect(() => {
    let isOver = false;
    const make = (Plot) => {
      if (isOver) return;
      plot.current?.destroy();
      plot.current = new Plot(options(host.current, labels, shown), columns(windows, labels), host.current);
      if (stretch) plot.current.setScale("x", {min: stretch[0] / 1000, max: stretch[1] / 1000});
      legend.current.querySelectorAll("canvas").forEach(drawKey);
      plot.current.over.addEventListener("click", (event) => onSeek?.(plot.current.posToVal(event.offsetX, "x") * 1000));
      placeHead();
    };
    const again = () => loadPlot().then(make, () => null);
    again();
    const sized = new ResizeObserver(() => {
      if (!plot.current || !host.current?.clientWidth) return;
      plot.current.setSize({width: host.current.clientWidth, height: host.current.clientHeight});
      placeHead();
    });
    sized.observe(host.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", again);
    const themed = new MutationObserver(again);
    themed.observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
    return () => {
      isOver = true;
      sized.disconnect();
      themed.disconnect();
      dark.removeEventListener("change", again);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [windows, names, spoken, stretch?.[0], stretch?.[1]]);
  useEffect(() => plot.current?.redraw(), [bands, lines]);
  // With the plot: also where colours change.
  useEffect(() => legend.current.querySelectorAll("canvas").forEach(drawKey));
  useEffect(() => playhead?.watch(placeHead), [playhead]);
  const highest = labels.map((label) => `${label}: ${score(Math.max(0, ...windows.map((each) => each.scores[label] ?? 0)))}`);
  return html`<figure class="chart">
    <div class="chart-in"><div ref=${host} class="plot" role="img" aria-label=${t("chart.of", {labels: highest.join(", ")})}></div>
      <div ref=${head} class="playhead" hidden></div></div>
    <figcaption class="legend" ref=${legend}>
      ${labels.map((label, index) => html`<span key=${label}><i class="key series-${index % SERIES.length}"></i>${label}</span>`)}
      ${lines.map((line) => html`<span key=${line.text}><i class="key key-line ${line.colour.slice(2)}"></i>${line.text} ${score(line.score)}</span>`)}
      ${[...new Map(bands.map((band) => [band.text, band])).values()].map((band) => html`<span key=${band.text}><canvas class="key-band" data-kind=${band.kind} aria-hidden="true"></canvas>${band.text}</span>`)}
    </figcaption>
  </figure>`;
}
