// Times and figures for people. Times of the cluster are counted by the server's clock.

let ahead = 0;

/** Learn the server's time (an HTTP date): viewers' clocks may be wrong by minutes. */
export function setClock(date) {
  const server = Date.parse(date);
  if (!Number.isNaN(server)) ahead = server - Date.now();
}

/** Return the present time in milliseconds. */
export function now() {
  return Date.now() + ahead;
}

/** Return a duration in milliseconds as `45 s`, `12 min`, `3 h 05 min` or `4 d`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** Return how long ago a time stamp was. */
export function since(stamp) {
  return duration(now() - Date.parse(stamp));
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Return a time stamp as a time of day. */
export function hour(stamp) {
  return CLOCK.format(new Date(stamp));
}

/** Return a time stamp as a time of day, with the day where it is another. */
export function clock(stamp) {
  const time = new Date(stamp);
  const today = DAY.format(time) === DAY.format(new Date(now()));
  return today ? CLOCK.format(time) : `${DAY.format(time)} ${CLOCK.format(time)}`;
}

/** Return a figure with as many places as are worth reading. */
export function figure(value) {
  if (!Number.isFinite(value)) return "–";
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

/** Return MiB with thousands separated. */
export function mib(value) {
  return `${value.toLocaleString("en")} MiB`;
}

/** Return the name by which users know a job: that of its Job for a Workload. */
export function knownAs(job) {
  return job.shown ?? job.name;
}

/** Return a metric's name as papers write it. */
export function metricName(name) {
  return name.replace("_", "‑");
}
