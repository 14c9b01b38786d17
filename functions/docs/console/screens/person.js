// A person: who they are, and everything about their own account.

import { html, useState } from "../preact.js";
import { path, request } from "../api.js";
import { href } from "../router.js";
import { Badge, Button, Command, Failed, Field, Figures, Loading, Screen, Section, Tabs, When, useLoad } from "../ui.js";
import Audit from "./account_audit.js";
import Budgets from "./account_budgets.js";
import Keys from "./account_keys.js";
import Ledger from "./account_ledger.js";
import Preview from "./account_preview.js";
import Runs from "./account_runs.js";
import Sessions from "./account_sessions.js";
import Usage from "./account_usage.js";
import Wallet from "./account_wallet.js";
import { PersonState, personOf } from "./people.js";

const ADMINS = ["admin"], SUPERVISORS = ["admin", "supervisor"];

const TABS = [
  ["", "Credits", SUPERVISORS],
  ["ledger", "Ledger", SUPERVISORS],
  ["sessions", "Sessions", SUPERVISORS],
  ["usage", "Usage", SUPERVISORS],
  ["keys", "API keys", ADMINS],
  ["runs", "Runs", ADMINS],
  ["audit", "Audit", ADMINS],
];

export default function Person({ id, query, me }) {
  const load = useLoad(() => personOf(me, id), [id]);
  const person = load.data;
  const admin = me.role === "admin";
  return html`<${Screen} title=${person?.username || person?.userId || id} kicker="Person"
    actions=${admin && person && !person.erasedAt && html`<${Disabling} person=${person} reload=${load.reload} />`}>
    ${load.error ? html`<${Failed} error=${load.error} again=${load.reload} />` : !person ? html`<${Loading} />` : html`
      ${person.role && html`<${Profile} of=${person} />`}
      <${About} me=${me} userId=${person.userId} query=${query} />`}
  <//>`;
}

function Profile({ of }) {
  return html`<${Section} title="Profile">
    <${Figures} small of=${[
      { label: "State", value: html`<${PersonState} of=${of} /> <${Badge}>${of.role}<//>` },
      { label: "Id", value: html`<code>${of.userId}</code>` },
      { label: "E-mail address", value: of.email || "–" },
      { label: "Known since", value: html`<${When} at=${of.createdAt} />` },
      of.erasedAt && { label: "Erased", value: html`<${When} at=${of.erasedAt} />` },
      of.disabledAt && { label: "Disabled", value: html`<${When} at=${of.disabledAt} />` },
    ]} />
    ${of.disabledReason && html`<p>Disabled because: ${of.disabledReason}</p>`}
  <//>`;
}

function About({ me, userId, query }) {
  const account = { id: `user:${userId}`, userId };
  const offered = TABS.filter(([, , roles]) => roles.includes(me.role));
  const shown = offered.some(([name]) => name === query.tab) ? query.tab : "";
  const runAddress = offered.some(([name]) => name === "runs") && ((run) => href("people", userId, { tab: "runs", run }));
  return html`
    <${Tabs} label="About this person" of=${offered.map(([name, label]) => ({ label, href: href("people", userId, { tab: name }), current: name === shown }))} />
    ${shown === "" && html`<${Wallet} account=${account} me=${me} />`}
    ${shown === "" && me.role === "admin" && html`<${Budgets} account=${account} />`}
    ${shown === "" && html`<${Preview} account=${account} />`}
    ${shown === "ledger" && html`<${Ledger} account=${account} runAddress=${runAddress} />`}
    ${shown === "sessions" && html`<${Sessions} userId=${userId} me=${me} />`}
    ${shown === "usage" && html`<${Usage} account=${account} />`}
    ${shown === "keys" && html`<${Keys} userId=${userId} />`}
    ${shown === "runs" && html`<${Runs} account=${account} asked=${query.run} />`}
    ${shown === "audit" && html`<${Audit} account=${account} />`}`;
}

function Disabling({ person, reload }) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const close = () => { setOpen(false); setReason(""); };
  const verb = person.disabled ? "enable" : "disable";
  return html`
    <${Button} kind=${person.disabled ? "" : "danger"} onClick=${() => setOpen(verb)}>${person.disabled ? "Enable" : "Disable"}<//>
    ${open === "disable" && html`<${Command} title="Disable ${person.userId}" submit="Disable" kind="danger" ready=${reason.trim()} onClose=${close} onDone=${reload}
      send=${() => request("POST", path`users/${person.userId}/disable`, { body: { reason: reason.trim() } })}
      done=${({ data }) => `${data.userId} is disabled.`}>
      <p>Requests of this person and their API keys are refused within 30 seconds. Open sessions can still end.</p>
      <${Field} label="Reason" value=${reason} onInput=${setReason} lines="3" maxlength="1000" required hint="Administrators see it with the person." />
    <//>`}
    ${open === "enable" && html`<${Command} title="Enable ${person.userId}" submit="Enable" onClose=${close} onDone=${reload}
      send=${() => request("POST", path`users/${person.userId}/enable`)}
      done=${({ data }) => `${data.userId} is enabled.`}>
      <p>This person and their API keys may send requests again.${person.disabledReason && ` They were disabled because: ${person.disabledReason}`}</p>
    <//>`}`;
}
