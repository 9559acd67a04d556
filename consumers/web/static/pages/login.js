// Logging in, where the API asks who is there: with a password, or at a provider of the settings.
import {html, useEffect, useRef, useState} from "../vendor/htm-preact.js";
import {Away, logIn, loginAddress, ways} from "../core/api.js";
import {t} from "../core/i18n.js";
import {typed} from "../core/ui.js";

function reason(error) {
  if (error instanceof Away) return t("failed.away");
  return {"wrong-password": t("login.wrong"), "too-many-requests": t("login.often")}[error.kind] ?? error.message;
}

const PROBLEMS = ["provider-away", "provider-wrong", "login-refused", "login-lost", "unknown-user"];

/** Why a login at the provider came to nothing, in words and in the server's. */
function Problem({problem}) {
  const kind = PROBLEMS.includes(problem.kind) ? problem.kind : problem.kind === "too-many-requests" ? "often" : "failed";
  return html`<div class="error" role="alert"><p>${t(`login.${kind}`)}</p>
    ${kind !== "login-lost" && html`<p class="detail" lang="en">${problem.detail}</p>`}</div>`;
}

export function Login() {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const first = useRef(null);
  const [known, setKnown] = useState(null);
  useEffect(() => {
    let timer;
    const ask = () => ways().then(setKnown, () => (timer = setTimeout(ask, 2_000)));
    ask();
    return () => clearTimeout(timer);
  }, []);
  useEffect(() => first.current?.focus(), [known]);
  const submit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    setBusy(true);
    try {
      await logIn(given.get("user"), given.get("password"));
    } catch (found) {
      setError(reason(found));
      setBusy(false);
      first.current?.focus();
    }
  };
  const provider = known?.provider;
  // With tokens alone, somebody reads there what to do.
  const hasForm = known && (!provider || known.password);
  return html`<main class="login">
    <form onSubmit=${submit} method="post" action="/">
      <p class="brand"><span class="mark" aria-hidden="true"></span>Clipline</p>
      <h1>${t("login")}</h1>
      ${known?.problem && html`<${Problem} problem=${known.problem} />`}
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${provider && html`<a ref=${hasForm ? null : first} class="button primary" href=${loginAddress(provider)}>${t("login.at", {name: provider.name})}</a>`}
      ${provider && hasForm && html`<p class="or"><span>${t("login.or")}</span></p>`}
      ${hasForm && html`
        <label class="field"><span>${t("login.user")}</span><input ref=${first} name="user" autocomplete="username" required maxlength="64" /></label>
        <label class="field"><span>${t("login.password")}</span><input name="password" type="password" autocomplete="current-password" required /></label>
        <button class="primary" disabled=${isBusy}>${t("login.do")}</button>
        <p class="quiet">${typed(t("login.hint"))}</p>`}
    </form>
  </main>`;
}
