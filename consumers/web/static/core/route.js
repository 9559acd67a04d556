// Where one is: `#/review?camera=gate-1`. What a page shows is in its address, so that it can be passed on.
import {query} from "./api.js";
import {Signal} from "./signal.js";

function read() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", subject = ""] = path.split("/");
  let decoded = subject;
  try {
    decoded = decodeURIComponent(subject);
  } catch {
    // Somebody typed it.
  }
  return {page: page || "wall", subject: decoded, parameters: Object.fromEntries(new URLSearchParams(search))};
}

export const route = new Signal(read());
addEventListener("hashchange", () => {
  route.value = read();
});

export const address = (page, subject = "", parameters = {}) =>
  `#/${page}${subject && `/${encodeURIComponent(subject)}`}${query(parameters)}`;

/** Change what the address says of this page, without a step of its own in the browser's history. */
export function setParameters(changes) {
  const {page, subject, parameters} = route.value;
  history.replaceState(null, "", address(page, subject, {...parameters, ...changes}));
  route.value = read();
}

export function go(page, subject, parameters) {
  location.hash = address(page, subject, parameters);
}
