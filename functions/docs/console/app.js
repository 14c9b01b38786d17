// The frame: signing in, the navigation, and which screen an address shows. A screen's file is loaded when it is first shown.

import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./preact.js";
import { onTokenRefused, request, signIn, signOut } from "./api.js";
import { href, useRoute } from "./router.js";
import { Badge, Button, Dialog, Failed, Field, Loaded, Screen, useLoad } from "./ui.js";

const ADMINS = ["admin"], SUPERVISORS = ["admin", "supervisor"], USERS = ["admin", "supervisor", "user"];

// Address, label in the navigation (null: not listed there), the roles that it is listed for, and its file.
// A star stands for an id, which the screen gets as `id`.
const SCREENS = [
  ["overview", "Overview", ADMINS, () => import("./screens/overview.js")],
  ["people", "People", SUPERVISORS, () => import("./screens/people.js")],
  ["people/*", null, SUPERVISORS, () => import("./screens/person.js")],
  ["organizations", "Organizations", USERS, () => import("./screens/organizations.js")],
  ["organizations/*", null, USERS, () => import("./screens/organization.js")],
  ["sessions", "Sessions", SUPERVISORS, () => import("./screens/sessions.js")],
  ["prices", "Prices", USERS, () => import("./screens/prices.js")],
  ["prices/*", null, USERS, () => import("./screens/price.js")],
  ["me", "My account", USERS, () => import("./screens/me.js")],
];

const KEYS = [
  ["/", "Search"],
  ["g, then a letter", "Go to the screen whose name begins with the letter: g s for Sessions. Press both again for the next such screen"],
  ["Esc", "Close a dialog"],
  ["?", "Show this list"],
];

function App() {
  const [me, setMe] = useState(null);
  const [reason, setReason] = useState(null);
  useEffect(() => onTokenRefused((refusal) => { signOut(); setReason(refusal); setMe(null); }), []);
  const leave = () => { signOut(); setReason(null); setMe(null); };
  return me ? html`<${Frame} me=${me} leave=${leave} />`
    : html`<${SignIn} reason=${reason} signedIn=${(who) => { setReason(null); setMe(who); }} />`;
}

function SignIn({ reason, signedIn }) {
  const [token, setToken] = useState("");
  const [state, setState] = useState({ error: reason });
  const submitted = async (event) => {
    event.preventDefault();
    if (state.busy || !token.trim()) return;
    setState({ busy: true });
    try {
      signIn(token);
      signedIn((await request("GET", "users/me")).data);
    } catch (error) {
      signOut();
      setState({ error });
    }
  };
  return html`<main class="sign-in"><${Screen} title="Sign in" kicker="Credits console">
    <form onSubmit=${submitted}>
      <${Field} label="Token" value=${token} onInput=${setToken} class="secret" required autofocus
        hint=${html`Your sign-in service issues it. If the service runs locally, this prints one: <code class="nowrap">make token USER=demo-admin ROLE=admin</code>`} />
      ${state.error && html`<${Failed} error=${state.error} />`}
      <div class="buttons"><button type="submit" class="primary" disabled=${state.busy || !token.trim()}>${state.busy ? "Signing in …" : "Sign in"}</button></div>
    </form>
    <p class="quiet">The token stays in this page's memory. Reloading or closing the page forgets it.</p>
  <//></main>`;
}

function Frame({ me, leave }) {
  const { parts, query } = useRoute();
  const [help, setHelp] = useState(false);
  const offered = SCREENS.filter(([, label, roles]) => label && roles.includes(me.role));
  const address = parts.length ? parts : [offered[0][0]];
  useKeys(offered, address[0], () => setHelp(true));
  return html`
    <a class="skip" href="#main" onClick=${toMain}>Skip to the content</a>
    <header>
      <span class="brand">Credits</span>
      <nav aria-label="Screens">${offered.map(([name, label]) => html`
        <a href=${href(name)} aria-current=${address[0] === name ? "page" : undefined}>${label}</a>`)}</nav>
      <span class="who"><span title=${me.userId}>${me.username || me.userId}</span> <${Badge}>${me.role}<//></span>
      <${Button} onClick=${() => setHelp(true)} aria-label="Keyboard shortcuts">?<//>
      <${Button} onClick=${leave}>Sign out<//>
    </header>
    <main id="main" tabindex="-1">
      ${me.disabled && html`<div class="notice failed" role="status"><p><strong>Your account is disabled.</strong> ${me.disabledReason}</p></div>`}
      <${Shown} key=${address.join("/")} address=${address} query=${query} me=${me} />
    </main>
    ${help && html`<${Dialog} title="Keyboard shortcuts" onClose=${() => setHelp(false)}>
      <dl class="shortcuts">${KEYS.map(([keys, what]) => html`<div><dt><kbd>${keys}</kbd></dt><dd>${what}</dd></div>`)}</dl>
      <div class="buttons"><${Button} onClick=${() => setHelp(false)}>Close<//></div>
    <//>`}`;
}

function Shown({ address: [name, id], query, me }) {
  const [error, again] = useErrorBoundary((problem) => console.error(problem));
  const found = SCREENS.find(([each]) => each === (id === undefined ? name : `${name}/*`));
  const screen = useLoad(async () => (await found?.[3]().catch(outdated))?.default ?? Unknown);
  if (error) return html`<${Screen} title="This screen failed"><${Failed} error=${error} again=${again} /><//>`;
  return html`<${Loaded} of=${screen}>${(Found) => html`<${Found} id=${id} query=${query} me=${me} />`}<//>`;
}

const Unknown = () => html`<${Screen} title="No such screen"><p>The address names no screen. Choose one above.</p><//>`;

// A file of this page's version is gone after a deployment.
function outdated() {
  throw new Error("This part of the console cannot be loaded. If the service was updated, reload the page and sign in again.");
}

// The link's own address, #main, would replace the address of the screen.
function toMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function useKeys(offered, current, showHelp) {
  const before = useRef("");
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
      if (event.target.closest?.("input, textarea, select, dialog")) return;
      const key = event.key ?? "";
      const target = before.current === "g" && nextOf(offered, current, key);
      before.current = key;
      if (target) location.hash = href(target);
      else if (key === "?") showHelp();
      else if (key === "/") focusSearch(event, offered);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [offered.length, current]);
}

// The name of the screen whose label begins with this letter; of several, the one after the current screen.
function nextOf(offered, current, letter) {
  const names = offered.filter(([, label]) => letter && label.toLowerCase().startsWith(letter)).map(([name]) => name);
  return names[names.indexOf(current) + 1] ?? names[0];
}

// Search on this screen; if it has nothing to search, on People.
function focusSearch(event, offered) {
  const field = document.querySelector("[data-search]");
  if (field) {
    event.preventDefault();
    field.focus();
    field.select();
  } else if (offered.some(([name]) => name === "people")) location.hash = href("people", { search: "1" });
}

render(html`<${App} />`, document.getElementById("console"));
