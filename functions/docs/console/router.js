// Addresses of screens: #/people/alice?tab=ledger. Only the part after # changes, so the page is never loaded again.

import { useEffect, useState } from "./preact.js";

// The parts and the query of an address.
export function parse(hash) {
  const [address, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { parts: address.split("/").filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(query)) };
}

// The address of a screen: href("people", id) or href("people", { role: "admin" }).
export function href(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const present = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(present).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text && `?${text}`}`;
}

// Show another screen, or the same one with another query.
export function go(...parts) {
  location.hash = href(...parts);
}

export function useRoute() {
  const [route, setRoute] = useState(parse(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
