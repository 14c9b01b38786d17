// A person's sessions: those that are live, and the newest.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { Button, Credits, Loaded, Section, Table, When, useLoad, usePages } from "../ui.js";
import { End, State } from "./sessions.js";

const ROWS = 15;

// Users may list only their live sessions. Supervisors and administrators may list all, and end a live one.
export default function Sessions({ userId, me }) {
  const supervises = me.role !== "user";
  return html`
    <${Listed} title="Live sessions" route=${path`streaming-sessions/active/${userId}`} empty="No session is live." live supervises=${supervises} />
    ${supervises && html`<${Listed} title="All sessions" route=${path`streaming-sessions/recent/${userId}`} empty="There has been no session yet." />`}`;
}

function Listed({ title, route, empty, live, supervises }) {
  const [ending, setEnding] = useState(null);
  const pages = usePages([route]);
  const list = useLoad(() => request("GET", route, { query: { limit: ROWS, cursor: pages.cursor } }), [route, pages.cursor]);
  return html`<${Section} title=${title} note="Newest first."><${Loaded} of=${list}>${({ data, nextCursor }) => html`
    <${Table} caption=${title} rows=${data} pages=${pages} nextCursor=${nextCursor} empty=${empty} columns=${[
      { label: "Session", wide: true, show: (each) => html`<code>${each.sessionId}</code>${each.accountId !== `user:${each.userId}` && html`<br />paid by <code>${each.accountId}</code>`}` },
      { label: "Model", wide: true, show: (each) => html`${each.modelId}${each.servedModelId && html`<br />served by ${each.servedModelId}`}` },
      !live && { label: "State", show: (each) => html`<${State} of=${each} />` },
      { label: "Started", show: (each) => html`<${When} at=${each.startedAt} />` },
      live ? { label: "Last heard from", show: (each) => html`<${When} at=${each.lastSeenAt} />` } : { label: "Ended", show: (each) => html`<${When} at=${each.completedAt} />` },
      { label: "Tokens", number: true, show: (each) => html`<${Credits} of=${each.tokensGenerated} />` },
      { label: "Held", number: true, show: (each) => html`<${Credits} of=${each.status === "active" ? each.allocatedCredits : 0} />` },
      { label: live ? "Cost so far" : "Cost", number: true, show: (each) => html`<${Credits} of=${each.usedCredits} />` },
      live && supervises && { label: "", show: (each) => html`<${Button} kind="danger" onClick=${() => setEnding(each)} aria-label="End the session ${each.sessionId}">End<//>` },
    ]} />`}<//>
    ${ending && html`<${End} session=${ending} onDone=${list.reload} onClose=${() => setEnding(null)} />`}
  <//>`;
}
