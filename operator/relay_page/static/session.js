// The token, for as long as this tab is open; nothing of it is written anywhere else.

const TOKEN = "gpu-relay-token", NAMESPACE = "gpu-relay-namespace";

export const session = {
  get token() { return sessionStorage.getItem(TOKEN) ?? ""; },
  get namespace() { return sessionStorage.getItem(NAMESPACE) ?? ""; },
  enter(token, namespace) {
    sessionStorage.setItem(TOKEN, token.trim());
    sessionStorage.setItem(NAMESPACE, namespace.trim());
  },
  leave() { sessionStorage.removeItem(TOKEN); },
};

/** An answer that is none of what was asked for; the message is for the viewer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask the server with the token; Refused with its sentence where it says no. */
export async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${session.token}` };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  let message = `The server answered ${answer.status}.`;
  try {
    const said = await answer.json();
    if (typeof said.message === "string") message = said.message;
  } catch { /* a proxy in between may answer with anything */ }
  throw new Refused(answer.status, message);
}
