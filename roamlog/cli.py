"""The command line: what can be asked, in typer's words. What is done stands in roamlog/commands and operations.py."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version as released
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from roamlog.errors import FAILED, UNUSABLE, Failure

# The root of typer's own usage errors; which package it comes from differs between releases of typer.
_UsageError: Final[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="roamlog",
    help="The event log of EV roaming: OCPI in, durable events, folded tables, OCPI and analytics out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
partner = typer.Typer(help="Who is connected, and with which token.", no_args_is_help=True)
rejected = typer.Typer(help="What was refused: look at it, process it anew.", no_args_is_help=True)
app.add_typer(partner, name="partner")
pull = typer.Typer(
    help="Partners' lists: crawl them now, see what crawls found, say when they run; without a command, at scale, the process "
    "that crawls them by schedule.",
    invoke_without_command=True,
)
app.add_typer(rejected, name="rejected")
app.add_typer(pull, name="pull")

Data = Annotated[Path, typer.Option("--data", envvar="ROAMLOG_DATA", help="The data folder.", show_default=True)]
Kafka = Annotated[bool, typer.Option("--kafka", help="At scale: of the log on Kafka (ROAMLOG_KAFKA), not of a data folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Host = Annotated[str | None, typer.Option("--host", help="The address to listen on (127.0.0.1).", show_default=False)]
Port = Annotated[int | None, typer.Option("--port", help="The port to listen on (8080); 0 takes a free one.", show_default=False)]
DATA: Final = Path("data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"roamlog {released('roamlog')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)] = False,
) -> None:
    pass


@app.command()
def serve(
    data: Data = DATA,
    host: Host = None,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Take pushes, keep, fold and serve them until SIGTERM or Ctrl-C."""
    from roamlog.commands.serve import run

    run(data, host, port, as_json)


@app.command()
def prepare(as_json: AsJson = False) -> None:
    """At scale: make the topics, the database and the tables that are missing; once, before the other processes."""
    from roamlog.commands.scale import prepare as run

    run(as_json)


@app.command()
def ingest(host: Host = None, port: Port = None, as_json: AsJson = False) -> None:
    """At scale: take pushes into Kafka until SIGTERM or Ctrl-C."""
    from roamlog.commands.scale import ingest as run

    run(host, port, as_json)


@app.command()
def streams(as_json: AsJson = False) -> None:
    """At scale: fold what Kafka has into ClickHouse, as one of several workers, until SIGTERM or Ctrl-C."""
    from roamlog.commands.scale import streams as run

    run(as_json)


@app.command()
def api(host: Host = None, port: Port = None, as_json: AsJson = False) -> None:
    """At scale: serve OCPI lists and analytics from ClickHouse until SIGTERM or Ctrl-C."""
    from roamlog.commands.scale import api as run

    run(host, port, as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """At scale: look at brokers, topics, ClickHouse, clock, disk and versions, and say what to do."""
    from roamlog.commands.scale import doctor as run

    run(as_json)


@partner.command("add")
def partner_add(
    name: Annotated[str, typer.Argument(help="What to call the partner: letters, digits, dots, hyphens, underscores.")],
    *,
    party: Annotated[list[str], typer.Option(help="A party of the partner, such as NL*TNM.")],
    role: Annotated[list[str], typer.Option(help="A role of OCPI: CPO, EMSP, HUB, NSP, NAP, SCSP or OTHER.")],
    token: Annotated[str | None, typer.Option(help="The token that the partner presents; made where none is given.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="A further party that the partner may write for.")] = None,
    version: Annotated[str, typer.Option(help="The OCPI version that the partner speaks.")] = "2.2.1",
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Connect a partner and print its token, this once."""
    from roamlog.commands.partner import add

    add(data, name, party, role, token, allow or [], version, as_json, kafka)


@partner.command("invite")
def partner_invite(
    name: Annotated[str, typer.Argument(help="What to call the partner: letters, digits, dots, hyphens, underscores.")],
    *,
    party: Annotated[list[str] | None, typer.Option(help="A party that it may be, such as NL*TNM; by default any.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role that it may have, such as CPO or HUB; by default any.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="A further party that the partner may write for.")] = None,
    expires: Annotated[float, typer.Option(help="After how many hours the invitation ends.")] = 72.0,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Let a partner register itself once: print the token and the URL of our versions that it needs."""
    from roamlog.commands.partner import invite

    invite(data, name, party or [], role or [], allow or [], expires, as_json, kafka)


@partner.command("register")
def partner_register(
    name: Annotated[str, typer.Argument(help="What to call the partner: letters, digits, dots, hyphens, underscores.")],
    url: Annotated[str, typer.Argument(help="The URL of its versions.")],
    *,
    token: Annotated[str, typer.Option(help="The token (A) that it gave us for this.", envvar="ROAMLOG_TOKEN_A")],
    version: Annotated[str | None, typer.Option(help="The OCPI version; else the latest of both.", show_default=False)] = None,
    role: Annotated[
        str | None, typer.Option(help="Its role where its version is 2.1.1 or before; else its endpoints tell.", show_default=False)
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="A further party that the partner may write for.")] = None,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Register us with a partner that gave us a token; serve must run, because the partner calls it meanwhile."""
    from roamlog.commands.partner import register

    register(data, name, url, token, version, role, allow or [], as_json, kafka)


@partner.command("rotate")
def partner_rotate(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    *,
    version: Annotated[str | None, typer.Option(help="The OCPI version from now on; else the same.", show_default=False)] = None,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Change the tokens of a registered partner on both sides, and take over what it offers now."""
    from roamlog.commands.partner import rotate

    rotate(data, name, version, as_json, kafka)


@partner.command("unregister")
def partner_unregister(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """End a registration on both sides; what the partner sent stays."""
    from roamlog.commands.partner import unregister

    unregister(data, name, as_json, kafka)


@partner.command("list")
def partner_list(data: Data = DATA, kafka: Kafka = False, as_json: AsJson = False) -> None:
    """Print the partners."""
    from roamlog.commands.partner import show

    show(data, as_json, kafka)


@partner.command("remove")
def partner_remove(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Close the connection to a partner; what it sent stays."""
    from roamlog.commands.partner import remove

    remove(data, name, as_json, kafka)


@app.command()
def load(
    files: Annotated[list[Path], typer.Argument(help="JSON arrays, OCPI answers, pages or JSON lines; each also as .gz.")],
    *,
    module: Annotated[str, typer.Option(help="locations, sessions, cdrs, tariffs or tokens.")],
    party: Annotated[str, typer.Option(help="Whose objects they are, such as DE*SLB.")],
    version: Annotated[str, typer.Option(help="The OCPI version of the objects.")] = "2.2.1",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Load objects from files; interrupted, the same command goes on where it was."""
    from roamlog.commands.load import run

    run(data, version, module, party, files, as_json)


@app.command()
def rebuild(
    projections: Annotated[list[str] | None, typer.Argument(help="Which projections; none means all.")] = None,
    *,
    relift: Annotated[
        bool, typer.Option("--relift", help="Lift again what older revisions of the dialects lifted, and show what moved.")
    ] = False,
    version: Annotated[str | None, typer.Option(help="With --relift: of this OCPI version only.", show_default=False)] = None,
    module: Annotated[str | None, typer.Option(help="With --relift: of this module only.", show_default=False)] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Fold the log anew into fresh tables, which then serve in place of the old ones."""
    from roamlog.commands.tables import rebuild as run
    from roamlog.commands.tables import relift as lift_again

    if relift and projections:
        raise typer.BadParameter("--relift chooses the projections itself")
    if (version or module) and not relift:
        raise typer.BadParameter("--version and --module belong to --relift")
    if relift:
        lift_again(data, version, module, as_json)
    else:
        run(data, projections or [], as_json)


@app.command()
def verify(data: Data = DATA, as_json: AsJson = False) -> None:
    """Compare every table with what the log says; exit 1 where they differ."""
    from roamlog.commands.tables import verify as run

    run(data, as_json)


@pull.callback()
def pull_process(context: typer.Context, as_json: AsJson = False) -> None:
    """At scale: crawl partners' lists by schedule, one of all such processes at a time, until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is None:
        from roamlog.commands.scale import pull as run

        run(as_json)


@pull.command("run")
def pull_run(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    *,
    module: Annotated[
        list[str] | None, typer.Option(help="Only this module: locations, sessions, cdrs, tariffs or tokens.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Whole lists, not only what changed; finds what is no longer there.")
    ] = False,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Crawl a partner's lists now, beside a running serve or without one; exit 1 where a crawl is incomplete."""
    from roamlog.commands.pull import run

    run(data, name, module or [], full, as_json, kafka)


@pull.command("log")
def pull_log(
    name: Annotated[str, typer.Argument(help="Only of this partner.")] = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Print the certificates of crawls."""
    from roamlog.commands.pull import log

    log(data, name, limit, as_json, kafka)


@pull.command("set")
def pull_set(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    policy: Annotated[str | None, typer.Argument(help="always, silent (while nothing is pushed) or never.")] = None,
    *,
    silent: Annotated[int, typer.Option(min=60, max=2_592_000, help="With silent: after so many seconds without a push.")] = 3600,
    data: Data = DATA,
    kafka: Kafka = False,
    as_json: AsJson = False,
) -> None:
    """Say when a partner's lists are crawled by themselves; without a policy print it."""
    from roamlog.commands.pull import set_policy

    set_policy(data, name, policy, silent, as_json, kafka)


@rejected.command("list")
def rejected_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    party: Annotated[str | None, typer.Option(help="Only those of this party, such as NL*TNM.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that no replay has taken yet.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Print what was refused, and why."""
    from roamlog.commands.rejected import show_all

    show_all(data, limit, party, open_only, as_json)


@rejected.command("show")
def rejected_show(
    id: Annotated[str, typer.Argument(help="The id, or its beginning.")],  # noqa: A002 (the name on the command line)
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Print one refusal with its body and findings."""
    from roamlog.commands.rejected import show_one

    show_one(data, id, as_json)


@rejected.command("replay")
def rejected_replay(
    ids: Annotated[list[str] | None, typer.Argument(help="The ids, or their beginnings.")] = None,
    all_open: Annotated[bool, typer.Option("--all", help="All that no replay has taken yet.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Process refusals anew, with today's rules and partners; exit 1 where one is refused again."""
    from roamlog.commands.rejected import replay

    replay(data, ids or [], all_open, as_json)


@app.command()
def demo(
    sessions: Annotated[int, typer.Option(min=50, max=100_000, help="How many charging sessions to simulate.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed tells another story.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Two simulated charge point operators and an eMSP over real HTTP, with the usual dirt, checked to the last value."""
    from roamlog.commands.demo import run

    run(sessions, seed, as_json)


def main() -> None:
    """Run the command line; every failure is one sentence on standard error and an exit code."""
    sys.exit(_sentence(lambda: app(standalone_mode=False)))


def _sentence(command: Callable[[], Any]) -> int:
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except Failure as failure:
        return _said(str(failure), failure.exit_code)
    except _UsageError as fault:
        return _said(f"{fault.format_message().rstrip('.')}; see roamlog --help", UNUSABLE)
    except (typer.Abort, KeyboardInterrupt):
        return _said("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has enough of it; the interpreter must not complain of that again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as defect:
        if logging.getLogger().isEnabledFor(logging.DEBUG) or os.environ.get("ROAMLOG_LOG_LEVEL") == "debug":
            traceback.print_exc()
        text = " ".join(str(defect).split())[:300]
        return _said(f"a defect of roamlog ({type(defect).__name__}: {text}); ROAMLOG_LOG_LEVEL=debug shows where", FAILED)


def _said(text: str, code: int) -> int:
    sys.stderr.write(f"roamlog: {text}\n")
    return code


if __name__ == "__main__":
    main()
