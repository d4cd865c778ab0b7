"""The catalogue of metrics, and what /metrics renders of it."""

import re

from prometheus_client import generate_latest

from streams.metrics import CATALOGUE, SECONDS, Metrics


def test_names_are_prefixed_and_end_with_their_unit() -> None:
    for name, metric in CATALOGUE.items():
        assert re.fullmatch(r"roamlog_[a-z_]+", name)
        assert name.endswith("_total") == (metric.kind == "counter")
        assert metric.meaning.endswith(".")


def test_what_was_counted_is_rendered() -> None:
    metrics = Metrics()
    metrics.count("roamlog_push_requests_total", "sessions", "PUT", "created")
    metrics.count("roamlog_push_requests_total", "sessions", "PUT", "created", by=2)
    text = generate_latest(metrics.registry).decode()
    assert 'roamlog_push_requests_total{module="sessions",outcome="created",verb="PUT"} 3.0' in text
    assert "roamlog_unauthenticated_total 0.0" in text
    assert all(f"# HELP {name} {metric.meaning}" in text for name, metric in CATALOGUE.items())


def test_an_observation_counts_in_every_bucket_from_its_own_on() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.002, 100.0):
        metrics.observe("roamlog_push_seconds", seconds)
    value = metrics.registry.get_sample_value
    assert [value("roamlog_push_seconds_bucket", {"le": bound}) for bound in ("0.001", "0.0025", "5.0", "+Inf")] == [1, 2, 2, 3]
    assert value("roamlog_push_seconds_count") == 3
    assert value("roamlog_push_seconds_sum") == 100.003
    assert len(SECONDS) == 12
