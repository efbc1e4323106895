"""HTML for notebooks: complete, escaped, and never an exception."""

import html.parser
import re
import sys

import pytest
import sterna
import support
from conftest import N, add_samples
from sterna import errors, notebook, stats


class Checker(html.parser.HTMLParser):
    """Whether tags are closed in their order; what attributes and text there are."""

    VOID = {"img", "br", "rect", "polyline"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name == "src"]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_data_set_shows_a_table_and_its_first_images(ds):
    page = Checker(ds._repr_html_())
    assert f"{N}" in page.text and "image (image)" in page.text and "class2" in page.text
    assert page.tags.count("img") == 12
    assert all(re.match("data:image/(png|jpeg);base64,", source) for source in page.sources)


def test_images_are_shrunk_if_pillow_is_there(ds):
    image = pytest.importorskip("PIL.Image")
    import base64
    import io

    large = io.BytesIO()
    image.effect_noise((800, 600), 60).save(large, "PNG")
    small = notebook._shrunk(large.getvalue())
    assert image.open(io.BytesIO(small)).size == (96, 72)
    shown = Checker(notebook._thumbnail(large.getvalue(), "a")).sources[0]
    assert len(base64.b64decode(shown.split(",")[1])) < len(large.getvalue()) / 20


def test_without_pillow_small_images_are_shown_as_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert Checker(notebook._thumbnail(support.png(1), "a")).sources[0].startswith("data:image/png")
    large = support.png(1) + bytes(notebook._INLINE_BYTES)
    for none in (large, None, b""):
        page = Checker(notebook._thumbnail(none, "a"))
        assert page.sources == [] and "no preview" in page.text


def test_names_are_escaped(tmp_path):
    name = "<script>alert('1')</script>&\""
    samples = [("a", [("image", "image", support.png(1))], [("class", name)])]
    with sterna.open(add_samples(tmp_path / "<b>", samples)) as ds:
        page = ds._repr_html_()
        assert "<script" not in page and "<b>" not in page
        assert Checker(page).text.count(name) == 2  # among the classes, and below its image


def test_a_data_set_that_cannot_be_read_shows_what_it_can(url, monkeypatch):
    ds = sterna.open(url)

    def fail(*args, **options):
        raise errors.ConnectionError("no server <answers>")

    monkeypatch.setattr(type(ds), "fetch", fail)
    page = Checker(ds._repr_html_())
    assert "no preview: no server <answers>" in page.text and f"{N}" in page.text
    with ds.select([]) as nothing:
        assert "0 (0 B)" in Checker(nothing._repr_html_()).text
    ds.close()
    assert "closed" in Checker(ds._repr_html_()).text


def test_many_names_are_cut():
    names = [f"name{i}" for i in range(1000)]
    assert notebook._names(names).endswith("name19 and 980 more")


def test_statistics_show_a_plot(ds):
    with ds.loader(8, seed=1) as loader:
        assert "svg" in Checker(loader.stats()._repr_html_()).tags
        loader._figures.history._pause_s = 0
        for _ in range(3):
            list(loader)
        page = Checker(loader.stats()._repr_html_())
        assert "polyline" in page.tags and "throughput" in page.text and "waited" in page.text
        assert page.tags.count("svg") == 2
        assert Checker(loader._repr_html_()).tags.count("svg") == 2


def test_a_plot_of_given_figures():
    moments = [stats.Moment(t, 0, t * t * 1000, {}) for t in range(5)]
    text = notebook._throughput(moments)
    points = re.search("points='([^']*)'", text)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(points) == 4 and heights == sorted(heights, reverse=True)
    assert heights[-1] == pytest.approx(9)
    waits = Checker(notebook._waits({"latency": 3.0, "budget": 0.0, "server<": 1.0}, 8.0))
    assert "latency 3.00 s" in waits.text and "budget" not in waits.text
    assert "server< 1.00 s" in waits.text


def test_history_stays_small():
    history = stats.History(pause_s=0)
    counters = {"samples": 0, "bytes": 0, "stall_ns": {"latency": 0}}
    for i in range(10_000):
        history.add({**counters, "bytes": i})
    assert len(history.moments) <= history.MOST
    assert (history.moments[0].bytes, history.moments[-1].bytes) == (0, 9999)
    at = [moment.at_s for moment in history.moments]
    assert at == sorted(at)
