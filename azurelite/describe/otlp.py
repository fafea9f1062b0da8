"""A timeline as OTLP/JSON, which OpenTelemetry collectors read from a file or take at /v1/traces."""

from __future__ import annotations

import hashlib
from typing import Any

import azurelite
from azurelite.state.boots import Boot, Span

_INTERNAL, _CLIENT = 1, 3  # kinds of span
_UNSET, _ERROR = 0, 2  # codes of status


def as_otlp(boot: Boot) -> dict[str, Any]:
    """The JSON form of an ExportTraceServiceRequest. The same run gets the same ids each time."""
    base = round(boot.started * 1e6) * 1000
    trace = _digest("trace", boot.boot_id or "", str(base))[:32]
    resource = {"service.name": "azurelite", "cloud.provider": "azure", "host.id": boot.vm_id}
    resource["azurelite.boot_id"] = boot.boot_id
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": "azurelite", "version": azurelite.__version__},
                        "spans": [_span(boot.spans, i, trace=trace, base=base) for i in range(len(boot.spans))],
                    }
                ],
            }
        ]
    }


def _span(spans: tuple[Span, ...], index: int, *, trace: str, base: int) -> dict[str, Any]:
    span = spans[index]
    attributes: dict[str, Any] = {"azurelite.kind": span.kind, "azurelite.status": span.status}
    method, space, url = span.name.partition(" ")
    if span.kind == "request" and space:
        attributes.update({"http.request.method": method, "url.full": url})
    attributes["http.response.status_code"] = span.http_status
    status: dict[str, Any] = {"code": _ERROR if span.is_failed else _UNSET}
    if span.is_failed and span.detail:
        status["message"] = span.detail
    elif span.detail:
        attributes["azurelite.detail"] = span.detail
    made = {
        "traceId": trace,
        "spanId": _span_id(trace, index),
        "name": span.name,
        "kind": _CLIENT if span.kind == "request" else _INTERNAL,
        "startTimeUnixNano": str(base + round(span.start * 1e9)),
        "endTimeUnixNano": str(base + round(span.end * 1e9)),
        "attributes": _attributes(attributes),
        "status": status,
    }
    return made if span.parent is None else {**made, "parentSpanId": _span_id(trace, span.parent)}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """As OTLP/JSON writes them: 64-bit integers are strings."""
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
        if value is not None
    ]


def _span_id(trace: str, index: int) -> str:
    return _digest(trace, str(index))[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
