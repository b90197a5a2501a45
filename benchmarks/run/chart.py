"""The results as a chart: time against size, one point for each tool and codec; readable in light and in dark mode."""
import itertools, math, statistics
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 880, 560, 66, 24, 62
STRIP, MAIN = (70, 126), (150, HEIGHT - BOTTOM)  # from top to bottom: uncompressed, where only time tells, and the others
COLOURS = {"ours": ("#1d5fd1", "#6ea8ff"), "skopeo": ("#b45309", "#f6a04d"), "umoci": ("#0f766e", "#3fd0c0"),
           "buildah": ("#7c3aed", "#b79bff"), "BuildKit": ("#be123c", "#ff8199"), "shell": ("#57606a", "#9aa4af")}
STYLE = """text {{ font: 12px system-ui, sans-serif; fill: {ink}; stroke: {paper}; stroke-width: 3px; stroke-linejoin: round; paint-order: stroke }} .title {{ font-size: 15px; font-weight: 600 }} .quiet {{ fill: {quiet} }}
.paper {{ fill: {paper} }} .grid {{ stroke: {grid}; stroke-width: 1 }} .leader {{ stroke: {quiet}; stroke-width: 0.7 }}
.front {{ fill: none; stroke: {ours}; stroke-width: 1.2; stroke-dasharray: 4 3; opacity: 0.7 }} .shape {{ fill: {quiet} }}
"""
SHAPES = {"uncompressed": "M0 -5 L5.2 4 L-5.2 4 Z", "gzip": "M-4.6 0 A4.6 4.6 0 1 0 4.6 0 A4.6 4.6 0 1 0 -4.6 0 Z",
          "zstd": "M-4.2 -4.2 H4.2 V4.2 H-4.2 Z", "estargz": "M0 -6 L6 0 L0 6 L-6 0 Z"}


def style():
    """The colours of light mode, and those of dark mode for who asks for it."""
    def rules(which, **inks):
        ink = {name: pair[which] for name, pair in COLOURS.items()}
        marks = "".join(f".{name} {{ fill: {colour} }} line.{name} {{ stroke: {colour} }} text.{name} {{ fill: {colour} }} " for name, colour in ink.items())
        return STYLE.format(ours=ink["ours"], **inks) + marks

    light = rules(0, ink="#1f2328", quiet="#59636e", paper="#ffffff", grid="#e4e8ec")
    dark = rules(1, ink="#e6edf3", quiet="#9aa4af", paper="#0d1117", grid="#2a313a")
    return f"<style>{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}</style>"


def points_of(report, corpus):
    found = []
    for job in report["jobs"]:
        name, codec = job["job"].split("/")
        for row in job["rows"] if name == corpus else ():
            seconds = [run["seconds"] for run in row["runs"]]
            size = row["runs"][-1]["bytes"]
            if size:
                tool = row["name"].split()[0].rstrip(",")
                plain = row["kind"] == "shell" or codec == "uncompressed"
                found.append({"time": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "size": size / 1e6, "codec": codec,
                              "label": row["name"].removesuffix(", from a tar") + ("" if plain else f" {codec}"),
                              "colour": tool if tool in COLOURS else "ours" if row["kind"] == "ours" else "shell"})
    return found


def scale(values, low, high, margin, logarithmic=False):
    """From values to pixels."""
    shape = math.log if logarithmic else lambda value: value
    first, last = shape(min(values)), shape(max(values))
    room = (last - first) * margin or 0.1 * abs(last) or 1
    first, last = first - room, last + room
    return lambda value: low + (shape(value) - first) / (last - first) * (high - low)


def place_labels(points, area):
    """Puts each label beside its point where nothing else is, as near as there is room."""
    taken = [(p["x"] - 7, p["y"] - 7, p["x"] + 7, p["y"] + 7) for p in points] + [(p["from"], p["y"] - 1, p["to"], p["y"] + 1) for p in points]
    for point in sorted(points, key=lambda p: (p["colour"] != "ours", p["x"])):
        width, best = 6.3 * len(point["label"]), None
        for far, (across, down) in itertools.product((0, 14, 28, 44, 62), ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))):
            x = point["x"] + across * (10 + 0.7 * far) - width * {1: 0, 0: 0.5, -1: 1}[across]
            y = point["y"] + down * (13 + far) + 4
            box = (x - 2, y - 11, x + width + 2, y + 3)
            cost = far * 4 + 10_000 * (box[0] < LEFT or box[2] > WIDTH - RIGHT or box[1] < area[0] - 14 or box[3] > area[1] + 14)
            cost += sum(max(0, min(box[2], b[2]) - max(box[0], b[0])) * max(0, min(box[3], b[3]) - max(box[1], b[1])) for b in taken) * 3
            if best is None or cost < best[0]:
                best = (cost, x, y, box, far)
        _, point["label_x"], point["label_y"], box, point["far"] = best
        taken.append(box)


def drawn(point):
    yield f'<line class="{point["colour"]}" x1="{point["from"]:.1f}" x2="{point["to"]:.1f}" y1="{point["y"]:.1f}" y2="{point["y"]:.1f}" opacity="0.55"/>'
    if point["far"]:
        middle = point["label_x"] + 3.1 * len(point["label"])
        yield f'<line class="leader" x1="{point["x"]:.1f}" y1="{point["y"]:.1f}" x2="{middle:.1f}" y2="{point["label_y"] - 4:.1f}"/>'
    said = f'{point["label"]}: {point["time"]:.2f} s ({point["least"]:.2f} to {point["most"]:.2f}), {point["size"]:.1f} MB'
    yield (f'<path class="{point["colour"]}" d="{SHAPES[point["codec"]]}" transform="translate({point["x"]:.1f} {point["y"]:.1f})">'
           f"<title>{escape(said)}</title></path>")
    weight = ' font-weight="600"' if point["colour"] == "ours" else ""
    yield f'<text class="{point["colour"]}" x="{point["label_x"]:.1f}" y="{point["label_y"]:.1f}"{weight}>{escape(point["label"])}</text>'


def front(points, codec, to_x, to_y):
    """What shiplap reaches with a codec: whatever lies above and to the right of this line is behind it."""
    corners, least = [], math.inf
    for point in sorted((p for p in points if p["colour"] == "ours" and p["codec"] == codec), key=lambda p: p["time"]):
        if point["size"] < least:
            corners += [(to_x(point["time"]), MAIN[0] if least == math.inf else to_y(least)), (to_x(point["time"]), to_y(point["size"]))]
            least = point["size"]
    if corners:
        corners.append((WIDTH - RIGHT, to_y(least)))
        yield f'<polyline class="front" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}"/>'
        yield f'<text class="ours" x="{corners[0][0] + 4:.1f}" y="{MAIN[0] + 10}">{codec}</text>'


def ticks(low, high):
    step = next(step for power in range(-3, 7) for step in (10 ** power, 2 * 10 ** power, 5 * 10 ** power) if (high - low) / step <= 7)
    return [round(k * step, 6) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def svg(report, corpus):
    """The chart of one tree."""
    points, facts, machine = points_of(report, corpus), report["corpora"][corpus], report["machine"]
    if not points:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    to_x = scale([p["least"] for p in points] + [p["most"] for p in points], LEFT + 10, WIDTH - RIGHT - 10, 0.06, logarithmic=True)
    packed = [p for p in points if p["codec"] != "uncompressed"]
    plain = [p for p in points if p["codec"] == "uncompressed"]
    sizes = [p["size"] for p in packed] or [0, 1]
    to_y = scale(sizes, MAIN[1], MAIN[0], 0.08)
    for point in points:
        point |= {"x": to_x(point["time"]), "from": to_x(point["least"]), "to": to_x(point["most"]),
                  "y": to_y(point["size"]) if point in packed else (STRIP[0] + STRIP[1]) / 2}
    place_labels(packed, MAIN)
    place_labels(plain, STRIP)

    found = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
             f"<title>Time and size of exports of {corpus}</title>", style(), f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
             f'<text class="title" x="20" y="28">{corpus}: {facts["files"]:,} files, {facts["bytes"] / 1e6:.0f} MB, on {machine["cores"]} cores</text>',
             '<text class="quiet" x="20" y="47">medians and spread; left and down is better: what lies above and to the right of the line of its codec is behind shiplap</text>']
    for time in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200):
        if LEFT <= to_x(time) <= WIDTH - RIGHT:
            x = f"{to_x(time):.1f}"
            found += [f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>' for top, bottom in (STRIP, MAIN)]
            found.append(f'<text class="quiet" x="{x}" y="{MAIN[1] + 18}" text-anchor="middle">{time:g} s</text>')
    spare = (max(sizes) - min(sizes)) * 0.08
    for size in ticks(min(sizes) - spare, max(sizes) + spare):
        y = to_y(size)
        found += [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
                  f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{size:g} MB</text>']
    if plain:
        found.append(f'<text class="quiet" x="{LEFT - 8}" y="{(STRIP[0] + STRIP[1]) / 2 + 4}" text-anchor="end">{max(p["size"] for p in plain):.0f} MB</text>')
    for codec in ("gzip", "zstd"):
        found += front(packed, codec, to_x, to_y)
    for point in points:
        found += drawn(point)
    for place, (codec, shape) in enumerate(SHAPES.items()):
        x, y = LEFT + 10 + 120 * place, HEIGHT - 18
        found.append(f'<path class="shape" d="{shape}" transform="translate({x} {y - 4})"/><text class="quiet" x="{x + 12}" y="{y}">{codec}</text>')
    found.append(f'<text class="quiet" x="{WIDTH - RIGHT}" y="{HEIGHT - 18}" text-anchor="end">{escape(machine["processor"])}, logarithmic time</text>')
    return "\n".join([*found, "</svg>"]) + "\n"
