// The dialog of a command that moves credits. It shows the balance that the command leaves before anything is sent.

import { html, useState } from "../preact.js";
import { request } from "../api.js";
import { Command, Credits, Field, When, digits, wholeNumber } from "../ui.js";

// The request of each command, and the balance after it: `after(balance, amount)` returns { available, debt }.
export const COMMANDS = {
  grant: {
    label: "Grant", title: "Grant credits to", method: "POST", route: "credits/allocate", field: "credits", expires: () => true,
    allowed: "1 or more", allows: (amount) => amount >= 1, after: ({ totalCredits, debt }, amount) => added(totalCredits, debt, amount),
    done: (data) => html`Granted <${Credits} of=${data.credits} /> credits, valid until <${When} at=${data.expiresAt} />.${data.remainingCredits < data.credits && ` ${digits(data.credits - data.remainingCredits)} of them repaid debt.`}`,
  },
  remove: {
    label: "Remove", title: "Remove credits from", method: "DELETE", route: "credits/remove", field: "credits", expires: () => false,
    allowed: "1 or more", allows: (amount) => amount >= 1, after: ({ totalCredits, debt }, amount) => ({ available: totalCredits - amount, debt }),
    done: (data) => html`Removed <${Credits} of=${data.removedCredits} /> credits.`,
  },
  set: {
    label: "Set", title: "Set the credits of", method: "POST", route: "credits/set", field: "credits",
    expires: ({ totalCredits }, amount) => !(amount <= totalCredits),
    hint: "What can be spent afterward. Held credits do not change, and debt is written off.",
    allowed: "0 or more", allows: (amount) => amount >= 0, after: (_, amount) => ({ available: amount, debt: 0 }),
    done: (data) => html`Set to <${Credits} of=${data.totalCredits} /> credits, from <${Credits} of=${data.previousCredits} />.`,
  },
  adjust: {
    label: "Adjust", title: "Adjust the credits of", method: "PUT", route: "credits/adjust", field: "adjustment", expires: (_, amount) => !(amount < 0),
    hint: "A positive number grants credits, a negative one takes them away.",
    allowed: "Any number but 0", allows: (amount) => amount !== 0, after: ({ totalCredits, debt }, amount) => (amount > 0 ? added(totalCredits, debt, amount) : { available: totalCredits + amount, debt }),
    done: (data) => html`Adjusted by <${Credits} of=${data.adjustment} signed /> credits.`,
  },
};

// A grant first repays debt.
const added = (available, debt, amount) => ({ available: available + Math.max(0, amount - debt), debt: Math.max(0, debt - amount) });

export default function CreditCommand({ name, account, balance: latest, onDone, onClose }) {
  const command = COMMANDS[name];
  const [balance] = useState(latest); // as it was when the dialog opened: the screen behind reloads after the command
  const [amountText, setAmount] = useState("");
  const [expiry, setExpiry] = useState({ kind: "days", days: "30", at: "" });
  const [notes, setNotes] = useState("");
  const amount = wholeNumber(amountText);
  const valid = Number.isSafeInteger(amount) && command.allows(amount);
  const expires = command.expires(balance, amount);
  const ready = valid && notes.trim() && (!expires || expiryOf(expiry));
  const send = (key) => request(command.method, command.route, {
    body: { accountId: account.id, [command.field]: amount, notes: notes.trim(), ...(expires && expiryOf(expiry)) }, idempotent: key,
  });
  return html`<${Command} title="${command.title} ${account.userId ?? account.id}" submit=${command.label} kind=${name === "remove" ? "danger" : "primary"}
    ready=${Boolean(ready)} send=${send} onDone=${onDone} onClose=${onClose}
    done=${({ data, replayed }) => html`${command.done(data)} The balance is now <${Credits} of=${data.totalCredits} /> credits.${data.debt > 0 && ` The debt is ${digits(data.debt)} credits.`}${replayed && " The command had been carried out already, and was not repeated."}`}>
    <${Field} label="Credits" value=${amountText} onInput=${setAmount} hint=${amountText && !valid ? `${command.allowed}, in digits.` : command.hint} inputmode=${name === "adjust" ? "text" : "numeric"} required autofocus />
    ${expires && html`<${Expiry} of=${expiry} change=${(part) => setExpiry({ ...expiry, ...part })} />`}
    <${Field} label="Reason" value=${notes} onInput=${setNotes} hint="Required. The ledger keeps it." maxlength="1000" required />
    <${After} balance=${balance} after=${valid && command.after(balance, amount)} />
  <//>`;
}

function Expiry({ of, change }) {
  return html`
    <${Field} label="The credits expire" value=${of.kind} onInput=${(kind) => change({ kind })} options=${[["days", "After a number of days"], ["at", "At a time"]]} />
    ${of.kind === "days"
      ? html`<${Field} label="Days" value=${of.days} onInput=${(days) => change({ days })} inputmode="numeric" required />`
      : html`<${Field} label="Time" type="datetime-local" value=${of.at} onInput=${(at) => change({ at })} required hint="In the time zone of this browser." />`}`;
}

// The expiry as the routes take it, null if it is incomplete.
function expiryOf({ kind, days, at }) {
  if (kind === "at") return at ? { expiresAt: new Date(at).toISOString() } : null;
  const count = wholeNumber(days);
  return count >= 1 ? { expiryDays: count } : null;
}

// The balance after the command. It is only a computation on what this page has read: the service decides.
function After({ balance: { totalCredits, debt }, after }) {
  const short = after && after.available < 0;
  const owed = (credits) => (debt > 0 || credits > 0) && html`, debt <${Credits} of=${credits} />`;
  return html`<div class="notice ${short ? "warn" : ""}" aria-live="polite">
    <p>Balance: <${Credits} of=${totalCredits} />${owed(debt)}${after && !short && html` → <strong><${Credits} of=${after.available} /></strong>${owed(after.debt)}`}</p>
    <p class="quiet">${short ? "There are not that many credits, so the service will refuse." : "Computed from the balance that this page has just read. The service decides on the balance at that moment."}</p>
  </div>`;
}
