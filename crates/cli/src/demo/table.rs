//! The demo on the terminal: a live table, or a plain line a second where there is no terminal.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::net::SocketAddr;
use std::panic;
use std::sync::{Arc, Once};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::backend::{Backend, Condition, State};
use super::figures::Shown;
use super::load::CLIENTS;
use super::units::{bytes, clock, millis, number, rate};

/// Lines of the live table.
const HEIGHT: u16 = 12;

/// What the demo is watched in.
pub(super) enum Table {
    /// Drawn in place.
    Live(Box<Live>),
    /// A line a second.
    Plain,
}

impl Table {
    /// Opens the table that fits the standard output, of a forwarder at `front`.
    pub(super) fn open(front: SocketAddr) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !stdout().is_terminal() {
            return Self::Plain;
        }
        // A terminal that does not say where its cursor is gets lines too.
        Live::open(front).map_or(Self::Plain, |live| Self::Live(Box::new(live)))
    }

    /// A second is over, with new figures.
    pub(super) fn second(&mut self, shown: &Shown, backends: &[Arc<Backend>]) -> io::Result<()> {
        match self {
            Self::Live(live) => live.draw(shown, backends),
            Self::Plain => plain(shown, backends),
        }
    }

    /// A moment is over, and the conditions of `backends` may have changed.
    pub(super) fn frame(&mut self, shown: &Shown, backends: &[Arc<Backend>]) -> io::Result<()> {
        match self {
            Self::Live(live) => live.draw(shown, backends),
            Self::Plain => Ok(()),
        }
    }

    /// Whether a key has asked for the end; the terminal sends no signals meanwhile.
    pub(super) fn left(&self) -> io::Result<bool> {
        match self {
            Self::Live(_) => left(),
            Self::Plain => Ok(false),
        }
    }

    /// Gives the terminal back, without the table.
    pub(super) fn close(self) -> io::Result<()> {
        match self {
            Self::Live(mut live) => live.clear(),
            Self::Plain => Ok(()),
        }
    }
}

/// A few lines of the terminal, which is given back on drop and on panic.
pub(super) struct Live {
    front: SocketAddr,
    terminal: Terminal<CrosstermBackend<Stdout>>,
    _raw: Raw,
}

impl Live {
    fn open(front: SocketAddr) -> io::Result<Self> {
        let raw = Raw::enter()?;
        let viewport = Viewport::Inline(HEIGHT);
        let terminal = Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport })?;
        Ok(Self { front, terminal, _raw: raw })
    }

    /// Takes the table away and leaves the cursor where it began.
    fn clear(&mut self) -> io::Result<()> {
        let corner = self.terminal.get_frame().area().as_position();
        self.terminal.clear()?;
        self.terminal.set_cursor_position(corner)
    }

    fn draw(&mut self, shown: &Shown, backends: &[Arc<Backend>]) -> io::Result<()> {
        let lines = lines(self.front, shown, backends);
        self.terminal.draw(|frame| frame.render_widget(Paragraph::new(lines), frame.area()))?;
        Ok(())
    }
}

/// Raw mode for as long as it lives, so that typed keys leave no marks in the table.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let next = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                next(info);
            }));
        });
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // There is no way left to tell.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), cursor::Show);
}

fn left() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn lines(front: SocketAddr, shown: &Shown, backends: &[Arc<Backend>]) -> Vec<Line<'static>> {
    let (time, count) = (clock(shown.elapsed), backends.len());
    let title = format!("  {CLIENTS} clients -> forwarder {front} -> {count} backends");
    let mut lines = vec![
        Line::from(vec!["towpath demo".bold(), format!("{title:<56}{time:>5}").into()]),
        Line::default(),
        Line::from(format!(
            "{:<9} {:<16} {:<10} {:>11} {:>10} {:>12}",
            "backend", "address", "state", "connections", "requests/s", "requests"
        ))
        .dim(),
    ];
    for (place, backend) in backends.iter().enumerate() {
        let Condition { state, connections, .. } = backend.condition();
        let (name, address) = (place + 1, backend.address().to_string());
        let (rate, answered) = (rate(shown.rates[place]), number(shown.answered[place]));
        lines.push(Line::from(vec![
            format!("{name:<9} {address:<16} ").into(),
            Span::styled(format!("{:<10}", word(state)), colour(state)),
            format!(" {connections:>11} {rate:>10} {answered:>12}").into(),
        ]));
    }
    let carried = bytes(shown.totals.up_bytes + shown.totals.down_bytes);
    let failed = number(shown.failed);
    let failed = if shown.failed == 0 { failed.green() } else { failed.red().bold() };
    lines.extend([
        Line::default(),
        pair(
            "live connections",
            number(shown.totals.live()).into(),
            "latency p50",
            millis(shown.latency.p50),
        ),
        pair("requests/s", rate(shown.rates.iter().sum()).into(), "latency p99", millis(shown.latency.p99)),
        pair("failed requests", failed, "carried", carried),
        Line::default(),
        Line::from("Backends stop in turn, finish what they began and come back. q: end").dim(),
    ]);
    lines
}

fn pair(name: &'static str, value: Span<'static>, second: &'static str, figure: String) -> Line<'static> {
    let gap = " ".repeat(9usize.saturating_sub(value.content.len()));
    let (name, second) = (format!("{name:<17}").dim(), format!("{second:>22}").dim());
    Line::from(vec![name, gap.into(), value, second, format!("{figure:>12}").into()])
}

fn word(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Stopping => "stopping",
        State::Down => "down",
    }
}

fn colour(state: State) -> Style {
    match state {
        State::Up => Style::new().green(),
        State::Stopping => Style::new().yellow(),
        State::Down => Style::new().red(),
    }
}

fn plain(shown: &Shown, backends: &[Arc<Backend>]) -> io::Result<()> {
    use io::Write;
    let mut line = format!("{:>5}", clock(shown.elapsed));
    for (place, backend) in backends.iter().enumerate() {
        let Condition { state, connections, .. } = backend.condition();
        let rate = rate(shown.rates[place]);
        line += &format!("  [{} {:<8} {connections:>2} conn {rate:>5}/s]", place + 1, word(state));
    }
    let (rate, p50, p99) =
        (rate(shown.rates.iter().sum()), millis(shown.latency.p50), millis(shown.latency.p99));
    let (live, carried) = (shown.totals.live(), bytes(shown.totals.up_bytes + shown.totals.down_bytes));
    let failed = number(shown.failed);
    writeln!(stdout(), "{line}  {live} live  {rate}/s  {carried}  p50 {p50}  p99 {p99}  failed {failed}")
}
