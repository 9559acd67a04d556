// The API: what is asked, who asks, and whether it is there.
import {Signal} from "./signal.js";

const ROOT = "/api/v1";
/** No answer for so long: as good as away. */
const PATIENCE_MS = 10_000;

/** The status of what somebody had forgotten. */
export const FORGOTTEN = 410;

/** What the API says where it cannot do what it is asked (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || String(status));
    this.status = status;
    this.code = body.code ?? null;
    this.kind = (body.type || "").replace("urn:clipline:problem:", "");
    /** Who had it forgotten, when and why: {time, by, why}; undefined for other problems. */
    this.forgotten = body.forgotten;
  }
}

/** Whether it may be answered in a moment: it is away, or has too much to do. */
export const isPassing = (error) => !error.status || error.status >= 500 || error.status === 429;

/** The API does not answer. */
export class Away extends Error {}

/** Who asks; null: not known yet; false: has to log in. */
export const session = new Signal(null);
/** Since when the API does not answer; null: it does. */
export const awaySince = new Signal(null);
/** Milliseconds that the server's clock is ahead of the browser's, to a second. */
let ahead = 0;

export const serverNow = () => Date.now() + ahead;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(ROOT + path, {credentials: "same-origin", signal: AbortSignal.timeout(options.patience ?? PATIENCE_MS), ...options});
  } catch (error) {
    if (options.signal?.aborted) throw error;
    awaySince.value ??= Date.now();
    throw new Away(String(error));
  }
  // A proxy that does not reach it says so itself.
  if (answer.status === 502 || answer.status === 504) {
    awaySince.value ??= Date.now();
    throw new Away(answer.statusText);
  }
  awaySince.value = null;
  const date = Date.parse(answer.headers.get("date") ?? "");
  // It names the second that has begun; of what is answered from a cache it would be an old one.
  if (Number.isFinite(date) && Math.abs(date + 500 - serverNow()) > 1500) ahead = date + 500 - Date.now();
  if (answer.ok && options.read) return options.read(answer);
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (problem.kind === "unauthenticated") session.value = false;
  throw problem;
}

/** Parameters as a query; several values of one name, as an array; empty ones are left out. */
export function query(parameters = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== "" && each !== null && each !== undefined) found.append(name, each);
  }
  const text = found.toString();
  return text && `?${text}`;
}

export const get = (path, parameters, options) => ask(path + query(parameters), options);

function change(method, path, body, options = {}) {
  const headers = {"Content-Type": "application/json"};
  if (session.value?.csrf) headers["X-CSRF-Token"] = session.value.csrf;
  return ask(path, {method, headers, body: body && JSON.stringify(body), ...options});
}

export const post = (path, body) => change("POST", path, body);

export const remove = (path) => change("DELETE", path);
/** Have the server make a file, which may take `patience` milliseconds, and have the browser save it. */
export async function save(path, body, patience) {
  const read = async (answer) => {
    const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "file";
    const url = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement("a"), {href: url, download: name}).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  await change("POST", path, body, {patience, read});
}

export async function begin() {
  session.value = await get("/session");
}

export async function logIn(user, password) {
  session.value = await post("/session", {user, password});
}

/** How one can log in, and why a login elsewhere came to nothing, which is told once. */
export const ways = () => get("/session/ways");

/** Longer ones are not taken back. */
const LONGEST_PLACE = 400;

/** Where a browser goes to log in at a provider, to come back to the page that it is on. */
export function loginAddress(provider) {
  const to = location.hash.length <= LONGEST_PLACE ? `/${location.hash}` : "/";
  return `${provider.address}?${new URLSearchParams({to})}`;
}

export async function logOut() {
  await change("DELETE", "/session");
  session.value = false;
}

const ROLES = ["viewer", "operator", "admin"];
export const may = (role) => session.value && ROLES.indexOf(session.value.role) >= ROLES.indexOf(role);
