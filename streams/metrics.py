"""The catalogue of metrics: every name, its meaning, its labels, once."""

from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metric(NamedTuple):
    """A metric's kind, what it tells, and its labels."""

    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE: Final[dict[str, Metric]] = {
    "roamlog_push_requests_total": Metric(
        "counter",
        "Authenticated requests to Receiver interfaces; outcome is created, updated, duplicate, refused, unknown or unavailable.",
        ("module", "verb", "outcome"),
    ),
    "roamlog_push_seconds": Metric("histogram", "From the last byte of a pushed object to its answer, in seconds."),
    "roamlog_unauthenticated_total": Metric("counter", "Requests without a known credentials token; nothing else is kept of them."),
    "roamlog_push_lookups_total": Metric(
        "counter", "Keys read from the tables because this process did not know them, by the module.", ("module",)
    ),
}
"""Extended by one entry where a metric is added; names start with roamlog_, durations are in seconds, counters end with _total."""

MEANINGS: Final = {name: metric.meaning for name, metric in CATALOGUE.items()}


class Metrics:
    """The catalogue as live metrics in a registry of its own (`registry`, what /metrics renders)."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._live: dict[str, Counter | Gauge | Histogram] = {}
        for name, metric in CATALOGUE.items():
            match metric.kind:
                case "counter":
                    self._live[name] = Counter(name, metric.meaning, metric.labels, registry=self.registry)
                case "gauge":
                    self._live[name] = Gauge(name, metric.meaning, metric.labels, registry=self.registry)
                case "histogram":
                    self._live[name] = Histogram(name, metric.meaning, metric.labels, registry=self.registry, buckets=SECONDS)
        self._children: dict[tuple[str, ...], Counter] = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter; label values in the catalogue's order."""
        # prometheus_client's labels() costs more than the increment itself.
        child = self._children.get((name, *labels))
        if child is None:
            counter = self._live[name]
            assert isinstance(counter, Counter)
            child = self._children[(name, *labels)] = counter.labels(*labels) if labels else counter
        child.inc(by)

    def observe(self, name: str, seconds: float) -> None:
        """Add an observation to a histogram without labels."""
        histogram = self._live[name]
        assert isinstance(histogram, Histogram)
        histogram.observe(seconds)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge; label values in the catalogue's order."""
        gauge = self._live[name]
        assert isinstance(gauge, Gauge)
        (gauge.labels(*labels) if labels else gauge).set(value)
