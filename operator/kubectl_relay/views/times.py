"""Times and lengths of time for people."""

from datetime import datetime, timedelta


def span(length: timedelta) -> str:
    """Write a length of time by its two largest units: `45s`, `4m 05s`, `2h 10m`, `3d 4h`; negative ones as `0s`."""
    seconds = max(0, int(length.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{seconds}s"
    if hours == 0:
        return f"{minutes}m {seconds % 60:02}s"
    if days == 0:
        return f"{hours}h {minutes % 60:02}m"
    return f"{days}d {hours % 24}h"


def clock(moment: datetime, now: datetime) -> str:
    """Write a moment in the time zone of `now`: the time of day, with the date where that is not today's."""
    local = moment.astimezone(now.tzinfo)
    return local.strftime("%H:%M:%S" if local.date() == now.date() else "%Y-%m-%d %H:%M:%S")
