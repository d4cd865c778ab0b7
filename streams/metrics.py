"""The catalogue of metrics: every name, its meaning, its labels, once."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metric(NamedTuple):
    """A metric's kind, what it tells, and its labels."""

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE: Final[dict[str, Metric]] = {
    "roamlog_push_requests_total": Metric(
        "counter",
        "Authenticated requests to Receiver interfaces; outcome is created, updated, deleted, duplicate, "
        "refused, unknown or unavailable.",
        ("module", "verb", "outcome"),
    ),
    "roamlog_push_seconds": Metric("histogram", "From the last byte of a pushed object to its answer, in seconds."),
    "roamlog_authorizations_total": Metric(
        "counter",
        "Real-time authorizations that partners asked for; outcome is allowed, blocked, unknown, refused or unavailable.",
        ("outcome",),
    ),
    "roamlog_authorization_seconds": Metric(
        "histogram", "From the last byte of a request for authorization to its answer, in seconds."
    ),
    "roamlog_read_requests_total": Metric(
        "counter",
        "Authenticated GETs of partners by interface (versions, sender, receiver); outcome is served, refused, "
        "unavailable or failed.",
        ("interface", "outcome"),
    ),
    "roamlog_read_seconds": Metric("histogram", "From a partner's GET to its answer, in seconds; only those that were served."),
    "roamlog_unauthenticated_total": Metric("counter", "Requests without a known credentials token; nothing else is kept of them."),
    "roamlog_cdr_links_total": Metric(
        "counter",
        "CDRs that name no Session, and credits whose CDR stands elsewhere, by what came of them: linked with a session, linked "
        "as a credit, ambiguous, or restated with other amounts.",
        ("outcome",),
    ),
    "roamlog_lowering_losses_total": Metric(
        "counter",
        "What a partner's version could not say of the objects that it was given: values lost, values defaulted, and objects "
        "withheld.",
        ("partner", "module", "version", "kind"),
    ),
    "roamlog_push_lookups_total": Metric(
        "counter", "Keys read from the tables because this process did not know them, by the module.", ("module",)
    ),
    "roamlog_crawls_total": Metric(
        "counter", "Crawls of partners' lists that ended; outcome is complete or incomplete.", ("module", "outcome")
    ),
    "roamlog_pulled_objects_total": Metric(
        "counter",
        "Objects of partners' lists by what came of them: appended, unchanged, older or refused; those of the appended that had "
        "drifted, and what a whole list no longer had (vanished).",
        ("module", "outcome"),
    ),
    "roamlog_folded_records_total": Metric("counter", "Records that this worker has folded into the tables.", ("topic",)),
    "roamlog_lag_records": Metric(
        "gauge", "Records of this worker's partitions that the projection furthest behind has not folded.", ("topic",)
    ),
    "roamlog_lease_held": Metric(
        "gauge", "1 in the process that does what one does at a time, 0 in the others; lease is links or pull.", ("lease",)
    ),
}
"""Extended by one entry where a metric is added; names start with roamlog_, durations are in seconds, counters end with _total."""

MEANINGS: Final = {name: metric.meaning for name, metric in CATALOGUE.items()}


class Metrics:
    """The catalogue as live metrics in a registry of its own (`registry`, what /metrics renders).

    Counted in the event loop's thread, without locks: prometheus_client's own counters take one for every increment, and
    a push counts twice.
    """

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in CATALOGUE}
        self._observed = {
            name: _Observed([0] * (len(SECONDS) + 1)) for name, metric in CATALOGUE.items() if metric.kind == "histogram"
        }
        for name, metric in CATALOGUE.items():
            if metric.kind != "histogram" and not metric.labels:
                self._values[name][()] = 0.0
        self.registry.register(self)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter; label values in the catalogue's order."""
        values = self._values[name]
        values[labels] = values.get(labels, 0.0) + by

    def observe(self, name: str, seconds: float) -> None:
        """Add an observation to a histogram without labels."""
        observed = self._observed[name]
        observed.counts[bisect_left(SECONDS, seconds)] += 1
        observed.sum_s += seconds

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; label values in the catalogue's order."""
        self._values[name][labels] = value

    def values(self, name: str) -> Mapping[tuple[str, ...], float]:
        """Return what a counter or a gauge stands at, by its label values."""
        return self._values[name]

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """Yield every metric as prometheus_client renders it."""
        for name, metric in CATALOGUE.items():
            match metric.kind:
                case "counter":
                    counter = CounterMetricFamily(name, metric.meaning, labels=metric.labels)
                    for labels, value in self._values[name].items():
                        counter.add_metric(labels, value)
                    yield counter
                case "gauge":
                    gauge = GaugeMetricFamily(name, metric.meaning, labels=metric.labels)
                    for labels, value in self._values[name].items():
                        gauge.add_metric(labels, value)
                    yield gauge
                case "histogram":
                    observed = self._observed[name]
                    totals = [float(total) for total in accumulate(observed.counts)]
                    bounds = [*map(str, SECONDS), "+Inf"]
                    yield HistogramMetricFamily(
                        name, metric.meaning, buckets=list(zip(bounds, totals, strict=True)), sum_value=observed.sum_s
                    )


class _Observed:
    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        self.sum_s = 0.0
