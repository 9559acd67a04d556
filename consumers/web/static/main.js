// The shell: who is there, where one is, and what holds on every page.
import {html, render, useEffect, useRef, useState} from "./vendor/htm-preact.js";
import {awaySince, begin, logOut, session} from "./core/api.js";
import {isAway, language, reason, store, t, timeOfDay} from "./core/i18n.js";
import {cameras, freshness, health, start, waiting} from "./core/live.js";
import {address, route} from "./core/route.js";
import {clock, Signal, useSignal} from "./core/signal.js";
import {Empty, Failed, Loading} from "./core/ui.js";
import {toast, undo} from "./core/verdicts.js";
import {Login} from "./pages/login.js";
import {Wall} from "./pages/wall.js";

/** Pages but the first are loaded when one goes there. */
const PAGES = {
  wall: async () => Wall,
  review: () => import("./pages/review.js").then((module) => module.Review),
  event: () => import("./pages/event.js").then((module) => module.EventPage),
  cameras: () => import("./pages/camera.js").then((module) => module.CameraPage),
  why: () => import("./pages/why.js").then((module) => module.WhyNot),
  fleet: () => import("./pages/fleet.js").then((module) => module.Fleet),
  deliveries: () => import("./pages/deliveries.js").then((module) => module.Deliveries),
  models: () => import("./pages/models.js").then((module) => module.ModelsPage),
  rules: () => import("./pages/rules.js").then((module) => module.Rules),
};
const LINKS = ["wall", "review", "why", "fleet", "deliveries", "rules", "models"];

const theme = new Signal(document.documentElement.dataset.theme ?? "auto");
theme.watch((value) => {
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
  store("theme", value === "auto" ? null : value);
});
/** The component of the page, once it is loaded, and of which page it is. */
const shown = new Signal({page: null, component: null, error: null});

/** Somebody typed an address that leads nowhere. */
function NoPage() {
  return html`<h1 tabindex="-1">${t("page.none")}</h1><${Empty} title=${location.hash}><a class="button" href=${address("wall")}>${t("wall")}</a><//>`;
}

async function show(page) {
  try {
    const component = PAGES[page] ? await PAGES[page]() : NoPage;
    if (route.value.page === page) shown.value = {page, component, error: null};
  } catch (error) {
    shown.value = {page, component: null, error};
  }
}

const NEXT_THEME = {auto: "dark", dark: "light", light: "auto"};

function Header() {
  const {page} = useSignal(route);
  const who = useSignal(session);
  const isThemed = useSignal(theme);
  useSignal(language);
  const other = language.value === "en" ? "de" : "en";
  const ref = useRef(null);
  // On a narrow screen pages are wider than it.
  useEffect(() => ref.current.querySelector("[aria-current]")?.scrollIntoView({block: "nearest", inline: "nearest"}), [page]);
  return html`<header class="top" ref=${ref}>
    <a class="brand" href="#/wall"><span class="mark" aria-hidden="true"></span><span class="brand-name">Clipline</span></a>
    <nav aria-label=${t("nav")}><ul role="list">
      ${LINKS.map((each) => html`<li key=${each}><a href=${address(each)} aria-current=${each === page ? "page" : null}>${t(each)}</a></li>`)}
    </ul></nav>
    <div class="switches">
      <button class="plain" onClick=${() => (theme.value = NEXT_THEME[theme.value])} aria-label=${t("theme", {theme: t(`theme.${isThemed}`)})} title=${t("theme", {theme: t(`theme.${isThemed}`)})}>${{auto: "◐", dark: "☾", light: "☀"}[isThemed]}</button>
      <button class="plain" lang=${other} onClick=${() => (language.value = other)}>${other === "de" ? "Deutsch" : "English"}</button>
      ${["password", "oidc"].includes(who?.way) && html`<button class="plain" onClick=${() => logOut().catch(() => null)}>${t("logout", {name: who.name})}</button>`}
    </div>
  </header>`;
}

/** What is wrong with the server or behind it. */
function Banner() {
  const since = useSignal(awaySince);
  const known = useSignal(health);
  const cut = useSignal(waiting);
  useSignal(language);
  // Cameras are asked for more often.
  const broker = known?.broker_told ?? (isAway(cut?.waiting_told) ? cut.waiting_told : null);
  const lines = [];
  if (since !== null) lines.push(t("banner.away", {time: timeOfDay(since)}));
  else if (broker) lines.push(t("banner.broker", {why: reason(known?.broker ?? cut?.waiting, broker)}));
  else if (known?.redis) lines.push(t("banner.redis", {why: reason(known.redis, known.redis_told)}));
  return html`<div class="banner-place" role="status">${lines.map((line) => html`<p class="banner ${since === null ? "banner-mild" : ""}" key=${line}>${line}</p>`)}</div>`;
}

/** What was said last of an event, and a way back. */
function Toast() {
  const said = useSignal(toast);
  return html`<div class="toast-place" role="status">${said && html`<div class="toast ${said.isError ? "toast-error" : ""}"><p>${said.text}</p>
    ${said.canUndo && html`<button onClick=${undo}>${t("verdict.undo")} <kbd>z</kbd></button>`}</div>`}</div>`;
}

function Title() {
  const all = useSignal(cameras);
  const {page, subject} = useSignal(route);
  useSignal(clock);
  const bad = all?.filter((each) => !["live", "ended"].includes(freshness(each))).length;
  document.title = `${bad ? `(${bad}) ` : ""}${subject && page !== "event" ? subject : t(page in PAGES ? page : "wall")} · Clipline`;
  return null;
}

function Page() {
  const where = useSignal(route);
  const now = useSignal(shown);
  const ref = useRef(null);
  const before = useRef(null);
  useSignal(language);
  useEffect(() => {
    show(where.page);
  }, [where.page]);
  useEffect(() => {
    // Whoever goes to another page begins at its heading.
    if (before.current !== null && before.current !== now.page) ref.current.querySelector("h1")?.focus();
    before.current = now.page;
  }, [now.page]);
  return html`<main ref=${ref} id="main" tabindex="-1">
    ${now.error && html`<${Failed} error=${now.error} retry=${() => location.reload()} />`}
    ${!now.error && (now.component && now.page === where.page ? html`<${now.component} key=${now.page} />` : html`<${Loading} />`)}
  </main>`;
}

let hasStarted = false;

function App() {
  const who = useSignal(session);
  const since = useSignal(awaySince);
  const [problem, setProblem] = useState(null);
  useSignal(language);
  useEffect(() => {
    if (!who || hasStarted) return;
    hasStarted = true;
    start();
  }, [who]);
  useEffect(() => {
    if (who !== null) return undefined;
    // As where the server does not know yet who has logged out: it waits for its broker.
    const ask = () => begin().then(() => setProblem(null), setProblem);
    ask();
    const timer = setInterval(ask, 2_000);
    return () => clearInterval(timer);
  }, [who]);
  if (who === false) return html`<${Banner} /><${Login} />`;
  if (who === null) return html`<${Banner} /><main id="main">${since !== null ? html`<${Failed} error=${{message: t("failed.away")}} />` : problem ? html`<${Failed} error=${problem} />` : html`<${Loading} />`}</main>`;
  return html`
    <a class="skip" href="#main" onClick=${skip}>${t("skip")}</a>
    <${Title} /><${Header} /><${Banner} /><${Page} /><${Toast} />
    <p id="said" class="hidden" aria-live="polite"></p>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
