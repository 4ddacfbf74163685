// The token, for as long as this tab is open; it is written nowhere else.

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

/** A request that was refused; the message is for the viewer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Send a request with the token; throw Refused with the server's message where it is refused. */
export async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${session.token}` };
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (answer.ok) return answer;
  let message = `The server answered ${answer.status}.`;
  try {
    const body = await answer.json();
    if (typeof body.message === "string") message = body.message;
  } catch { /* a proxy in between may answer with anything */ }
  throw new Refused(answer.status, message);
}
