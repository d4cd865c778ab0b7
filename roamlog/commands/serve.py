"""`roamlog serve`: the banner."""

import logging
from pathlib import Path

from roamlog import settings
from roamlog.commands.output import say, say_log


def run(data: Path, host: str | None, port: int | None, as_json: bool) -> None:
    """Serve the folder until the process is asked to stop."""
    chosen = settings.read(host=host, port=port)
    say_log(chosen.log_level)
    from roamlog.serve import Started, serve

    def started(at: Started) -> None:
        if as_json:
            import msgspec

            say(msgspec.json.encode({"url": at.url, "data": str(at.data), "operator_token": at.operator_token}).decode())
            return
        lines = [f"roamlog serves {at.data}", f"  OCPI       {at.url}/ocpi/versions", f"  analytics  {at.url}/docs"]
        if at.operator_token is not None:
            lines.append(f"  operator   {at.operator_token}   (shown this once; kept in {at.data / 'secrets.json'})")
        say("\n".join(lines))

    serve(data, chosen, started)
    logging.getLogger("roamlog").info("stopped")
