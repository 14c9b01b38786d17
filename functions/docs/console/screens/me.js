// The signed-in person's own account: what they can spend and until when, what they used, their keys and the ledger.

import { html } from "../preact.js";
import { href } from "../router.js";
import { Screen, Tabs } from "../ui.js";
import Budgets from "./account_budgets.js";
import Keys from "./account_keys.js";
import Ledger from "./account_ledger.js";
import Preview from "./account_preview.js";
import Sessions from "./account_sessions.js";
import Usage from "./account_usage.js";
import Wallet from "./account_wallet.js";

const TABS = [["", "Credits"], ["usage", "Usage"], ["sessions", "Sessions"], ["keys", "API keys"], ["ledger", "Ledger"]];

export default function Me({ me, query }) {
  const account = { id: `user:${me.userId}`, userId: me.userId };
  const shown = TABS.some(([name]) => name === query.tab) ? query.tab : "";
  return html`<${Screen} title="My account" kicker=${me.email || me.userId}>
    <${Tabs} label="About my account" of=${TABS.map(([name, label]) => ({ label, href: href("me", { tab: name }), current: name === shown }))} />
    ${shown === "" && html`<${Wallet} account=${account} me=${me} /><${Budgets} account=${account} /><${Preview} account=${account} />`}
    ${shown === "usage" && html`<${Usage} account=${account} />`}
    ${shown === "sessions" && html`<${Sessions} userId=${me.userId} me=${me} />`}
    ${shown === "keys" && html`<${Keys} userId=${me.userId} />`}
    ${shown === "ledger" && html`<${Ledger} account=${account} />`}
  <//>`;
}
