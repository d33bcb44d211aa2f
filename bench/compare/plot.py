"""Plots as SVG, in as little as they need."""

import math

import rows as table

COLORS = {"albertdb": "#0b6e4f", "rocksdb": "#d1495b", "leveldb": "#edae49",
          "lmdb": "#30638e", "wiredtiger": "#8d6a9f",
          "before": "#888888"}
POINTS = ["p50", "p95", "p99", "p99.9", "max"]
RATES = ((1e6, "M"), (1e3, "k"))
BYTES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
NANOSECONDS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))


class Svg:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def rect(self, x, y, w, h, color, title=""):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" '
                          f'height="{h:.1f}" fill="{color}">'
                          f'<title>{title}</title></rect>')

    def line(self, x1, y1, x2, y2, color="#ddd"):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
                          f'y2="{y2:.1f}" stroke="{color}"/>')

    def path(self, points, color, width=1.5):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{text}" fill="none" '
                          f'stroke="{color}" stroke-width="{width}"/>')

    def text(self, x, y, text, anchor="start", size=11):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
                          f'fill="#333" text-anchor="{anchor}">{text}</text>')

    def legend(self, x, y, colors):
        for name, color in colors.items():
            self.rect(x, y - 9, 10, 10, color)
            self.text(x + 14, y, name)
            x += 30 + 7 * len(name)

    def __str__(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" '
                f'height="{self.height}" font-family="sans-serif">\n'
                '<rect width="100%" height="100%" fill="white"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


class LogScale:
    """Powers of ten from below the least to above the most."""

    def __init__(self, values, start, end):
        values = [v for v in values if v and v > 0] or [1]
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.start, self.end = start, end

    def __call__(self, value):
        part = ((math.log10(max(value, 10 ** self.low)) - self.low)
                / (self.high - self.low))
        return self.start + part * (self.end - self.start)

    def marks(self):
        return [10.0 ** p for p in range(self.low, self.high + 1)]


class LinearScale:
    """From zero to a round number above the most."""

    def __init__(self, values, start, end):
        most = max([v for v in values if v] or [1])
        step = 10 ** math.floor(math.log10(most))
        self.top = math.ceil(most / step) * step
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + value / self.top * (self.end - self.start)

    def marks(self):
        return [self.top * i / 4 for i in range(5)]


def in_units(value, units):
    for limit, unit in units:
        if value >= limit:
            return f"{value / limit:.4g}{unit}"
    return f"{value:.4g}"


class Panel:
    """A rectangle of the picture with its two axes."""

    def __init__(self, svg, title, x, y, wide, high):
        self.svg = svg
        self.left, self.right = x + 55, x + wide - 20
        self.top, self.bottom = y + 25, y + high - 25
        svg.text(self.left, y + 14, title, size=12)

    def vertical(self, scale, values, units):
        self.y = scale(values, self.bottom, self.top)
        for mark in self.y.marks():
            self.svg.line(self.left, self.y(mark), self.right, self.y(mark))
            self.svg.text(self.left - 4, self.y(mark) + 3,
                          in_units(mark, units), "end", 9)

    def horizontal(self, marks):
        """marks: position from 0 to 1, text."""
        for position, text in marks:
            self.svg.text(self.x(position), self.bottom + 14, text, "middle", 9)

    def x(self, position):
        return self.left + position * (self.right - self.left)

    def curve(self, points, color, width=1.5):
        """points: position from 0 to 1, value."""
        self.svg.path([(self.x(p), self.y(v)) for p, v in points], color,
                      width)


def colors_of(results):
    return {engine: COLORS[engine] for engine in results.engines}


def rates(results, names, measure):
    """Bars, a group to a row, on a logarithmic scale."""
    medians = {(n, e): results.median(n, e, measure)
               for n in names for e in results.engines}
    bar, gap, left, width = 11, 10, 150, 900
    group = bar * len(results.engines) + gap
    svg = Svg(width, 60 + group * len(names))
    scale = LogScale(medians.values(), left, width - 70)
    for mark in scale.marks():
        svg.line(scale(mark), 30, scale(mark), svg.height - 10)
        svg.text(scale(mark), 26, in_units(mark, RATES) + "/s", "middle", 10)
    for i, name in enumerate(names):
        y = 40 + i * group
        svg.text(left - 8, y + group / 2, name, "end")
        for k, engine in enumerate(results.engines):
            value = medians[name, engine]
            if value:
                svg.rect(left, y + k * bar, scale(value) - left, bar - 1,
                         COLORS[engine], f"{engine} {value:.0f}/s")
                svg.text(scale(value) + 3, y + (k + 1) * bar - 2,
                         in_units(value, RATES), size=9)
    svg.legend(left, 12, colors_of(results))
    return str(svg)


def grid(results, names, draw):
    """Small plots side by side, a panel to a name."""
    columns, wide, high = 3, 300, 200
    lines = -(-len(names) // columns)
    svg = Svg(columns * wide, 30 + lines * high)
    svg.legend(20, 16, colors_of(results))
    for i, name in enumerate(names):
        draw(Panel(svg, name, i % columns * wide, 30 + i // columns * high,
                   wide, high), name)
    return str(svg)


def latencies(results, names):
    """Percentiles of a call, a small plot to a row."""
    def draw(panel, name):
        medians = {}
        for engine in results.engines:
            if results.rounds(name, engine):
                medians[engine] = [results.median(
                    name, engine, lambda r: r["latency_ns"][p])
                    for p in POINTS]
        panel.vertical(LogScale, [v for vs in medians.values() for v in vs],
                       NANOSECONDS)
        places = [k / (len(POINTS) - 1) for k in range(len(POINTS))]
        panel.horizontal(zip(places, POINTS))
        for engine, values in medians.items():
            panel.curve(zip(places, values), COLORS[engine])
    return grid(results, names, draw)


def curves(results, names, measure):
    """Rates over sizes or threads, a small plot to a curve."""
    members = {}
    for name in names:
        row = table.BY_NAME[name]
        if row.curve:
            members.setdefault(row.curve, []).append(row)

    def draw(panel, curve):
        points = members[curve]
        low, high = math.log(points[0].at), math.log(points[-1].at)
        places = [(math.log(p.at) - low) / ((high - low) or 1)
                  for p in points]
        values = {engine: [(place, results.median(p.name, engine, measure))
                           for place, p in zip(places, points)
                           if results.rounds(p.name, engine)]
                  for engine in results.engines}
        panel.vertical(LinearScale, [v for vs in values.values()
                                     for _, v in vs], RATES)
        unit = 1 if "threads" in curve else results.setup["num"]
        panel.horizontal((place, in_units(p.at * unit, RATES))
                         for place, p in zip(places, points))
        for engine, pairs in values.items():
            panel.curve(pairs, COLORS[engine])
    return grid(results, list(members), draw)


LINES = {"p50_ns": ("p50", "#0b6e4f"), "p99_ns": ("p99", "#edae49"),
         "max_ns": ("max", "#d1495b"),
         "awake_max_ns": ("max less waits for a processor", "#30638e")}


def over_time(name, series):
    """To each engine: latency of a call, calls a second, debt."""
    wide, high = 900, 210
    svg = Svg(wide, 40 + 3 * high * len(series))
    svg.legend(60, 16, dict(LINES.values()))
    y = 30
    for engine, s in series.items():
        if not s["at"]:
            continue
        end = s["at"][-1]
        places = [at / end for at in s["at"]]
        times = [(i / 6, f"{end * i / 6:.0f} s") for i in range(7)]
        panel = Panel(svg, f"{engine}, {name}: a call", 0, y, wide, high)
        panel.vertical(LogScale, s["p50_ns"] + s["max_ns"], NANOSECONDS)
        panel.horizontal(times)
        for column, (_, color) in LINES.items():
            panel.curve(zip(places, s[column]), color, 1)
        steps = [b - a for a, b in zip([0] + s["at"], s["at"])]
        speed = [c / t if t else 0 for c, t in zip(s["calls"], steps)]
        for title, values, units in (
                ("calls a second", speed, RATES),
                ("compaction debt, bytes", s["debt_bytes"],
                 BYTES)):
            y += high
            panel = Panel(svg, f"{engine}: {title}", 0, y, wide, high)
            panel.vertical(LinearScale, values, units)
            panel.horizontal(times)
            panel.curve(zip(places, values), COLORS[engine], 1)
        y += high
    return str(svg)
