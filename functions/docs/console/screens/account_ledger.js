// The ledger of an account: every change of its credits, with the reason, who made it, and for what.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Credits, Field, Loaded, Section, Table, When, useLoad, usePages } from "../ui.js";

const ROWS = 25;
const CAUSES = [["sessionId", "session"], ["runId", "run"], ["keyId", "key"], ["usageId", "record"], ["allocationId", "lot"]];

// `runAddress` returns the address of a run. Screens without runs leave it out.
export default function Ledger({ account, runAddress }) {
  const [range, setRange] = useState({});
  const wanted = [account.id, range.startDate, range.endDate];
  const pages = usePages(wanted);
  const list = useLoad(() => request("GET", "credits/ledger", { query: { accountId: account.id, ...range, limit: ROWS, cursor: pages.cursor } }), [...wanted, pages.cursor]);
  const date = (name, label) => html`<${Field} label=${label} type="date" value=${range[name] ?? ""} onInput=${(day) => setRange({ ...range, [name]: day })} />`;
  return html`<${Section} title="Ledger" note="Newest first. Days are in UTC.">
    <form class="inline" onSubmit=${(event) => event.preventDefault()}>${date("startDate", "From")}${date("endDate", "Until")}</form>
    <${Loaded} of=${list}>${({ data, nextCursor }) => html`<${Table} caption="Ledger" rows=${data.entries} pages=${pages} nextCursor=${nextCursor}
      empty="There are no entries in this range." columns=${[
        { label: "No.", number: true, show: (each) => html`<${Credits} of=${each.seq} />` },
        { label: "When", show: (each) => html`<${When} at=${each.at} />` },
        { label: "Kind", show: (each) => each.kind.replace("_", " ") },
        { label: "Change", number: true, show: (each) => html`<${Credits} of=${each.credits} signed />` },
        { label: "Charged", number: true, show: (each) => (each.charged ? html`<${Credits} of=${each.charged} />` : "–") },
        { label: "Available", number: true, show: (each) => html`<${Credits} of=${each.availableAfter} />` },
        { label: "Held", number: true, show: (each) => html`<${Credits} of=${each.heldAfter} />` },
        data.entries.some((each) => each.debtAfter) && { label: "Debt", number: true, show: (each) => html`<${Credits} of=${each.debtAfter} />` },
        { label: "Reason", wide: true, show: (each) => each.reason || "–" },
        { label: "By", show: (each) => each.actor },
        { label: "For", show: (each) => html`<${Causes} of=${each} runAddress=${runAddress} />` },
      ]} />`}<//>
  <//>`;
}

function Causes({ of, runAddress }) {
  const named = CAUSES.filter(([field]) => of[field]);
  const id = (field) => (field === "runId" && runAddress ? html`<a href=${runAddress(of.runId)}><code>${of.runId}</code></a>` : html`<code>${of[field]}</code>`);
  return named.length ? html`<ul>${named.map(([field, name]) => html`<li><span class="quiet">${name}</span> ${id(field)}</li>`)}</ul>` : "–";
}
