// A wallet: what can be spent, what is held and owed, and each lot until it expires.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Bar } from "../chart.js";
import { Button, Credits, Figures, Loaded, Section, Table, When, digits, useLoad, usePages } from "../ui.js";
import CreditCommand, { COMMANDS } from "./account_command.js";

const ROWS = 10, DAY = 86_400_000;

export default function Wallet({ account, me }) {
  const [command, setCommand] = useState(null);
  const wallet = useLoad(async () => {
    const { data } = await request("GET", "credits/balance", { query: { accountId: account.id } });
    return { ...data, readAt: Date.now() };
  }, [account.id]);
  const commands = me.role !== "user" && wallet.data && Object.entries(COMMANDS).map(([name, { label }]) => html`
    <${Button} kind=${name === "grant" ? "primary" : ""} onClick=${() => setCommand(name)}>${label}<//>`);
  return html`<${Section} title="Credits" actions=${commands}>
    <${Loaded} of=${wallet}>${(data) => html`
      <${Figures} of=${[
        { label: "Available", value: html`<${Credits} of=${data.totalCredits} />` },
        { label: "Held by sessions", value: html`<${Credits} of=${data.heldCredits} />` },
        { label: "Debt", value: html`<${Credits} of=${data.debt} />`, tone: data.debt > 0 ? "bad" : "" },
      ]} />
      <${Lots} lots=${data.activeAllocations} now=${data.readAt} />
      ${command && html`<${CreditCommand} name=${command} account=${account} balance=${data} onDone=${wallet.reload} onClose=${() => setCommand(null)} />`}`}<//>
  <//>`;
}

// The lots, soonest expiry first. A full bar is the time until the last one expires.
function Lots({ lots, now }) {
  const pages = usePages();
  const first = pages.cursor ?? 0;
  const longest = Math.max(1, ...lots.map((lot) => Date.parse(lot.expiresAt) - now));
  return html`<${Table} caption="Lots, the soonest to expire first" hidden=${false} empty="There are no credits to spend." pages=${pages}
    rows=${lots.slice(first, first + ROWS)} nextCursor=${first + ROWS < lots.length && first + ROWS} columns=${[
      { label: "Credits", number: true, show: (lot) => html`<${Credits} of=${lot.credits} />` },
      { label: "Time until it expires", wide: true, show: (lot) => {
        const left = Date.parse(lot.expiresAt) - now;
        return html`<${Bar} of=${longest} value=${left} tone=${left < DAY ? "bad" : left < 7 * DAY ? "warn" : ""} />`;
      } },
      { label: "Expires", show: (lot) => html`<${When} at=${lot.expiresAt} />` },
      { label: "Granted", show: (lot) => html`<${When} at=${lot.allocatedAt} />` },
      { label: "Id", show: (lot) => html`<code>${lot.id}</code>` },
    ]} />
    ${lots.length > ROWS && html`<p class="quiet">${digits(lots.length)} lots.</p>`}`;
}
