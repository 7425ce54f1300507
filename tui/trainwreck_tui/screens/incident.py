"""One incident: what broke, how sure, what to do, why, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option
from trainwreck_analyzer.verdict import Evidence, Hypothesis, Incident, Victim

from trainwreck_tui import units
from trainwreck_tui.fold import cut, fold, headless, shortened
from trainwreck_tui.screen import BaseScreen
from trainwreck_tui.session import line_of, pointer, pointer_of_victim, title
from trainwreck_tui.widgets import strength
from trainwreck_tui.widgets.gauge import confidence
from trainwreck_tui.widgets.lanes import Lanes

WIDE_FROM = 110
TALL_FROM = 34
VICTIMS_SHOWN = 3
EVIDENCE_LINES = 4
EVIDENCE_LINES_LOW = 2
"""On a low screen, where the list of reasons should fit as a whole."""


class IncidentScreen(BaseScreen):
    """The verdict on one incident."""

    HELP = """\
# The verdict
**Cause**: the first thing that went wrong, as far as the evidence tells. **Victims** are loud lines
that are its consequences. The **percentage** is calibrated: of verdicts given with 80 %, 80 % are
right. **Unknown** is an answer: there is an incident, and the evidence does not decide.

`+++` decides for the cause, `++` speaks clearly for it, `+` is a hint; `−` speaks against it, `·`
says again what is said. The number behind is the weight: how much likelier the cause became, as a
logarithm. **Enter** on evidence or a victim opens the log at that line, or runs the query that
shows the rows.

`v` shows all victims and repeats, `t` timeline, `l` log, `s` SQL, `y` copies the verdict, `e`
exports it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "timeline", "Timeline"),
        Binding("l", "log", "Log"),
        Binding("s", "sql", "SQL"),
        Binding("v", "unfold", "Unfold"),
        Binding("e", "export", "Export"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self, incident: Incident) -> None:
        super().__init__()
        self.incident = incident
        self._pointers: dict[str, Evidence | Victim] = {}
        self._unfolded = False

    def compose(self) -> ComposeResult:
        """Headline, reasons, and on wide screens the lanes beside them."""
        yield Static(id="headline")
        with Horizontal(id="body"):
            yield OptionList(id="why")
            yield Lanes(id="lanes")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Fill everything in; the telemetry follows when it is loaded."""
        self._fill()
        self._load()

    def on_resize(self, event: events.Resize) -> None:
        """Show the lanes where there is room."""
        self.query_one("#lanes").display = event.size.width >= WIDE_FROM and bool(
            self.trainwreck.session.data
        )
        self.call_after_refresh(self._fill)  # when the list has the width that the lanes leave

    @work(thread=True, exclusive=True)
    def _load(self) -> None:
        loaded = self.trainwreck.load_timeline(self.incident)
        if loaded is not None:
            self.app.call_from_thread(self.query_one("#lanes", Lanes).show, loaded)

    def _fill(self) -> None:
        self.query_one("#headline", Static).update(self._headline())
        options = self.query_one("#why", OptionList)
        kept = options.highlighted
        self._pointers.clear()
        options.clear_options()
        options.add_options(list(self._options()))
        if kept is not None and kept < options.option_count:
            options.highlighted = kept
        elif options.option_count:
            options.action_first()

    def _headline(self) -> Text:
        verdict = self.incident.verdict
        colour = self.colour("error" if verdict.cause != "unknown" else "warning")
        text = Text(title(verdict.cause).upper(), f"bold {colour}")
        gauge = confidence(verdict.confidence, colour, self.colour("quiet"))
        gap = max(2, self.size.width - 4 - text.cell_len - gauge.cell_len)
        text.append(" " * gap)
        text.append_text(gauge)
        said, clocks, rest = verdict.summary.partition(" Clocks: ")
        text.append("\n" + said, f"not bold {self.colour('foreground')}")
        text.append("\n" + self._where(), f"not bold {self.colour('quiet')}")
        if clocks and self.size.height >= TALL_FROM:
            text.append(f"\n{clocks.strip()} {rest}", f"not bold {self.colour('quiet')}")
        return text

    def _where(self) -> str:
        incident, local = self.incident, self.trainwreck.session.local_time
        part, run = incident.verdict.component, incident.run
        words = []
        if incident.start is not None:
            shown = units.clock(incident.start, local=local, date=True)
            words.append(f"{shown} {units.zone(incident.start, local=local)}")
        words += [
            f"{name} {value}"
            for name, value in (
                ("host", part.host), ("rank", part.rank), ("GPU", part.gpu), ("PCI", part.pci),
                ("device", part.device), ("job", run.job), ("last step", run.last_step),
            )
            if value is not None
        ]  # fmt: skip
        if run.world_size:
            words.append(units.count(run.world_size, "rank"))
        lines: list[str] = []
        for word in words:  # a part stays on one line
            if lines and cell_len(f"{lines[-1]} · {word}") <= self.size.width - 4:
                lines[-1] += f" · {word}"
            else:
                lines.append(word)
        return "\n".join(lines) or "no time, host or rank is known"

    def _options(self) -> Iterator[Option]:
        incident = self.incident
        if incident.actions:
            yield self._heading("What to do")
            for n, action in enumerate(incident.actions, 1):
                yield Option(self._indented(f"{n}. ", action, "bold" if n == 1 else ""))
        first, *others = incident.hypotheses or (None,)
        if first is not None:
            yield self._heading("Why")
            yield from self._evidence_of(first, "e")
        if others:
            yield self._heading("Other causes")
            for n, hypothesis in enumerate(others):
                yield self._other(n, hypothesis)
        yield from self._victims()
        if incident.not_measured:
            yield self._heading(f"Not measured ({len(incident.not_measured)})")
            for text in incident.not_measured:
                yield Option(self._indented("· ", text, self.colour("quiet")))

    def _heading(self, text: str) -> Option:
        return Option(Text(text, f"bold {self.colour('primary')}"), disabled=True)

    @property
    def _width(self) -> int:
        """Cells for text in the list, its padding and scroll bar apart."""
        return max(20, self.query_one("#why").size.width - 4)

    def _indented(self, sign: str, words: str, style: str = "", tail: str = "") -> Text:
        """A sign, the words folded beside it, and at the right end where they stand."""
        width = self._width - len(sign)
        lines = fold(shortened(words), width)
        most = EVIDENCE_LINES if self.size.height >= TALL_FROM else EVIDENCE_LINES_LOW
        if len(lines) > most and not self._unfolded:
            room = width - cell_len(tail) - 2 if tail else width
            lines = [*lines[: most - 1], cut(lines[most - 1] + " …", max(room, width // 2))]
        text = Text(sign, style)
        text.append("\n".join(lines), style)
        if tail:
            gap = width - cell_len(lines[-1]) - cell_len(tail)
            text.append(" " * gap if gap >= 2 else "\n" + " " * (width - cell_len(tail)))
            text.append(tail, self.colour("quiet"))
        return _hang(text, len(sign))

    def _evidence_of(self, hypothesis: Hypothesis, prefix: str) -> Iterator[Option]:
        ordered = sorted(hypothesis.evidence, key=lambda e: (not e.supports, -abs(e.weight)))
        repeats = [e for e in ordered if e.supports and not e.weight]
        if len(repeats) == len(ordered) or self._unfolded:
            repeats = []
        for n, evidence in enumerate(ordered):
            if evidence in repeats:
                continue
            key = f"{prefix}{n}"
            self._pointers[key] = evidence
            style = "" if evidence.supports else self.colour("warning")
            tail = " ".join(filter(None, (pointer(evidence), strength.number(evidence))))
            prompt = self._indented(strength.signs(evidence), headless(evidence.text), style, tail)
            yield Option(prompt, id=key)
        if repeats:
            words = f"and {units.count(len(repeats), 'line')} that say the same (v)"
            words = words.replace("line that say", "line that says")
            yield Option(self._indented(" " * strength.WIDTH, words, self.colour("quiet")), id="v1")

    def _other(self, n: int, hypothesis: Hypothesis) -> Option:
        text = Text(f"{units.probability(hypothesis.confidence):>5}  {title(hypothesis.cause)}")
        count = len(hypothesis.evidence)
        if count:
            best = max(hypothesis.evidence, key=lambda e: e.weight)
            self._pointers[f"o{n}"] = best
            text.append(f"  {headless(shortened(best.text))}", self.colour("quiet"))
        text.truncate(self._width, overflow="ellipsis")
        return Option(text, id=f"o{n}")

    def _victims(self) -> Iterator[Option]:
        victims = self.incident.victims
        if not victims:
            return
        yield self._heading(f"Victims: {units.count(len(victims), 'loud line')}, consequences")
        quiet = self.colour("quiet")
        for n, victim in enumerate(victims[: None if self._unfolded else VICTIMS_SHOWN]):
            self._pointers[f"w{n}"] = victim
            words = victim.line_of_rank(headless(victim.text))
            if self._unfolded:
                tail = pointer_of_victim(victim)
                text = self._indented("  ", words, quiet, tail)
                text.append_text(Text("\n").append_text(self._indented("    ", victim.why)))
            else:
                text = Text(f"  {shortened(words)}", quiet)
                text.truncate(self._width, overflow="ellipsis")
            yield Option(text, id=f"w{n}")
        if len(victims) > VICTIMS_SHOWN and not self._unfolded:
            yield Option(Text(f"  and {len(victims) - VICTIMS_SHOWN} more (v)", quiet), id="v2")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Follow the pointer of evidence or a victim, or unfold what is folded."""
        if event.option_id in ("v1", "v2"):
            self.action_unfold()
            return
        one = self._pointers.get(event.option_id or "")
        if one is None:
            return
        source = Path(one.source) if one.source else None
        if source is not None and one.line is not None and source.is_file():
            self.trainwreck.open_log(source, one.line)
        elif one.sql and self.trainwreck.session.data:
            self.trainwreck.open_sql(one.sql)
        else:
            self.notify("This line points to nothing that can be opened here.")

    def action_timeline(self) -> None:
        """Open the timeline around this incident."""
        self.trainwreck.open_timeline(self.incident)

    def action_log(self) -> None:
        """Open the log at the evidence in it, else at the first victim."""
        path = self.trainwreck.session.log_of(self.incident)
        if path is None:
            self.notify("No log was read with this incident.")
            return
        self.trainwreck.open_log(path, line_of(self.incident, path))

    def action_sql(self) -> None:
        """Open the query box."""
        self.trainwreck.open_sql(None)

    def action_unfold(self) -> None:
        """Show everything that was left out for brevity, or leave it out again."""
        self._unfolded = not self._unfolded
        self._fill()

    def action_export(self) -> None:
        """Ask what to write, and write it where the app was started."""
        self.trainwreck.ask_export(self.incident)

    def action_copy(self) -> None:
        """Copy the verdict as text."""
        self.trainwreck.copy_verdict(self.incident)


def _hang(text: Text, indent: int) -> Text:
    """The text with every line but the first indented."""
    lines = text.split("\n")
    return Text("\n" + " " * indent).join(lines)
