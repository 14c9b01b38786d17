// An organization: its members, and everything about the account that they share.

import { html } from "../preact.js";
import { path, request } from "../api.js";
import { href } from "../router.js";
import { Badge, Failed, Figures, Loaded, Loading, Screen, Section, Table, Tabs, When, digits, useLoad, usePages } from "../ui.js";
import Audit from "./account_audit.js";
import Budgets from "./account_budgets.js";
import Ledger from "./account_ledger.js";
import Preview from "./account_preview.js";
import Runs from "./account_runs.js";
import Usage from "./account_usage.js";
import Wallet from "./account_wallet.js";
import { OrganizationState } from "./organizations.js";

const ROWS = 25;

export default function Organization({ id, query, me }) {
  const load = useLoad(() => organizationOf(me, id), [id]);
  const found = load.data;
  return html`<${Screen} title=${found?.name ?? id} kicker="Organization">
    ${load.error ? html`<${Failed} error=${load.error} again=${load.reload} />` : !found ? html`<${Loading} />` : html`
      ${found.createdAt && html`<${Profile} of=${found} />`}
      <${About} me=${me} of=${found} query=${query} />`}
  <//>`;
}

// The organization. Supervisors who are not members may see only its account, so they get only the two ids.
async function organizationOf(me, id) {
  try {
    return (await request("GET", path`organizations/${id}`)).data;
  } catch (error) {
    if (me.role !== "supervisor" || error.status === 401 || error.status === 0) throw error;
    const { accountId } = (await request("GET", "credits/balance", { query: { accountId: `org:${id}` } })).data;
    return { organizationId: id, accountId };
  }
}

const Profile = ({ of }) => html`<${Section} title="Profile">
  <${Figures} small of=${[
    { label: "State", value: html`<${OrganizationState} of=${of} /> ${of.role && html`<${Badge}>${of.role}<//>`}` },
    { label: "Id", value: html`<code>${of.organizationId}</code>` },
    { label: "Members", value: digits(of.members) },
    { label: "Since", value: html`<${When} at=${of.createdAt} />` },
    of.closedAt && { label: "Closed", value: html`<${When} at=${of.closedAt} />`, note: of.transferTo && `Its credits go to ${of.transferTo}` },
  ]} />
<//>`;

// What the caller may see: as an administrator, as a supervisor, or by their role in the organization.
function tabsFor(me, of) {
  const admin = me.role === "admin", manages = admin || ["owner", "admin"].includes(of.role);
  return [
    ["", "Credits", true],
    ["members", "Members", admin || of.role],
    ["ledger", "Ledger", manages || me.role === "supervisor"],
    ["usage", "Usage", true],
    ["runs", "Runs", admin || of.role],
    ["audit", "Audit", admin],
  ].filter(([, , offered]) => offered);
}

function About({ me, of, query }) {
  const account = { id: of.accountId, organizationId: of.organizationId, role: of.role };
  const offered = tabsFor(me, of);
  const shown = offered.some(([name]) => name === query.tab) ? query.tab : "";
  const runAddress = offered.some(([name]) => name === "runs") && ((run) => href("organizations", of.organizationId, { tab: "runs", run }));
  return html`
    <${Tabs} label="About this organization" of=${offered.map(([name, label]) => ({ label, href: href("organizations", of.organizationId, { tab: name }), current: name === shown }))} />
    ${shown === "" && html`<${Wallet} account=${account} me=${me} />`}
    ${shown === "" && (me.role === "admin" || of.role) && html`<${Budgets} account=${account} />`}
    ${shown === "" && html`<${Preview} account=${account} />`}
    ${shown === "members" && html`<${Members} organizationId=${of.organizationId} me=${me} />`}
    ${shown === "ledger" && html`<${Ledger} account=${account} runAddress=${runAddress} />`}
    ${shown === "usage" && html`<${Usage} account=${account} />`}
    ${shown === "runs" && html`<${Runs} account=${account} asked=${query.run} />`}
    ${shown === "audit" && html`<${Audit} account=${account} />`}`;
}

function Members({ organizationId, me }) {
  const pages = usePages();
  const list = useLoad(() => request("GET", path`organizations/${organizationId}/members`, { query: { limit: ROWS, cursor: pages.cursor } }), [pages.cursor]);
  const linked = me.role !== "user";
  return html`<${Section} title="Members"><${Loaded} of=${list}>${({ data, nextCursor }) => html`
    <${Table} caption="Members" rows=${data.members} pages=${pages} nextCursor=${nextCursor} columns=${[
      { label: "User", show: (each) => (linked ? html`<a href=${href("people", each.userId)}>${each.userId}</a>` : each.userId) },
      { label: "E-mail address", wide: true, show: (each) => each.email ?? "–" },
      { label: "Role", show: (each) => html`<${Badge}>${each.role}<//>` },
      { label: "Since", show: (each) => html`<${When} at=${each.since} />` },
    ]} />`}<//><//>`;
}
