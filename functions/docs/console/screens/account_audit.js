// The proof of an account: its ledger, added up again and compared with its wallet.

import { html } from "../preact.js";
import { path, request } from "../api.js";
import { Badge, Button, Credits, Figures, Loaded, Section, Table, digits, useLoad } from "../ui.js";

const SUMS = ["granted", "available", "held", "charged", "removed", "expired", "debt"];

export default function Audit({ account }) {
  const proof = useLoad(async () => (await request("GET", path`credits/audit/${account.id}`)).data, [account.id]);
  const again = html`<${Button} busy=${proof.loading} onClick=${proof.reload}>Prove again<//>`;
  return html`<${Section} title="Audit" actions=${again} note="The sums and the chain of hashes of the ledger, compared with the wallet.">
    <${Loaded} of=${proof} label="Reading the ledger">${(data) => html`
      <${Figures} of=${[
        { label: "Result", value: data.intact ? html`<${Badge} tone="good">intact<//>` : html`<${Badge} tone="bad">not intact<//>` },
        { label: "Drift", value: html`<${Credits} of=${data.drift} />`, tone: data.drift ? "bad" : "" },
        { label: "Entries", value: digits(data.lastSeq), note: data.firstSeq > 1 && `the auditor proved those before ${digits(data.firstSeq)} earlier` },
      ]} />
      ${data.findings.length > 0 && html`<${Table} caption="Findings" hidden=${false} rows=${data.findings} columns=${[
        { label: "Entry", number: true, show: (each) => digits(each.seq) },
        { label: "Problem", wide: true, show: (each) => each.problem },
      ]} />`}
      <div class="columns">
        <${Table} caption="Sums" hidden=${false} rows=${SUMS} columns=${[
          { label: "Sum", show: (name) => name },
          { label: "Ledger", number: true, show: (name) => html`<${Credits} of=${data.ledger[name]} />` },
          { label: "Wallet", number: true, show: (name) => html`<${Credits} of=${data.wallet[name]} />` },
        ]} />
        <${Table} caption="Entries by kind" hidden=${false} rows=${Object.entries(data.byKind)} empty="There are no entries yet." columns=${[
          { label: "Kind", show: ([kind]) => kind.replace("_", " ") },
          { label: "Entries", number: true, show: ([, sums]) => digits(sums.entries) },
          { label: "Change", number: true, show: ([, sums]) => html`<${Credits} of=${sums.credits} signed />` },
          { label: "Charged", number: true, show: ([, sums]) => html`<${Credits} of=${sums.charged} />` },
        ]} />
      </div>
      <p class="quiet">Hash of the last entry: <code>${data.head}</code></p>`}<//>
  <//>`;
}
