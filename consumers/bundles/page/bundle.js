// Shows what the parts of this file hold. Nothing is fetched: the policy of the page forbids it.
(() => {
  const part = (name) => document.getElementById(`part-${name}`);
  const json = (name) => JSON.parse(part(name)?.textContent ?? "null");
  const manifest = json("manifest");
  const {event, rule} = manifest;
  const parts = new Map(manifest.parts.map((each) => [each.name, each]));
  const urls = new Map();
  let language = (navigator.languages ?? []).map((each) => each.slice(0, 2)).find((each) => each in TEXTS) ?? "en";

  /** British or American: as the browser has it, where it has that language at all. */
  const locale = () => navigator.languages?.find((each) => each.startsWith(language)) ?? language;
  const t = (key, values = {}) => (TEXTS[language][key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  /** An element with attributes and children; text is never taken as HTML. */
  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value);
    }
    made.append(...children.flat(Infinity).filter((each) => each !== null));
    return made;
  }

  /** The bytes of a part, a piece at a time: of all at once browsers would make a second, larger text. */
  function bytes(name) {
    const text = part(name).textContent;
    const found = [];
    for (let at = 0; at < text.length; at += 1 << 20) {
      const piece = atob(text.slice(at, at + (1 << 20)));
      found.push(Uint8Array.from(piece, (each) => each.charCodeAt(0)));
    }
    return found;
  }

  function url(name) {
    if (!urls.has(name)) urls.set(name, URL.createObjectURL(new Blob(bytes(name), {type: parts.get(name).type})));
    return urls.get(name);
  }

  function save(name, pieces) {
    const address = URL.createObjectURL(new Blob(pieces));
    const link = make("a", {href: address, download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  const button = (text, onclick) => make("button", {type: "button", onclick}, text);
  const panel = (title, ...children) => make("section", {class: "panel"}, make("h2", {}, title), children);
  const short = (digits) => (value) => new Intl.NumberFormat(locale(), {minimumFractionDigits: digits, maximumFractionDigits: digits}).format(value);
  const score = short(2);
  const utc = (time) => new Date(time).toISOString().slice(0, 23).replace("T", " ");
  const clock = {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"};
  const local = (time) =>
    new Intl.DateTimeFormat(locale(), {weekday: "short", day: "numeric", month: "short", year: "numeric", ...clock, timeZoneName: "short"}).format(new Date(time));
  /** In the zone of who looks, and in that of records. */
  const both = (time) => `${local(time)} (${utc(time).slice(0, 19)} UTC)`;

  const windows = (json("predictions") ?? [])
    .map((each) => JSON.parse(each.value))
    .filter((each) => each.model === event.model);
  const clip = parts.get("clip");
  const segments = manifest.parts.filter((each) => each.place);
  const begin = Math.min(...[event.start, clip?.start, windows[0]?.start].filter(Boolean).map(Date.parse));
  const end = Math.max(...[event.end, clip?.end, windows.at(-1)?.end].filter(Boolean).map(Date.parse));

  let video = null;
  let plot = null;
  let sized = null;

  function footage() {
    if (!clip) return panel(t("footage"), make("p", {}, t(segments.length ? "footage.noclip" : "footage.none")));
    const at = video?.currentTime ?? 0;
    const said = manifest.blurred ? make("p", {class: "warn panel"}, t("footage.blurred")) : make("p", {class: "quiet"}, t("footage.how"));
    video = make("video", {controls: "", muted: "", playsinline: "", preload: "auto", "aria-label": `${event.label}, ${event.camera}`});
    video.muted = true;
    video.addEventListener("error", () => said.replaceChildren(t("footage.cannot", {codec: clip.codec})));
    video.src = url("clip");
    if (at) video.currentTime = at;
    return panel(t("footage"), video, scores(), said);
  }

  /** Middles of windows in seconds, and their scores; null between windows that do not follow one another. */
  function columns() {
    const [times, values] = [[], []];
    let before = null;
    for (const each of windows) {
      const [from, to] = [Date.parse(each.start) / 1000, Date.parse(each.end) / 1000];
      if (before !== null && from > before + (to - from)) {
        times.push((before + from) / 2);
        values.push(null);
      }
      times.push((from + to) / 2);
      values.push(each.scores[event.label] ?? null);
      before = to;
    }
    return [times, values];
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function paint(drawn) {
    const {ctx, bbox} = drawn;
    const place = (time) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, drawn.valToPos(time / 1000, "x", true)));
    const band = (from, to, name) => {
      ctx.fillStyle = colour(name);
      ctx.fillRect(place(from), bbox.top, Math.max(1, place(to) - place(from)), bbox.height);
    };
    ctx.save();
    band(Date.parse(event.start), Date.parse(event.end), "--band");
    if (rule.label && event.state === "ended") band(Date.parse(event.end), Date.parse(event.end) + rule.label.cooldown_seconds * 1000, "--band-cooldown");
    ctx.setLineDash([8, 5]);
    ctx.lineWidth = 2;
    for (const [value, name] of rule.label ? [[rule.label.start, "--line-start"], [rule.label.end, "--line-end"]] : []) {
      const y = drawn.valToPos(value, "y", true);
      ctx.strokeStyle = colour(name);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  function scores() {
    if (!windows.length) return make("p", {class: "quiet"}, t("scores.none"));
    const peak = score(event.peak_score);
    const host = make("div", {class: "chart", role: "img", "aria-label": t("scores.of", {label: event.label, peak})});
    const head = make("div", {class: "playhead", hidden: ""});
    const key = (name, text) => make("span", {}, make("i", {class: `key key-${name}`}), text);
    const draw = () => {
      plot?.destroy();
      const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line"), width: 1}, font: "12px system-ui"};
      plot = new uPlot(
        {
          width: host.clientWidth,
          height: host.clientHeight,
          padding: [10, 24, 0, 0],
          legend: {show: false},
          cursor: {y: false, drag: {x: false, y: false}},
          scales: {x: {time: true, range: [begin / 1000, end / 1000]}, y: {range: [0, 1.02]}},
          series: [{}, {stroke: colour("--curve"), width: 2, points: {show: true, size: 5}}],
          axes: [
            {...axis, size: 32, space: 80, values: (_, ticks) => ticks.map((each) => new Intl.DateTimeFormat(locale(), clock).format(each * 1000))},
            {...axis, size: 46, values: (_, ticks) => ticks.map(score)},
          ],
          hooks: {drawClear: [paint]},
        },
        columns(),
        host,
      );
      plot.over.addEventListener("click", (clicked) => {
        if (clip) video.currentTime = Math.max(0, plot.posToVal(clicked.offsetX, "x") - Date.parse(clip.start) / 1000);
      });
      host.append(head);
      follow();
    };
    const follow = () => {
      head.hidden = !clip;
      if (clip) head.style.transform = `translateX(${plot.over.offsetLeft + plot.valToPos(Date.parse(clip.start) / 1000 + video.currentTime, "x")}px)`;
    };
    if (clip) ["timeupdate", "seeking", "seeked"].forEach((name) => video.addEventListener(name, follow));
    sized?.disconnect();
    sized = new ResizeObserver(() => host.clientWidth && draw());
    sized.observe(host);
    return make(
      "figure",
      {},
      host,
      make(
        "figcaption",
        {class: "legend"},
        key("curve", t("scores.of", {label: event.label, peak})),
        key("band", t("band.event")),
        rule.label ? [key("cooldown", t("band.cooldown")), key("start", t("line.start", {score: score(rule.label.start)})), key("end", t("line.end", {score: score(rule.label.end)}))] : null,
        rule.label ? make("span", {}, t("rule.held", {seconds: rule.label.min_seconds})) : null,
        rule.label?.smoothing > 1 ? make("span", {}, t("rule.smoothed", {smoothing: rule.label.smoothing})) : null,
      ),
    );
  }

  function pictures() {
    const shown = ["strip", "peak"].filter((name) => parts.has(name));
    if (!shown.length) return null;
    return panel(
      t("pictures"),
      shown.map((name) => {
        const text = t(name, {time: both(parts.get(name).frames[0])});
        return make("figure", {}, make("img", {src: url(name), alt: text}), make("figcaption", {}, text));
      }),
    );
  }

  /** Where records lay, in a few words. */
  function places(records) {
    const found = new Map();
    for (const each of records) {
      const topic = `${each.topic}[${each.partition}]`;
      const [low, high] = found.get(topic) ?? [each.offset, each.offset];
      found.set(topic, [Math.min(low, each.offset), Math.max(high, each.offset)]);
    }
    return [...found].map(([topic, [low, high]]) => `${topic}@${low}-${high}`).join(", ");
  }

  function facts() {
    const {made, model} = manifest;
    const [reports, predictions] = [json("reports") ?? [], json("predictions") ?? []];
    const code = (text) => make("code", {}, text);
    const rows = [
      [t("label"), event.label],
      [t("camera"), event.camera],
      [t("when"), [make("div", {}, both(event.start)), make("div", {}, `– ${both(event.end)}`)]],
      [t("peak.score"), `${score(event.peak_score)}, ${both(event.peak)}`],
      [t("windows"), String(event.windows)],
      [t("event"), code(event.event)],
      [t("model"), code(model.id)],
      [t("model.files"), Object.entries(model.files).length ? Object.entries(model.files).map(([name, hash]) => make("div", {}, code(`${hash} ${name}`))) : `– (${model.why})`],
      [t("rule"), [code(event.rule ?? "–"), rule.why ? ` (${rule.why})` : ""]],
      [t("settings"), code(manifest.settings.sha256)],
      [t("reports"), t("records", {count: reports.length, places: places(reports)})],
      [t("predictions"), t("records", {count: predictions.length, places: places(predictions)})],
      [t("made"), t("made.by", {time: both(made.at), by: made.by, way: made.way, clipline: made.clipline})],
    ];
    return panel(
      t("facts"),
      make("dl", {}, rows.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
      make("p", {}, button(t("save.manifest"), () => save("manifest.json", [part("manifest").textContent])), " ", button(t("save.records"), () => save("records.json", [`{"reports":${part("reports").textContent},"predictions":${part("predictions").textContent}}`]))),
    );
  }

  const ENDINGS = {"video/mp2t": "ts", "video/x-matroska": "mkv"};

  function originals() {
    if (!segments.length) return null;
    const name = (each) => `${event.camera}-${each.place.partition}-${each.place.offset}.${ENDINGS[each.type] ?? "bin"}`;
    // Of MPEG-TS, pieces one after the other are a film.
    const joined = segments.every((each) => each.type === "video/mp2t");
    return panel(
      `${t("segments")} (${segments.length})`,
      make("p", {class: "quiet"}, t("segments.how")),
      joined ? make("p", {}, button(t("save.all"), () => save(`${event.camera}-${event.event}.ts`, segments.flatMap((each) => bytes(each.name))))) : null,
      make(
        "div",
        {class: "scroll", tabindex: "0", role: "region", "aria-label": t("segments")},
        make(
          "table",
          {},
          make("thead", {}, make("tr", {}, [t("segment.place"), t("segment.time"), t("segment.what"), "SHA-256", ""].map((each) => make("th", {scope: "col"}, each)))),
          make(
            "tbody",
            {},
            segments.map((each) =>
              make(
                "tr",
                {},
                make("td", {}, make("code", {}, `${each.place.topic}[${each.place.partition}]@${each.place.offset}`)),
                make("td", {}, `${utc(each.start)} – ${utc(each.end).slice(11)}${each.context ? ` (${t("segment.context")})` : ""}`),
                make("td", {}, `${each.codec} ${each.width}×${each.height}, ${short(0)(each.bytes / 1000)} kB`),
                make("td", {}, make("code", {}, each.sha256)),
                make("td", {}, button(t("save"), () => save(name(each), bytes(each.name)))),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function checking() {
    const {fingerprint} = manifest.key;
    return panel(
      t("check"),
      make("p", {}, t("check.how")),
      make("pre", {}, `clipline evidence verify FILE.html --public-key ${fingerprint}`),
      make("p", {}, t("check.key")),
      make("pre", {}, fingerprint),
      make("p", {class: "quiet"}, t("check.not")),
    );
  }

  function missing() {
    if (!manifest.missing.length) return null;
    return make("section", {class: "panel warn"}, make("h2", {}, t("missing")), make("ul", {}, manifest.missing.map((each) => make("li", {}, each))));
  }

  function show() {
    document.documentElement.lang = language;
    document.getElementById("title").replaceChildren(`${event.label} · ${event.camera}`);
    document.getElementById("when").replaceChildren(both(event.start));
    document.getElementById("tools").replaceChildren(
      button(t("language"), () => {
        language = language === "en" ? "de" : "en";
        show();
      }),
    );
    const shown = [footage(), clip ? null : panel(t("scores"), scores()), missing(), pictures(), facts(), originals(), checking()];
    document.getElementById("main").replaceChildren(...shown.filter((each) => each !== null));
  }

  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
})();
