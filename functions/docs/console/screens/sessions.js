// Sessions: those that are live, and the newest of all. An administrator or supervisor can end a live one.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { href } from "../router.js";
import { Badge, Button, Command, Credits, Field, Loaded, Screen, Section, Table, Tabs, When, digits, useLoad, usePages } from "../ui.js";

const ROWS = 25;
const LISTS = {
  live: ["Live", "streaming-sessions/active/all", "In the order of users.", "No session is live."],
  newest: ["Newest", "streaming-sessions/recent", "Live and ended, newest first.", "There has been no session yet."],
};

export default function Sessions({ me, query }) {
  const lists = me.role === "admin" ? ["live", "newest"] : ["newest"]; // only administrators may list all live sessions
  const list = lists.includes(query.list) ? query.list : lists[0];
  return html`<${Screen} title="Sessions">
    ${lists.length > 1 && html`<${Tabs} label="Which sessions" of=${lists.map((each) => (
      { label: LISTS[each][0], href: href("sessions", { list: each }), current: each === list }))} />`}
    <${Listed} key=${list} list=${list} />
  <//>`;
}

function Listed({ list }) {
  const [title, route, note, empty] = LISTS[list];
  const [ending, setEnding] = useState(null);
  const pages = usePages();
  const found = useLoad(() => request("GET", route, { query: { limit: ROWS, cursor: pages.cursor } }), [pages.cursor]);
  return html`<${Section} title="${title} sessions" note=${note} actions=${html`<${Button} busy=${found.loading} onClick=${found.reload}>Refresh<//>`}>
    <${Loaded} of=${found}>${({ data, nextCursor }) => html`
      <${Table} caption="${title} sessions" rows=${data} pages=${pages} nextCursor=${nextCursor} empty=${empty} columns=${[
        { label: "User", show: (each) => html`<a href=${href("people", each.userId)}>${each.userId}</a>` },
        { label: "Model and session", wide: true, show: (each) => html`${each.modelId}<br /><code>${each.sessionId}</code>` },
        list === "newest" && { label: "State", show: (each) => html`<${State} of=${each} />` },
        { label: "Started", show: (each) => html`<${When} at=${each.startedAt} />` },
        { label: "Last heard from", show: (each) => html`<${When} at=${each.lastSeenAt} />` },
        { label: "Tokens", number: true, show: (each) => html`<${Credits} of=${each.tokensGenerated} />` },
        { label: "Held", number: true, show: (each) => html`<${Credits} of=${isLive(each) ? each.allocatedCredits : 0} />` },
        { label: list === "live" ? "Cost so far" : "Cost", number: true, show: (each) => html`<${Credits} of=${each.usedCredits} />` },
        { label: "", show: (each) => isLive(each) && html`<${Button} kind="danger" onClick=${() => setEnding(each)} aria-label="End the session ${each.sessionId}">End<//>` },
      ]} />`}<//>
    ${ending && html`<${End} session=${ending} onDone=${found.reload} onClose=${() => setEnding(null)} />`}
  <//>`;
}

const isLive = (session) => session.status === "active";

export const State = ({ of }) => html`<${Badge} tone=${isLive(of) ? "good" : ""}>${of.outcome ?? of.status}<//>`;

export function End({ session, onDone, onClose }) {
  const [reason, setReason] = useState("");
  return html`<${Command} title="End the session ${session.sessionId}" submit="End the session" kind="danger" ready=${reason.trim()}
    send=${() => request("POST", path`streaming-sessions/${session.userId}/${session.sessionId}/end`, { body: { reason: reason.trim() } })}
    done=${({ data }) => `The session of ${data.userId} has ended. It cost ${digits(data.usedCredits)} credits, and ${digits(Math.max(0, data.allocatedCredits - data.usedCredits))} went back to the account.`}
    onDone=${onDone} onClose=${onClose}>
    <p>The account pays what the last heartbeat reported: ${digits(session.tokensGenerated)} tokens. If no heartbeat arrived, it pays nothing or the session's estimate,
      as the service's parameter SweepCharges says. The rest of the ${digits(session.allocatedCredits)} held credits goes back to the account.
      If the stream ends itself later, the difference is charged or refunded.</p>
    <${Field} label="Reason" value=${reason} onInput=${setReason} lines="3" maxlength="1000" required autofocus hint="It is kept in the ledger." />
  <//>`;
}
