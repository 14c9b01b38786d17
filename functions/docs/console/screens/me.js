// The signed-in person's own account: what they can spend, and what they used.

import { html } from "../preact.js";
import { request } from "../api.js";
import { Credits, Figures, Loaded, Screen, useLoad } from "../ui.js";

export default function Me({ me }) {
  const balance = useLoad(async () => (await request("GET", "credits/balance")).data);
  return html`<${Screen} title="My account" kicker=${me.email}>
    <${Loaded} of=${balance}>${(data) => html`<${Figures} of=${[
      { label: "Available", value: html`<${Credits} of=${data.totalCredits} />` },
      { label: "Held by sessions", value: html`<${Credits} of=${data.heldCredits} />` },
      { label: "Debt", value: html`<${Credits} of=${data.debt} />`, tone: data.debt > 0 ? "bad" : "" },
    ]} />`}<//>
  <//>`;
}
