// Organizations: administrators see all of them, everybody else those that they are a member of.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { go, href } from "../router.js";
import { Badge, Field, Loaded, Screen, Section, Table, When, digits, useLoad, usePages } from "../ui.js";

const ROWS = 25;

export default function Organizations({ me }) {
  const pages = usePages();
  const list = useLoad(() => request("GET", "organizations", { query: { limit: ROWS, cursor: pages.cursor } }), [pages.cursor]);
  const all = me.role === "admin";
  return html`<${Screen} title="Organizations">
    ${me.role !== "user" && html`<${Find} />`}
    <${Section} title=${all ? "All organizations" : "Your organizations"} note="Newest first.">
      <${Loaded} of=${list}>${({ data, nextCursor }) => html`<${Table} caption="Organizations" rows=${data.organizations} pages=${pages} nextCursor=${nextCursor}
        empty=${all ? "There is no organization yet." : "You are not a member of an organization."} columns=${[
          { label: "Name", wide: true, show: (each) => html`<a href=${href("organizations", each.organizationId)}>${each.name}</a>` },
          { label: "Id", show: (each) => html`<code>${each.organizationId}</code>` },
          { label: "Members", number: true, show: (each) => digits(each.members) },
          !all && { label: "Your role", show: (each) => html`<${Badge}>${each.role}<//>` },
          { label: "State", show: (each) => html`<${OrganizationState} of=${each} />` },
          { label: "Since", show: (each) => html`<${When} at=${each.createdAt} />` },
        ]} />`}<//>
    <//>
  <//>`;
}

function Find() {
  const [id, setId] = useState("");
  const wanted = id.trim().replace(/^org:/, "");
  const submitted = (event) => {
    event.preventDefault();
    if (wanted) go("organizations", wanted);
  };
  return html`<${Section} title="Find an organization">
    <form class="inline" role="search" onSubmit=${submitted}>
      <${Field} label="Organization id" value=${id} onInput=${setId} data-search />
      <button type="submit" class="primary" disabled=${!wanted}>Find</button>
    </form>
  <//>`;
}

export const OrganizationState = ({ of }) => (of.closedAt ? html`<${Badge} tone="bad">closed<//>` : html`<${Badge} tone="good">open<//>`);
