// The API keys of a person. A key can be ended for good.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { Badge, Button, Command, Loaded, Section, Table, When, useLoad, usePages } from "../ui.js";

const ROWS = 25;

export default function Keys({ userId }) {
  const [ending, setEnding] = useState(null);
  const pages = usePages([userId]);
  const list = useLoad(() => request("GET", "api-keys", { query: { userId, limit: ROWS, cursor: pages.cursor } }), [userId, pages.cursor]);
  return html`<${Section} title="API keys" note="Newest first."><${Loaded} of=${list}>${({ data, nextCursor }) => html`
    <${Table} caption="API keys" rows=${data} pages=${pages} nextCursor=${nextCursor} empty="There is no API key." columns=${[
      { label: "Name and id", wide: true, show: (each) => html`${each.name}<br /><code>${each.id}</code>` },
      { label: "State", show: (each) => (each.isActive ? html`<${Badge} tone="good">active<//>` : html`<${Badge} tone="bad">ended<//>`) },
      { label: "Permissions", wide: true, show: (each) => each.permissions.join(", ") || "none" },
      { label: "Spends from", show: (each) => each.accountId ?? "any account" },
      { label: "Made", show: (each) => html`<${When} at=${each.createdAt} />` },
      { label: "Last used", show: (each) => html`<${When} at=${each.lastUsed} never="never" />` },
      { label: "Expires", show: (each) => html`<${When} at=${each.expiresAt} never="never" />` },
      { label: "", show: (each) => each.isActive && html`<${Button} kind="danger" onClick=${() => setEnding(each)} aria-label="End the key ${each.name}">End<//>` },
    ]} />
    ${ending && html`<${Command} title="End the key ${ending.name}" submit="End the key" kind="danger" onClose=${() => setEnding(null)} onDone=${list.reload}
      send=${() => request("POST", path`api-keys/${ending.id}/revoke`)}
      done=${() => `The key ${ending.name} has ended. It is refused everywhere within 30 seconds.`}>
      <p>Requests with this key are refused for good. The key stays in the list, and its open sessions still settle.</p>
    <//>`}`}<//><//>`;
}
