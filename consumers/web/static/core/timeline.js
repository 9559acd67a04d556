// Time from left to right: bands of what held, and bars of how much there was. Plain SVG, coloured by the style sheet.
import {html} from "../vendor/htm-preact.js";
import {shortTime, timeOfDay} from "./i18n.js";

const WIDTH = 1000;
const TICKS = 4;

const place = (time, [from, to]) => Math.min(WIDTH, Math.max(0, ((time - from) / (to - from)) * WIDTH));
const clockTime = (time) => timeOfDay(time).replace(/:\d\d(?=\D*$)/, "");

/** Times under a band; `stretch` in milliseconds. */
export function Ticks({stretch}) {
  const [from, to] = stretch;
  const isLong = to - from > 20 * 3_600_000;
  const at = Array.from({length: TICKS + 1}, (_, index) => from + ((to - from) * index) / TICKS);
  return html`<div class="ticks" aria-hidden="true">${at.map((time, index) => html`<span key=${index}>${isLong && index === 0 ? shortTime(time).replace(/:\d\d$/, "") : clockTime(time)}</span>`)}</div>`;
}

/** What held when. `spans`: {from, to (milliseconds), kind (a class), title}. */
export const Band = ({spans, stretch, label, small = false}) =>
  html`<svg class="stripe ${small ? "stripe-small" : ""}" viewBox="0 0 ${WIDTH} 10" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${spans.map((each) => {
      const [left, right] = [place(each.from, stretch), place(each.to, stretch)];
      return html`<rect key=${`${each.kind}${each.from}`} class="span span-${each.kind}" x=${left} y="0" width=${Math.max(1, right - left)} height="10"><title>${each.title}</title></rect>`;
    })}</svg>`;

/** How much there was. `steps`: {from, to (milliseconds), value, title}; the highest reaches the top. */
export function Bars({steps, stretch, label, most = Math.max(...steps.map((each) => each.value))}) {
  return html`<svg class="bars" viewBox="0 0 ${WIDTH} 100" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${steps.map((each) => {
      const [left, right] = [place(each.from, stretch), place(each.to, stretch)];
      const height = most > 0 ? (each.value / most) * 96 : 0;
      return each.value > 0 && html`<rect key=${each.from} class="amount" x=${left} y=${100 - height} width=${Math.max(0.5, right - left - (right - left > 4 ? 1 : 0))} height=${height}><title>${each.title}</title></rect>`;
    })}</svg>`;
}

/** A line of points {at (milliseconds), value}, from the lowest to the highest. */
export function Line({points, stretch, label}) {
  const values = points.map((each) => each.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const y = (value) => (high > low ? 92 - ((value - low) / (high - low)) * 84 : 50);
  const path = points.map((each, index) => `${index ? "L" : "M"}${place(each.at, stretch).toFixed(1)} ${y(each.value).toFixed(1)}`).join("");
  return html`<svg class="curve" viewBox="0 0 ${WIDTH} 100" preserveAspectRatio="none" role="img" aria-label=${label}><path d=${path} vector-effect="non-scaling-stroke" /></svg>`;
}
