"""What the demo prints: only what was measured, read back or compared."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from roamlog.demo.checker import SHOWN
from roamlog.demo.play import Outcome

if TYPE_CHECKING:
    from rich.console import Console


def report(outcome: Outcome, console: "Console") -> None:
    """Print the tables and the checks."""
    _speed(outcome, console)
    answers = Counter[tuple[str, str, int, int]]()
    dirt = Counter[tuple[str, str]]()
    for platform in outcome.platforms:
        answers += platform.answers
        dirt += platform.dirt
    console.print(
        _table(
            "What the platforms were answered",
            ("request", "HTTP", "OCPI", "requests"),
            [(f"{verb} {module}", http, code, f"{count:,}") for (module, verb, http, code), count in sorted(answers.items())],
            right=("HTTP", "OCPI", "requests"),
        )
    )
    console.print(
        _table(
            "The usual dirt, and what became of it",
            ("dirt", "answer", "requests"),
            [(kind, answer, f"{count:,}") for (kind, answer), count in sorted(dirt.items())],
            right=("requests",),
        )
    )
    console.print(
        _table(
            "Sessions by status  (GET /analytics/sessions/by-status)",
            ("party", "status", "sessions", "share", "kWh"),
            [
                (row["party"], row["status"], f"{row['sessions']:,}", f"{float(row['share']):.1%}", f"{row['energy_kwh']:,.3f}")
                for row in outcome.analytics["sessions/by-status"]
            ],
            right=("sessions", "share", "kWh"),
        )
    )
    figures = ("sessions", "kWh", "cost", "CDRs", "credits", "kWh billed", "billed", "taxes")
    console.print(
        _table(
            "Energy and cost by day and party, amounts in EUR before taxes  (GET /analytics/energy)",
            ("day", "party", *figures),
            [
                (
                    row["day"],
                    row["party"],
                    f"{row['sessions']:,}",
                    f"{row['energy_kwh']:,.3f}",
                    f"{row['cost_before_taxes']:,.2f}",
                    f"{row['cdrs']:,}",
                    row["credits"],
                    f"{row['billed_energy_kwh']:,.3f}",
                    f"{row['billed_before_taxes']:,.2f}",
                    f"{row['billed_taxes']:,.2f}",
                )
                for row in outcome.analytics["energy"]
            ],
            right=figures,
        )
    )
    _of_sites(outcome, console)
    balances = ("entries", "kWh billed", "billed", "taxes")
    console.print(
        _table(
            "The ledger: what was charged against what was billed  (GET /analytics/ledger)",
            ("CPO", "eMSP", "standing", *balances),
            [
                (
                    row["party"],
                    row["addressed_to"],
                    row["standing"],
                    f"{row['entries']:,}",
                    f"{row['billed_energy_kwh']:,.3f}",
                    f"{row['billed_before_taxes']:,.2f}",
                    f"{row['billed_taxes']:,.2f}",
                )
                for row in outcome.analytics["ledger"]
            ],
            right=balances,
        )
    )
    console.print(
        _table(
            "Findings in what was taken  (GET /analytics/findings)",
            ("party", "module", "rule", "severity", "findings", "objects"),
            [
                (row["party"], row["module"], row["rule"], row["severity"], f"{row['findings']:,}", f"{row['objects']:,}")
                for row in outcome.analytics["findings"]
            ],
            right=("findings", "objects"),
        )
    )
    reasons = Counter((_reason(one), one["http_status"], one["status_code"]) for one in outcome.refusals)
    console.print(
        _table(
            "What was refused, kept for replay  (roamlog rejected list)",
            ("because of", "HTTP", "OCPI", "requests"),
            [(*row, f"{count:,}") for row, count in sorted(reasons.items())],
            right=("HTTP", "OCPI", "requests"),
        )
    )
    for check in outcome.checks:
        console.print(Text(("✗ " if check.wrong else "✓ ") + check.title, style="bold red" if check.wrong else "green"))
        for one in check.wrong[:SHOWN]:
            console.print(Text(f"    {one}"))
        if len(check.wrong) > SHOWN:
            console.print(Text(f"    … and {len(check.wrong) - SHOWN:,} more"))
    console.print(Text(f"✓ roamlog verify: {outcome.verified}", style="green"))
    console.print(Text(f"✓ SIGTERM ended serve in {outcome.stopped_s:.1f} s with exit code 0", style="green"))


def _of_sites(outcome: Outcome, console: "Console") -> None:
    console.print(
        _table(
            "EVSEs now by country and status  (GET /analytics/evses/status?by=country)",
            ("party", "country", "status", "EVSEs", "share", "oldest"),
            [
                (row["party"], row["country"], row["status"], row["evses"], f"{float(row['share']):.1%}", row["oldest"][:19])
                for row in outcome.analytics["evses/status"]
            ],
            right=("EVSEs", "share"),
        )
    )
    seconds: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    columns = {"calendar_s": "hours", "occupied_s": "occupied", "out_of_service_s": "out of service", "no_data_s": "no data"}
    for row in outcome.analytics["utilisation"]:
        seconds[row["day"], row["time_zone"]].update({column: int(row[column]) for column in columns} | {"evses": 1})
    console.print(
        _table(
            "Use of EVSEs by local day, each on its own clock  (summed from GET /analytics/utilisation)",
            ("day", "time zone", "EVSEs", *columns.values(), "utilisation"),
            [
                (
                    *of,
                    told["evses"],
                    *(f"{told[column] / 3600:,.1f}" for column in columns),
                    f"{told['occupied_s'] / told['calendar_s']:.1%}",
                )
                for of, told in sorted(seconds.items())
            ],
            right=("EVSEs", *columns.values(), "utilisation"),
        )
    )
    busiest = sorted(outcome.analytics["charging"], key=lambda row: row["energy_kwh"], reverse=True)[:5]
    console.print(
        _table(
            "The busiest days of Locations  (from GET /analytics/charging)",
            ("day", "party", "Location", "time zone", "sessions", "kWh"),
            [
                (*(row[name] for name in ("day", "party", "location_id", "time_zone", "sessions")), f"{row['energy_kwh']:,.3f}")
                for row in busiest
            ],
            right=("sessions", "kWh"),
        )
    )
    figures = ("CDRs", "credits", "kWh billed", "billed", "taxes", "per kWh", "after (median)", "within 24 h", "within 72 h")
    lateness = {(row["party"], row["addressed_to"]): row for row in outcome.analytics["cdrs/lateness"]}
    console.print(
        _table(
            "CDRs: what they bill in EUR, and how late they came  (GET /analytics/cdrs/revenue, /analytics/cdrs/lateness)",
            ("CPO", "eMSP", *figures),
            [
                (
                    row["party"],
                    row["addressed_to"],
                    f"{row['cdrs']:,}",
                    row["credits"],
                    f"{row['energy_kwh']:,.3f}",
                    f"{row['revenue_before_taxes']:,.2f}",
                    f"{row['taxes']:,.2f}",
                    f"{float(row['price_per_kwh'] or 0):.4f}",
                    f"{float(late['p50_s']) / 3600:.1f} h",
                    f"{float(late['share_within_24_h']):.1%}",
                    f"{float(late['share_within_72_h']):.1%}",
                )
                for row in outcome.analytics["cdrs/revenue"]
                for late in [lateness[row["party"], row["addressed_to"]]]
            ],
            right=figures,
        )
    )


def _speed(outcome: Outcome, console: "Console") -> None:
    seconds = sorted(one for platform in outcome.platforms for one in platform.seconds)
    pushes = sum(platform.pushes for platform in outcome.platforms)
    middle, late = seconds[len(seconds) // 2], seconds[len(seconds) * 99 // 100]
    console.print(
        Text(
            f"{pushes:,} requests in {outcome.pushed_s:.1f} s ({pushes / outcome.pushed_s:,.0f}/s beside the platforms), "
            f"each on disk before its answer: {1000 * middle:.0f} ms (median), {1000 * late:.0f} ms (99 %)"
        )
    )
    console.print(
        Text(
            f"serve took pushes {outcome.started_s:.1f} s after its start; "
            f"the tables had everything {outcome.folded_s:.1f} s after the last push\n"
        )
    )


def _reason(refusal: dict[str, object]) -> str:
    rules = refusal["rules"]
    if isinstance(rules, list) and rules:
        return ", ".join(map(str, rules))
    http = refusal["http_status"]
    return {400: "no valid JSON", 404: "not there, or not the partner's own", 405: "no such verb"}.get(
        http if isinstance(http, int) else 0, "-"
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> Group:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    return Group(Text(title, style="bold"), table)
