// People: find one by id or e-mail address, or page through all of them.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { go, href } from "../router.js";
import { Badge, Failed, Field, Loaded, Screen, Section, Table, Tabs, When, digits, useLoad, usePages } from "../ui.js";

const ROWS = 25;
const ROLES = [["", "All"], ["user", "Users"], ["supervisor", "Supervisors"], ["admin", "Administrators"]];

export default function People({ me, query }) {
  return html`<${Screen} title="People">
    <${Find} me=${me} focused=${Boolean(query.search)} />
    ${me.role === "admin" && html`<${Everybody} role=${ROLES.some(([role]) => role === query.role) ? query.role : ""} />`}
  <//>`;
}

// The profile of the person with this id or address. Supervisors may not see profiles: they get the balance, with the id.
export async function personOf(me, reference) {
  const route = me.role === "supervisor" ? path`credits/balance/${reference}` : path`users/${reference}`;
  return (await request("GET", route)).data;
}

function Find({ me, focused }) {
  const [reference, setReference] = useState("");
  const [state, setState] = useState({});
  const submitted = async (event) => {
    event.preventDefault();
    if (state.busy || !reference.trim()) return;
    setState({ busy: true });
    try {
      const { userId } = await personOf(me, reference.trim());
      if (event.target.isConnected) go("people", userId);
    } catch (error) {
      setState({ error });
    }
  };
  return html`<${Section} title="Find a person">
    <form class="inline" role="search" onSubmit=${submitted}>
      <${Field} label="User id or e-mail address" value=${reference} onInput=${setReference} data-search autofocus=${focused} />
      <button type="submit" class="primary" disabled=${state.busy || !reference.trim()}>${state.busy ? "Searching …" : "Find"}</button>
    </form>
    ${state.error && html`<${Failed} error=${state.error} />`}
    ${state.error?.code === "USER_NOT_FOUND" && html`<p class="quiet">People appear here after their first request with their own token, or after your service has registered them with <code>POST /api/users/sync</code>.</p>`}
  <//>`;
}

function Everybody({ role }) {
  const pages = usePages([role]);
  const list = useLoad(() => request("GET", "users", { query: { role, limit: ROWS, cursor: pages.cursor } }), [role, pages.cursor]);
  return html`<${Section} title="All people" note=${list.data && `${digits(list.data.data.total)} people, newest first.`}
    actions=${html`<${Tabs} label="Role" of=${ROLES.map(([value, label]) => ({ label, href: href("people", { role: value }), current: value === role }))} />`}>
    <${Loaded} of=${list}>${({ data, nextCursor }) => html`<${Table} caption="All people" rows=${data.users} pages=${pages} nextCursor=${nextCursor}
      empty="Nobody has this role." columns=${[
        { label: "Name", wide: true, show: (each) => html`<a href=${href("people", each.userId)}>${each.username || each.userId}</a>` },
        { label: "Id", show: (each) => html`<code>${each.userId}</code>` },
        { label: "E-mail address", show: (each) => each.email || "–" },
        { label: "Role", show: (each) => html`<${Badge}>${each.role}<//>` },
        { label: "State", show: (each) => html`<${PersonState} of=${each} />` },
        { label: "Since", show: (each) => html`<${When} at=${each.createdAt} />` },
      ]} />`}<//>
  <//>`;
}

export function PersonState({ of }) {
  if (of.erasedAt) return html`<${Badge} tone="bad">erased<//>`;
  return of.disabled ? html`<${Badge} tone="bad">disabled<//>` : html`<${Badge} tone="good">active<//>`;
}
