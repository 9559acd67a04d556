// Logging in, where the API asks who is there.
import {html, useEffect, useRef, useState} from "../vendor/htm-preact.js";
import {Away, logIn} from "../core/api.js";
import {t} from "../core/i18n.js";

function reason(error) {
  if (error instanceof Away) return t("failed.away");
  return {"wrong-password": t("login.wrong"), "too-many-requests": t("login.often")}[error.kind] ?? error.message;
}

export function Login() {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const first = useRef(null);
  useEffect(() => first.current.focus(), []);
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
  return html`<main class="login">
    <form onSubmit=${submit} method="post" action="/">
      <h1>${t("login")}</h1>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      <label class="field"><span>${t("login.user")}</span><input ref=${first} name="user" autocomplete="username" required maxlength="64" /></label>
      <label class="field"><span>${t("login.password")}</span><input name="password" type="password" autocomplete="current-password" required /></label>
      <button class="primary" disabled=${isBusy}>${t("login.do")}</button>
      <p class="quiet">${t("login.hint")}</p>
    </form>
  </main>`;
}
