// Links that show one event to whoever has them: made, listed and revoked.
import {html, useState} from "../vendor/htm-preact.js";
import {get, post, remove} from "../core/api.js";
import {t} from "../core/i18n.js";
import {Choice, Failed, Moment, say, useAnswer} from "../core/ui.js";

const HOURS = [1, 24, 72, 168, 720];
const REFRESH_MS = 30_000;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // not allowed, or no TLS: the address is there to be copied by hand
  }
}

export function Shares({event}) {
  const found = useAnswer(() => get("/shares", {event: event.event}), [event.event], REFRESH_MS);
  const [hours, setHours] = useState("72");
  const [made, setMade] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const work = async (what) => {
    setBusy(true);
    setError(null);
    try {
      await what();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    found.again();
  };
  const make = () =>
    work(async () => {
      const share = await post(`/events/${encodeURIComponent(event.event)}/shares`, {hours: Number(hours)});
      const address = new URL(share.address, location.href).href;
      const isCopied = await copy(address);
      setMade({id: share.id, address, isCopied});
      say(t(isCopied ? "share.copied" : "share.made"));
    });
  const revoke = (share) =>
    work(async () => {
      await remove(`/shares/${encodeURIComponent(share.id)}`);
      if (made?.id === share.id) setMade(null);
      say(t("share.revoked"));
    });
  const shares = found.answer?.items ?? [];
  return html`<section class="panel" aria-labelledby="shares"><h2 id="shares">${t("share")}</h2>
    <p class="quiet">${t("share.what")}</p>
    <div class="share-make">
      <${Choice} label=${t("share.for")} value=${hours} options=${HOURS.map((each) => [String(each), t(`share.hours.${each}`)])} onChange=${setHours} />
      <button id="share" onClick=${make} disabled=${isBusy}>${t("share.make")}</button>
    </div>
    ${error && html`<${Failed} error=${error} />`}
    ${made && html`<div class="share-made">
      <label class="field"><span>${t(made.isCopied ? "share.copied" : "share.made")}</span>
        <input readonly value=${made.address} onFocus=${(each) => each.target.select()} /></label>
      <button onClick=${async () => setMade({...made, isCopied: await copy(made.address)})}>${t("share.copy")}</button></div>`}
    ${found.error && !found.answer && html`<${Failed} error=${found.error} retry=${found.again} />`}
    ${shares.length > 0 && html`<ul class="lines" role="list">${shares.map((each) => html`<li key=${each.id}>
      <span>${each.by} <span class="quiet">${t("share.until")} <${Moment} time=${Date.parse(each.expires)} /></span></span>
      <button class="plain" onClick=${() => revoke(each)} disabled=${isBusy}>${t("share.revoke")}</button></li>`)}</ul>`}
  </section>`;
}
