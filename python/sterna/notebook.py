"""How data sets and statistics show themselves in a notebook: HTML without scripts or style sheets,
everything that comes from outside escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import Error
from .sizes import size_text

if TYPE_CHECKING:
    from .dataset import Dataset
    from .stats import Moment, Stats

_THUMBNAILS = 12
_THUMBNAIL_PX = 96
_INLINE_BYTES = 64 * 1024  # of an encoded image that nothing here can shrink
_NAMES = 20  # of classes or columns

_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"RIFF", "webp"),
    (b"BM", "bmp"),
)

_COLORS = ("#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#eeca3b", "#b279a2")


def _escaped(text: Any) -> str:
    return html.escape(str(text), quote=True)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{_escaped(name)}</th>"
        f"<td style='text-align:left'>{_escaped(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{cells}</table>"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more:,} more" if more > 0 else "")


# ---- a data set ----


def _media_type(data: bytes) -> str:
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return f"image/{name}"
    return "application/octet-stream"


def _shrunk(data: bytes) -> bytes | None:
    """A small JPEG; None if Pillow is not there or cannot read it."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (2 * _THUMBNAIL_PX, 2 * _THUMBNAIL_PX))
            small = image.convert("RGB")
            small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        out = io.BytesIO()
        small.save(out, format="JPEG", quality=80)
        return out.getvalue()
    except Exception:  # no Pillow, or bytes of which it makes an exception of its own
        return None


def _thumbnail(data: bytes | None, caption: str) -> str:
    shown = _shrunk(data) if data else None
    if shown is None and data and len(data) <= _INLINE_BYTES:
        shown = data
    if shown is None:
        picture = "<div style='font-size:70%'>no preview</div>"
    else:
        uri = f"data:{_media_type(shown)};base64,{base64.b64encode(shown).decode('ascii')}"
        size = f"max-width:{_THUMBNAIL_PX}px;max-height:{_THUMBNAIL_PX}px"
        picture = f"<img src='{uri}' style='{size}' alt=''>"
    return (
        f"<div style='display:inline-block;width:{_THUMBNAIL_PX + 8}px;margin:4px;"
        f"text-align:center;vertical-align:top;overflow:hidden'>{picture}"
        f"<div style='font-size:75%'>{_escaped(caption)}</div></div>"
    )


def _grid(ds: Dataset) -> str:
    """The first few images. A data set that cannot be read still has its table."""
    field = next((name for name, kind in ds.fields.items() if kind == "image"), None)
    if field is None or len(ds) == 0:
        return ""
    names = {label: name for name, label in ds.class_to_idx.items()}
    try:
        batch = ds.fetch(ds.ids[:_THUMBNAILS])
        images = batch.field(field).list()
        captions = [names.get(label, "") for label in batch.label.tolist()]
    except (Error, OSError) as e:
        return f"<div>no preview: {_escaped(e)}</div>"
    return "<div>" + "".join(map(_thumbnail, images, captions)) + "</div>"


def dataset_html(ds: Dataset) -> str:
    """A table of what is in it, and a grid of its first images."""
    try:
        rows = [
            ("data set", ds.url),
            ("samples", f"{len(ds):,} ({size_text(ds.selection.n_bytes)})"),
            ("fields", ", ".join(f"{name} ({kind})" for name, kind in ds.fields.items())),
            ("columns", _names([f"{name} ({kind})" for name, kind in ds.columns.items()])),
            ("classes", f"{len(ds.classes):,}: {_names(ds.classes)}" if ds.classes else "none"),
        ]
        return _table(rows) + _grid(ds)
    except Error as e:  # closed, or opened before a fork
        return f"<div>{_escaped(repr(ds))}: {_escaped(e)}</div>"


# ---- statistics ----

_WIDTH, _HEIGHT = 480, 90


def _line(points: Sequence[tuple[float, float]], color: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.5'/>"


def _throughput(moments: Sequence[Moment]) -> str:
    """Bytes a second between moments."""
    pairs = [(a, b) for a, b in zip(moments, moments[1:]) if b.at_s > a.at_s]
    if not pairs:
        return ""
    rates = [(b.bytes - a.bytes) / (b.at_s - a.at_s) for a, b in pairs]
    most, end_s = max(max(rates), 1.0), pairs[-1][1].at_s or 1.0
    points = [
        (_WIDTH * b.at_s / end_s, _HEIGHT * (1 - 0.9 * rate / most))
        for (_, b), rate in zip(pairs, rates)
    ]
    return (
        f"<svg width='{_WIDTH}' height='{_HEIGHT + 16}' role='img' aria-label='throughput'>"
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='none' stroke='#ccc'/>"
        f"{_line(points, _COLORS[0])}"
        f"<text x='2' y='{_HEIGHT + 13}' font-size='11' fill='currentColor'>"
        f"throughput over {end_s:.1f} s, at most {_escaped(size_text(most))}/s</text></svg>"
    )


def _waits(stall_s: dict[str, float], elapsed_s: float) -> str:
    """One bar: what part of the time the consumer waited, and for what."""
    whole = max(elapsed_s, sum(stall_s.values()), 1e-9)
    x, parts, legend = 0.0, [], []
    for (cause, seconds), color in zip(stall_s.items(), _COLORS):
        width = _WIDTH * seconds / whole
        if width < 0.5:
            continue
        parts.append(
            f"<rect x='{x:.1f}' width='{width:.1f}' height='14' fill='{color}'>"
            f"<title>{_escaped(cause)}: {seconds:.2f} s</title></rect>"
        )
        legend.append(
            f"<span style='color:{color}'>&#9632;</span> {_escaped(cause)} {seconds:.2f} s"
        )
        x += width
    return (
        f"<svg width='{_WIDTH}' height='16' role='img' aria-label='waits'>"
        f"<rect width='{_WIDTH}' height='14' fill='none' stroke='#ccc'/>{''.join(parts)}</svg>"
        f"<div style='font-size:80%'>waited: {' '.join(legend) or 'nothing to speak of'}</div>"
    )


def stats_html(stats: Stats) -> str:
    """Throughput over time, waits by cause, the main figures, and the verdict."""
    verdict = f"<div>{_escaped(stats.verdict)}</div>" if stats.verdict else ""
    return (
        _throughput(stats.moments)
        + _waits(stats.stall_s, stats.elapsed_s)
        + _table(stats.summary())
        + verdict
    )
