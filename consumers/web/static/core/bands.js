// Bands under a curve: each kind has a colour and a pattern of its own, so that nobody has to tell colours apart.

/** In a tile of 8 by 8: lines from x, y to x, y, and dots of radius 1 at x, y. Where there is neither, the band is plain. */
const SLASH = [[-2, 2, 2, -2], [-1, 9, 9, -1], [6, 10, 10, 6]];
const BACKSLASH = [[-2, 6, 2, 10], [-1, -1, 9, 9], [6, -2, 10, 2]];
const KINDS = {
  event: {colour: "--bar-alarm"},
  cooldown: {colour: "--line-end", lines: SLASH},
  short: {colour: "--series-2", lines: BACKSLASH},
  schedule: {colour: "--series-3", lines: [[0, 4, 8, 4]]},
  disabled: {colour: "--line-strong", lines: [[4, 0, 4, 8]]},
  gap: {colour: "--series-5", dots: [[2, 2], [6, 6]]},
  forgotten: {colour: "--series-4", lines: [...SLASH, ...BACKSLASH]},
  withheld: {colour: "--series-7", lines: [[0, 4, 8, 4], [4, 0, 4, 8]]},
  unknown: {colour: "--series-6", lines: [[0, 4, 2, 2], [2, 2, 6, 6], [6, 6, 8, 4]]},
};
const SIDE = 8;
/** Of the colour; what stands over it stays in sight. */
const GROUND = 0.12;
const PATTERN = 0.55;
/** What says where a band begins and ends, at its top and in full colour; pixels. */
const EDGE = 4;

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function tile({lines = [], dots = []}, colour, ratio) {
  const canvas = Object.assign(document.createElement("canvas"), {width: Math.round(SIDE * ratio), height: Math.round(SIDE * ratio)});
  const context = canvas.getContext("2d");
  context.scale(canvas.width / SIDE, canvas.height / SIDE);
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.2;
  for (const [fromX, fromY, toX, toY] of lines) {
    context.beginPath();
    context.moveTo(fromX, fromY);
    context.lineTo(toX, toY);
    context.stroke();
  }
  for (const [x, y] of dots) {
    context.beginPath();
    context.arc(x, y, 1.1, 0, 2 * Math.PI);
    context.fill();
  }
  return canvas;
}

/** Fill a part of a canvas as a kind of band is filled; places and sizes in its own pixels. */
export function fillBand(context, kind, left, top, width, height) {
  const known = KINDS[kind];
  const colour = colourOf(known.colour);
  const ratio = devicePixelRatio;
  context.save();
  context.fillStyle = colour;
  context.globalAlpha = GROUND;
  context.fillRect(left, top, width, height);
  if (known.lines || known.dots) {
    context.globalAlpha = PATTERN;
    context.fillStyle = context.createPattern(tile(known, colour, ratio), "repeat");
    context.fillRect(left, top, width, height);
  }
  context.globalAlpha = 1;
  context.fillStyle = colour;
  context.fillRect(left, top, width, EDGE * ratio);
  context.restore();
}

/** Draw the key of a legend, a canvas that says of which kind it is. */
export function drawKey(canvas) {
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = canvas.clientHeight * devicePixelRatio;
  fillBand(canvas.getContext("2d"), canvas.dataset.kind, 0, 0, canvas.width, canvas.height);
}
