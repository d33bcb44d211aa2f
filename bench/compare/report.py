"""What the results say: tables as text and Markdown, everything as JSON."""

import json
import platform
import statistics
import time

import plot
import rows as table

SUBJECT = "albertdb"


def rate(result):
    """Operations a second, background work included where there is any."""
    return result["operations"] / (result["seconds"]
                                   + result.get("settle_seconds", 0))


def rate_running(result):
    return result["operations"] / result["seconds"]


def cpu(result):
    """Microseconds of CPU an operation, all threads, until settled."""
    usage = result.get("settled") or result["running"]
    return ((usage["user_seconds"] + usage["system_seconds"]) * 1e6
            / result["operations"])


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
    if table.BY_NAME[result["row"]].unit == "open":
        return duration(result["seconds"])
    return f"{count(rate(result))}/s"


class Results:
    """Good results by row, engine and round."""

    def __init__(self, setup, results):
        self.setup = setup
        self.failures = [r for r in results if "failed" in r]
        self.by = {(r["row"], r["engine"], r["round"]): r
                   for r in results if "failed" not in r}

    def rounds(self, row, engine):
        return [r for r in (self.by.get((row, engine, n + 1))
                            for n in range(self.setup["rounds"])) if r]

    def median(self, row, engine, measure):
        values = [measure(r) for r in self.rounds(row, engine)]
        return statistics.median(values) if values else None

    def ratios(self, row, engine, measure):
        """Of each round: how many times as fast the subject was."""
        found = []
        for n in range(self.setup["rounds"]):
            ours = self.by.get((row, SUBJECT, n + 1))
            theirs = self.by.get((row, engine, n + 1))
            if ours and theirs:
                found.append(measure(ours) / measure(theirs))
        return found

    def peers(self):
        return [e for e in self.setup["engines"] if e != SUBJECT]


def markdown(head, lines):
    widths = [max(len(line[i]) for line in [head, *lines])
              for i in range(len(head))]
    def text(cells):
        first, *rest = zip(cells, widths)
        return ("| " + " | ".join([first[0].ljust(first[1])]
                                  + [c.rjust(w) for c, w in rest]) + " |")
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":"
                          for i, w in enumerate(widths)) + "|"
    return "\n".join([text(head), rule] + [text(line) for line in lines])


def speed_table(results, measure):
    """Medians of all engines, then the subject against each of the others:
    the median of the rounds' ratios, and each."""
    head = (["row"] + results.setup["engines"]
            + [f"{SUBJECT}/{e}" for e in results.peers()])
    lines = []
    for name in results.setup["rows"]:
        if table.BY_NAME[name].unit == "open":
            continue
        line = [name]
        for engine in results.setup["engines"]:
            value = results.median(name, engine, measure)
            line.append(count(value) if value else "-")
        for engine in results.peers():
            ratios = results.ratios(name, engine, measure)
            line.append(f"{statistics.median(ratios):.2f} ("
                        + " ".join(f"{r:.2f}" for r in ratios) + ")"
                        if ratios else "-")
        lines.append(line)
    return markdown(head, lines)


def cpu_table(results):
    head = (["row"] + results.setup["engines"]
            + [f"{e}/{SUBJECT}" for e in results.peers()])
    lines = []
    for name in results.setup["rows"]:
        if table.BY_NAME[name].unit == "open":
            continue
        line = [name]
        for engine in results.setup["engines"]:
            value = results.median(name, engine, cpu)
            line.append(f"{value:.3g}" if value is not None else "-")
        for engine in results.peers():
            ratios = [1 / r for r in results.ratios(name, engine, cpu)]
            line.append(f"{statistics.median(ratios):.2f}" if ratios else "-")
        lines.append(line)
    return markdown(head, lines)


def latency_table(results):
    head = ["row", "engine", "p50", "p95", "p99", "p99.9", "max"]
    lines = []
    for name in results.setup["rows"]:
        for engine in results.setup["engines"]:
            line = [name, engine]
            for point in head[2:]:
                value = results.median(
                    name, engine, lambda r: r["latency_ns"][point] / 1e9
                    if "latency_ns" in r else r["seconds"])
                line.append(duration(value) if value else "-")
            lines.append(line)
    return markdown(head, lines)


def write_amplification(result):
    user = result.get("user_bytes", 0)
    return result["settled"]["written_bytes"] / user if user else 0


def space_amplification(result):
    live = result["keys"] * (16 + result["value_size"])
    return result["disk_bytes"] / live


def resource_table(results):
    head = ["row", "engine", "peak memory", "not file pages", "write amp.",
            "on disk / live"]
    lines = []
    for name in results.setup["rows"]:
        for engine in results.setup["engines"]:
            def of(measure):
                return results.median(name, engine, measure)
            if not results.rounds(name, engine):
                continue
            written = of(lambda r: write_amplification(r)
                         if "settled" in r else 0)
            lines.append([
                name, engine, count(of(lambda r: r["peak_bytes"])) + "B",
                count(of(lambda r: r.get("anonymous_bytes", 0))) + "B",
                f"{written:.2f}" if written else "-",
                f"{of(space_amplification):.2f}"])
    return markdown(head, lines)


def told(results):
    lines = []
    for engine in results.setup["engines"]:
        texts = {r["told"] for (_, e, _), r in sorted(results.by.items())
                 if e == engine}
        lines += [f"- {text}" for text in sorted(texts)]
    return "\n".join(lines)


def document(results):
    s = results.setup
    machine = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return f"""{s['num']} keys, {s['rounds']} rounds, cache {s['cache'] >> 20} \
MiB, memtable {s['memtable'] >> 20} MiB, compression {s['compression']}; \
{time.strftime('%Y-%m-%d')}, {machine}

Operations a second; of writes until background work is done. Medians of the
rounds; then how many times as fast {SUBJECT} was, median and each round:

{speed_table(results, rate)}

The same without waiting for background work:

{speed_table(results, rate_running)}

Microseconds of CPU an operation, all threads, until background work is done:

{cpu_table(results)}

Latency of a call (of whole scans: of 100 entries):

{latency_table(results)}

Memory, bytes written to each byte of the user's, size on disk:

{resource_table(results)}

What each engine was told, over all rows:

{told(results)}
"""


def write(out, setup, found):
    """Writes results.json, results.md and the plots; shows the table of
    speeds. Returns the failures."""
    results = Results(setup, found)
    text = document(results)
    (out / "results.md").write_text(text)
    (out / "results.json").write_text(json.dumps(
        {"setup": setup, "results": found}, indent=1))
    (out / "rates.svg").write_text(plot.rates(results, rate))
    (out / "latency.svg").write_text(plot.latencies(results))
    print("\n" + text)
    for failure in results.failures:
        print(f"FAILED: round {failure['round']} {failure['row']} "
              f"{failure['engine']}: {failure['failed']}")
    print(f"written to {out}: results.md results.json rates.svg latency.svg")
    return results.failures
