"""Plots as SVG, in as little as they need."""

import math

COLORS = {"albertdb": "#0b6e4f", "rocksdb": "#d1495b", "leveldb": "#edae49",
          "lmdb": "#30638e", "wiredtiger": "#8d6a9f"}
POINTS = ["p50", "p95", "p99", "p99.9", "max"]


class Svg:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def rect(self, x, y, w, h, color, title=""):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" '
                          f'height="{h:.1f}" fill="{color}">'
                          f'<title>{title}</title></rect>')

    def line(self, x1, y1, x2, y2, color="#ddd", width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
                          f'y2="{y2:.1f}" stroke="{color}" '
                          f'stroke-width="{width}"/>')

    def path(self, points, color):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{text}" fill="none" '
                          f'stroke="{color}" stroke-width="1.5"/>')

    def text(self, x, y, text, anchor="start", size=11, color="#333"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
                          f'fill="{color}" text-anchor="{anchor}">{text}'
                          '</text>')

    def legend(self, x, y, names):
        for name in names:
            self.rect(x, y - 9, 10, 10, COLORS[name])
            self.text(x + 14, y, name)
            x += 24 + 7 * len(name)

    def __str__(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" '
                f'height="{self.height}" font-family="sans-serif">'
                '<rect width="100%" height="100%" fill="white"/>'
                + "\n".join(self.parts) + "</svg>\n")


class LogScale:
    """Powers of ten from below the least to above the most."""

    def __init__(self, values, start, end):
        values = [v for v in values if v > 0] or [1]
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.start, self.end = start, end

    def __call__(self, value):
        part = ((math.log10(max(value, 10 ** self.low)) - self.low)
                / (self.high - self.low))
        return self.start + part * (self.end - self.start)

    def marks(self):
        return [10.0 ** p for p in range(self.low, self.high + 1)]


def in_units(value, units):
    for limit, unit in units:
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def rates(results, measure):
    """Bars, a group to a row, on a logarithmic scale."""
    engines, names = results.setup["engines"], results.setup["rows"]
    medians = {(n, e): results.median(n, e, measure)
               for n in names for e in engines}
    bar, gap, left, width = 11, 10, 130, 900
    group = bar * len(engines) + gap
    svg = Svg(width, 60 + group * len(names))
    scale = LogScale([v for v in medians.values() if v], left, width - 70)
    for mark in scale.marks():
        svg.line(scale(mark), 30, scale(mark), svg.height - 10)
        svg.text(scale(mark), 26, in_units(mark, ((1e6, "M"), (1e3, "k")))
                 + "/s", "middle", 10)
    for i, name in enumerate(names):
        y = 40 + i * group
        svg.text(left - 8, y + group / 2, name, "end")
        for k, engine in enumerate(engines):
            value = medians[name, engine]
            if value:
                svg.rect(left, y + k * bar, scale(value) - left, bar - 1,
                         COLORS[engine], f"{engine} {value:.0f}/s")
                svg.text(scale(value) + 3, y + (k + 1) * bar - 2,
                         f"{value / 1000:.4g}k", size=9)
    svg.legend(left, 12, engines)
    return str(svg)


def latencies(results):
    """Percentiles of a call, a small plot to a row."""
    engines, names = results.setup["engines"], results.setup["rows"]
    names = [n for n in names if any("latency_ns" in r for e in engines
                                     for r in results.rounds(n, e))]
    columns, wide, high = 3, 300, 200
    lines = -(-len(names) // columns)
    svg = Svg(columns * wide, 30 + lines * high)
    svg.legend(20, 16, engines)
    for i, name in enumerate(names):
        latency_panel(svg, results, name, (i % columns) * wide,
                      30 + i // columns * high, wide, high)
    return str(svg)


def latency_panel(svg, results, name, x, y, wide, high):
    left, bottom = x + 50, y + high - 25
    step = (wide - 75) / (len(POINTS) - 1)
    medians = {}
    for engine in results.setup["engines"]:
        if results.rounds(name, engine):
            medians[engine] = [
                results.median(name, engine, lambda r: r["latency_ns"][p])
                for p in POINTS]
    scale = LogScale([v for vs in medians.values() for v in vs], bottom,
                     y + 25)
    svg.text(left, y + 14, name, size=12)
    for mark in scale.marks():
        svg.line(left, scale(mark), x + wide - 25, scale(mark))
        svg.text(left - 4, scale(mark) + 3, in_units(
            mark, ((1e9, "s"), (1e6, "ms"), (1e3, "us"))), "end", 9)
    for k, point in enumerate(POINTS):
        svg.text(left + k * step, bottom + 14, point, "middle", 9)
    for engine, values in medians.items():
        svg.path([(left + k * step, scale(v)) for k, v in enumerate(values)],
                 COLORS[engine])
