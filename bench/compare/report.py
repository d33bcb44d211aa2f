"""What the results say: tables as Markdown, everything as JSON, plots."""

import json
import platform
import statistics
import time

import plot
import rows as table

SUBJECT = "albertdb"


# ---- measures of one result ----

def is_open(name):
    """Its one operation is opening a database."""
    return table.BY_NAME[name].workload in ("open", "recovery")


def rate(result):
    """Operations a second, background work included where writes cause it."""
    seconds = result["seconds"]
    if not table.BY_NAME[result["row"]].readers:
        seconds += result.get("settle_seconds", 0)
    return result["operations"] / seconds


def rate_running(result):
    return result["operations"] / result["seconds"]


def cpu(result):
    """Microseconds of CPU an operation, all threads, until settled."""
    usage = result.get("settled") or result["running"]
    return ((usage["user_seconds"] + usage["system_seconds"]) * 1e6
            / result["operations"])


def write_amplification(result):
    user = result.get("user_bytes", 0)
    return result["settled"]["written_bytes"] / user if user else 0


def space_amplification(result):
    live = result["keys"] * (16 + result["value_size"])
    return result["disk_bytes"] / live


# ---- figures as text ----

def count(value):
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds):
    for limit, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= limit:
            return f"{seconds / limit:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def short(result):
    if is_open(result["row"]):
        return duration(result["seconds"])
    return f"{count(rate(result))}/s"


def markdown(head, lines):
    if not lines:
        return "(none)"
    widths = [max(len(line[i]) for line in [head, *lines])
              for i in range(len(head))]

    def text(cells):
        pairs = list(zip(cells, widths))
        return "| " + " | ".join(
            [pairs[0][0].ljust(pairs[0][1])]
            + [cell.rjust(width) for cell, width in pairs[1:]]) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":"
                          for i, w in enumerate(widths)) + "|"
    return "\n".join([text(head), rule] + [text(line) for line in lines])


class Results:
    """Good results by row, engine and round."""

    def __init__(self, setup, results):
        self.setup = setup
        self.engines = setup["engines"]
        self.peers = [e for e in self.engines if e != SUBJECT]
        self.rows = setup["rows"]
        self.failures = [r for r in results if "failed" in r]
        self.by = {(r["row"], r["engine"], r["round"]): r
                   for r in results if "failed" not in r}

    def rounds(self, row, engine):
        found = (self.by.get((row, engine, n + 1))
                 for n in range(self.setup["rounds"]))
        return [r for r in found if r]

    def median(self, row, engine, measure):
        values = [measure(r) for r in self.rounds(row, engine)]
        return statistics.median(values) if values else None

    def ratios(self, row, engine, measure):
        """Of each round: the subject's figure over that engine's."""
        found = []
        for n in range(self.setup["rounds"]):
            ours = self.by.get((row, SUBJECT, n + 1))
            theirs = self.by.get((row, engine, n + 1))
            if ours and theirs:
                found.append(measure(ours) / measure(theirs))
        return found


# ---- tables ----

def cell(value, text):
    return text(value) if value is not None else "-"


def comparison(results, names, measure, text, invert=False):
    """Medians of all engines; then how many times better the subject is: the
    median of the rounds' ratios."""
    lines = []
    for name in names:
        line = [name] + [cell(results.median(name, engine, measure), text)
                         for engine in results.engines]
        for engine in results.peers:
            ratios = results.ratios(name, engine, measure)
            if invert:
                ratios = [1 / r if r else 0 for r in ratios]
            line.append(f"{statistics.median(ratios):.2f}" if ratios else "-")
        lines.append(line)
    head = (["row"] + results.engines
            + [f"against {engine}" for engine in results.peers])
    return markdown(head, lines)


def each_round(results, names, measure):
    lines = []
    for name in names:
        line = [name]
        for engine in results.peers:
            line.append(" ".join(f"{r:.2f}" for r in
                                 results.ratios(name, engine, measure)) or "-")
        lines.append(line)
    return markdown(["row"] + results.peers, lines)


def latency_table(results, names):
    points = ["p50", "p95", "p99", "p99.9", "max"]
    head = ["row", "engine", *points, "max awake"]
    lines = []
    for name in names:
        for engine in results.engines:
            line = [name, engine]
            for point in points:
                line.append(cell(results.median(
                    name, engine, lambda r: r["latency_ns"][point] / 1e9),
                    duration))
            line.append(cell(results.median(
                name, engine, lambda r: r["awake_max_ns"] / 1e9), duration))
            lines.append(line)
    return markdown(head, lines)


def resource_table(results):
    head = ["row", "engine", "peak memory", "not file pages", "written / user",
            "on disk / live"]
    lines = []
    for name in results.rows:
        for engine in results.engines:
            if not results.rounds(name, engine):
                continue

            def of(measure):
                return results.median(name, engine, measure)

            written = of(lambda r: write_amplification(r)
                         if "settled" in r else 0)
            lines.append([
                name, engine, count(of(lambda r: r["peak_bytes"])) + "B",
                count(of(lambda r: r.get("anonymous_bytes", 0))) + "B",
                f"{written:.2f}" if written else "-",
                f"{of(space_amplification):.2f}"])
    return markdown(head, lines)


def curve_tables(results):
    """Rows that are points of a curve: one table a curve, of CPU and time an
    operation at each point."""
    curves = {}
    for name in results.rows:
        row = table.BY_NAME[name]
        if row.curve:
            curves.setdefault(row.curve, []).append(row)
    text = ""
    for curve, points in curves.items():
        lines = []
        for engine in results.engines:
            for what, measure in (("us", lambda r: 1e6 / rate(r)),
                                  ("us of CPU", cpu)):
                lines.append([f"{engine}, {what}"] + [
                    cell(results.median(p.name, engine, measure),
                         lambda v: f"{v:.3g}") for p in points])
        at = [f"{p.at} threads" if "thread" in curve
              else count(p.at * results.setup["num"]) for p in points]
        text += f"{curve}, an operation:\n\n{markdown([''] + at, lines)}\n\n"
    return text


def told(results):
    lines = []
    for engine in results.engines:
        texts = {r["told"] for (_, e, _), r in results.by.items()
                 if e == engine}
        lines += [f"- {text}" for text in sorted(texts)]
    return "\n".join(lines)


def section(title, body):
    return f"{title}\n\n{body}\n\n"


def heading(results):
    s = results.setup
    limited = any(r["limited"] for r in results.by.values())
    memory = (f"each process and its files' pages in {s['memory_limit'] >> 20}"
              " MiB" if limited else "files page-cached in the machine's memory")
    more = f", rows end after {s['seconds']:g} s" if s["seconds"] else ""
    return (f"{time.strftime('%Y-%m-%d')}, {platform.system()} "
            f"{platform.release()}, {platform.machine()}; {s['num']} keys, "
            f"{s['rounds']} rounds, cache {s['cache'] >> 20} MiB, memtable "
            f"{s['memtable'] >> 20} MiB, compression {s['compression']}, "
            f"{memory}{more}\n\n")


def document(results):
    loops = [n for n in results.rows if not is_open(n)]
    opens = [n for n in results.rows if is_open(n)]
    text = heading(results)
    text += section("Operations a second; of writes until background work is "
                    "done. Medians of the rounds.",
                    comparison(results, loops, rate, count))
    text += section(f"{SUBJECT} against each, round by round.",
                    each_round(results, loops, rate))
    if opens:
        text += section("Seconds to open and read one key.",
                        comparison(results, opens, lambda r: r["seconds"],
                                   duration, invert=True))
    text += section("Operations a second, without waiting for background "
                    "work.", comparison(results, loops, rate_running, count))
    text += section("Microseconds of CPU an operation, all threads, until "
                    "background work is done.",
                    comparison(results, loops, cpu, lambda v: f"{v:.3g}",
                               invert=True))
    text += section("Latency of a call (of whole scans: of 100 entries). Max "
                    "awake: the longest, less what it waited for a processor.",
                    latency_table(results, loops))
    text += section("Memory; bytes written to each byte of the user's; bytes "
                    "on disk to each that is live.", resource_table(results))
    text += curve_tables(results)
    return text + section("What each engine was told, over all rows:",
                          told(results))


def write_plots(out, results):
    loops = [n for n in results.rows if not is_open(n)]
    plots = {"rates.svg": plot.rates(results, loops, rate),
             "latency.svg": plot.latencies(results, loops)}
    for name in loops:
        series = {e: results.rounds(name, e)[0]["series"]
                  for e in results.engines
                  if results.rounds(name, e)
                  and "series" in results.rounds(name, e)[0]}
        if series:
            plots[f"{name}.svg"] = plot.over_time(name, series)
    if any(table.BY_NAME[n].curve for n in loops):
        plots["curves.svg"] = plot.curves(results, loops, rate)
    for name, text in plots.items():
        (out / name).write_text(text)
    return list(plots)


def write(out, setup, found):
    """Writes results.json, results.md and the plots, and shows the tables.
    Returns the failures."""
    results = Results(setup, found)
    text = document(results)
    (out / "results.md").write_text(text)
    (out / "results.json").write_text(json.dumps(
        {"setup": setup, "results": found}, indent=1))
    names = write_plots(out, results)
    print("\n" + text)
    for failure in results.failures:
        print(f"FAILED: round {failure['round']} {failure['row']} "
              f"{failure['engine']}: {failure['failed']}")
    print(f"written to {out}: results.md results.json", *names)
    return results.failures
