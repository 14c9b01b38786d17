// Sessions: those that are live, and the newest.

import { html } from "../preact.js";
import { request } from "../api.js";
import { Credits, Loaded, Screen, Table, When, useLoad, usePages } from "../ui.js";

export default function Sessions({ me }) {
  const route = me.role === "admin" ? "streaming-sessions/active/all" : "streaming-sessions/recent";
  const pages = usePages();
  const list = useLoad(() => request("GET", route, { query: { limit: 25, cursor: pages.cursor } }), [pages.cursor]);
  return html`<${Screen} title="Sessions"><${Loaded} of=${list}>${({ data, nextCursor }) => html`
    <${Table} caption="Sessions" rows=${data} pages=${pages} nextCursor=${nextCursor} empty="No session is live." columns=${[
      { label: "User", show: (each) => each.userId },
      { label: "Model", show: (each) => each.modelId },
      { label: "Started", show: (each) => html`<${When} at=${each.startedAt} />` },
      { label: "Tokens", number: true, show: (each) => html`<${Credits} of=${each.tokensGenerated} />` },
      { label: "Held", number: true, show: (each) => html`<${Credits} of=${each.allocatedCredits} />` },
    ]} />`}<//><//>`;
}
