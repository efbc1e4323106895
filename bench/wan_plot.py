"""One SVG: for each link the share that sterna reached, its goal, and what others got."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 900, 250, 60, 22, 76
MET, MISSED, PLAIN, GREY = "#2c7fb8", "#d95f0e", "#7fa8c4", "#555"


def text(x, y, words, anchor="start", size=12, fill="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">'
            f'{escape(words)}</text>')


def line(x1, y1, x2, y2, stroke, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'


def mark(x, y, kind):
    if kind == "iperf3":
        return f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" fill="none" stroke="{GREY}" stroke-width="1.5"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="{GREY}" stroke-width="1.5"/>'


def legend(parts):
    x = LEFT
    for kind, words in (("bar", "sterna, goal met"), ("miss", "missed"), ("plain", "no goal"), ("goal", "goal"),
                        ("iperf3", "iperf3"), ("bare", "bare loop")):
        y = 44
        if kind in ("bar", "miss", "plain"):
            fill = {"bar": MET, "miss": MISSED, "plain": PLAIN}[kind]
            parts.append(f'<rect x="{x}" y="{y - 6}" width="14" height="12" fill="{fill}"/>')
        elif kind == "goal":
            parts.append(line(x + 7, y - 8, x + 7, y + 8, "#000", 2))
        else:
            parts.append(mark(x + 7, y, kind))
        parts.append(text(x + 19, y + 4, words))
        x += 30 + 7 * len(words)


def svg(title, rows):
    """rows: dicts of name, share, goal (or None), iperf3, bare (shares, or None)."""
    height = TOP + ROW * len(rows) + 40
    most = max([1.0] + [value for row in rows for value in (row["share"], row["iperf3"], row["bare"]) if value])
    bottom = TOP + ROW * len(rows)

    def at(share):
        return LEFT + (WIDTH - LEFT - RIGHT) * share / most

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', text(16, 24, title, size=15)]
    legend(parts)
    for tenth in range(0, int(most * 10 + 1e-9) + 1, 2):
        x = at(tenth / 10)
        parts += [line(x, TOP - 6, x, bottom, "#ddd"), text(x, bottom + 16, f"{tenth / 10:.1f}", "middle", 11)]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 34, "share of the larger of payload limit and iperf3's best",
                      "middle", 12))
    for i, row in enumerate(rows):
        y = TOP + ROW * i + ROW / 2
        fill = PLAIN if row["goal"] is None else MET if row["share"] >= row["goal"] else MISSED
        parts += [text(LEFT - 8, y + 4, row["name"], "end"),
                  f'<rect x="{LEFT}" y="{y - 7:.1f}" width="{at(row["share"]) - LEFT:.1f}" height="14" fill="{fill}"/>']
        parts += [mark(at(row[kind]), y, kind) for kind in ("iperf3", "bare") if row[kind]]
        if row["goal"] is not None:
            parts.append(line(at(row["goal"]), y - 10, at(row["goal"]), y + 10, "#000", 2))
        parts.append(text(WIDTH - RIGHT + 8, y + 4, f'{row["share"]:.2f}'))
    return "\n".join(parts + ["</svg>", ""])
