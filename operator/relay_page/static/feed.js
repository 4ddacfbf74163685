// Server-sent events over fetch: EventSource cannot send the token in a header, and a URL is no place for it.

import { setClock } from "./format.js";
import { ask, Refused, session } from "./session.js";

const FIRST_PAUSE = 1000, LONGEST_PAUSE = 20000;

/** Follow the cluster until `stop` is aborted. `on` has: live(), away(message), refused(error), event(name, data). */
export async function follow(on, stop) {
  let pause = FIRST_PAUSE;
  while (!stop.aborted) {
    try {
      const answer = await ask(`api/feed?namespace=${encodeURIComponent(session.namespace)}`, { signal: stop });
      setClock(answer.headers.get("Date"));
      on.live();
      pause = FIRST_PAUSE;
      for await (const [name, data] of events(answer.body)) {
        if (name === "end") throw new Refused(data.status, data.message);
        on.event(name, data);
      }
      on.away("The connection has ended.");
    } catch (error) {
      if (stop.aborted) return;
      if (error instanceof Refused && error.status < 500) return on.refused(error);
      on.away(error instanceof Refused ? error.message : "The server does not answer.");
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

/** Read server-sent events from a stream of bytes. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (lines.data !== undefined) yield [lines.event, JSON.parse(lines.data)];
    }
  }
}
