//! Paints it. Fits on 80 columns and 24 lines; wider terminals see more.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line as Text, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row as Cells, Table},
};

use super::{
    app::{App, Mode, View},
    rows::{Line, Subject},
};
use crate::observe::stats::{Row, Snapshot};

/// From this width on there is room for more columns.
const WIDE: u16 = 112;

/// How states are told apart; without colours words do it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colour: bool,
}

impl Theme {
    fn coloured(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn state(self, state: &str) -> Style {
        match state {
            "UP" | "OPEN" => self.coloured(Color::Green),
            "no check" => Style::new(),
            state if state.starts_with("DOWN") => self.bad(),
            _ => self.coloured(Color::Yellow),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Paints all of it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(self::head(app, theme)), head);
    frame.render_widget(self::tabs(app, theme), tabs);
    // The heading takes a line.
    app.page = usize::from(body.height.saturating_sub(1));
    match app.view {
        View::Proxies => proxies(frame, body, app, theme),
        View::Flows => flows(frame, body, app, theme),
    }
    frame.render_widget(self::foot(app, theme), foot);
    if app.mode == Mode::Help {
        help(frame, frame.area());
    }
}

fn head(app: &App, theme: Theme) -> Vec<Text<'static>> {
    let Some(snapshot) = &app.snapshot else {
        return vec![Text::from("waiting for lb")];
    };
    let process = &snapshot.process;
    let mut first = vec![
        Span::styled(format!("lb {}", process.version), BOLD),
        Span::raw(format!(
            " on {}  pid {}  up {}  threads {}",
            process.node,
            process.pid,
            process.uptime_text(),
            process.threads
        )),
    ];
    if process.stopping {
        first.push(Span::styled("  stopping", theme.bad()));
    }
    if !process.servers_refused.is_empty() {
        first.push(Span::styled("  servers file refused", theme.bad()));
    }
    vec![Text::from(first), Text::from(load(snapshot, theme))]
}

fn load(snapshot: &Snapshot, theme: Theme) -> Vec<Span<'static>> {
    let process = &snapshot.process;
    let limit = process
        .maxconn
        .map_or_else(String::new, |max| format!("/{max}"));
    let mut parts = vec![Span::raw(format!(
        "connections {}{limit}  ",
        process.current_connections
    ))];
    let path = &snapshot.path;
    parts.push(match path.max_flows {
        0 => Span::raw("no kernel path  "),
        most => Span::raw(format!(
            "kernel flows {}/{most} ({} %)  ",
            path.flows,
            path.flows.saturating_mul(100) / most
        )),
    });
    let servers = snapshot
        .backends
        .iter()
        .flat_map(|backend| &backend.servers);
    let down = servers
        .filter(|server| is_down(server.row.status.as_deref().unwrap_or_default()))
        .count();
    parts.push(match down {
        0 => Span::styled("all servers up", theme.coloured(Color::Green)),
        1 => Span::styled("1 server down", theme.bad()),
        many => Span::styled(format!("{many} servers down"), theme.bad()),
    });
    parts
}

fn is_down(state: &str) -> bool {
    state.starts_with("DOWN")
}

fn tabs(app: &App, theme: Theme) -> Paragraph<'static> {
    let tab = |view, name: &'static str| {
        Span::styled(name, if app.view == view { REVERSED } else { DIM })
    };
    let mut parts = vec![
        tab(View::Proxies, " proxies "),
        Span::raw(" "),
        tab(View::Flows, " flows "),
    ];
    if app.view == View::Proxies {
        let reverse = if app.choice.reverse { " reversed" } else { "" };
        let sort = app.choice.sort.name();
        parts.push(Span::raw(format!("  by {sort}{reverse}")));
    }
    if !app.choice.filter.is_empty() {
        let filter = format!("  filter: {}", app.choice.filter);
        parts.push(Span::styled(filter, theme.coloured(Color::Cyan)));
    }
    if let Some(why) = &app.lost {
        parts.push(Span::styled(format!("  {why}"), theme.bad()));
    }
    Paragraph::new(Text::from(parts))
}

fn proxies(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    let shown = app.shown();
    let cursor = app.cursor(&shown);
    app.first_line = scrolled(app.first_line, cursor, shown.len(), app.page);
    let wide = area.width >= WIDE;
    let mut heading = vec![
        "NAME", "STATE", ">WGHT", ">CUR", ">RATE", ">QUE", ">IN/s", ">OUT/s",
    ];
    let mut widths: Vec<Constraint> = [9, 5, 6, 6, 5, 7, 7].map(Constraint::Length).into();
    widths.insert(0, Constraint::Min(14));
    if wide {
        heading.extend([">ERR/s", ">RESP"]);
        widths.extend([Constraint::Length(6), Constraint::Length(7)]);
    }
    heading.push("CHECK");
    widths.push(Constraint::Length(10));
    if wide {
        heading.push("ADDRESS");
        widths.push(Constraint::Length(22));
    }
    let lines = shown.iter().enumerate().skip(app.first_line).take(app.page);
    let rows = lines.map(|(at, line)| {
        let row = Cells::new(cells(line, wide, theme));
        match at == cursor {
            true => row.style(REVERSED),
            false => row,
        }
    });
    let headings = heading.iter().map(|text| match text.strip_prefix('>') {
        Some(text) => Cell::from(Text::from(text.to_owned()).alignment(Alignment::Right)),
        None => Cell::from((*text).to_owned()),
    });
    let table = Table::new(rows, widths)
        .header(Cells::new(headings).style(DIM))
        .column_spacing(1);
    frame.render_widget(table, area);
    if shown.is_empty() {
        empty(frame, area, "nothing has that in its name");
    }
}

/// The first line to be shown so that the cursor is in sight.
fn scrolled(first: usize, cursor: usize, all: usize, page: usize) -> usize {
    let page = page.max(1);
    let first = first.min(all.saturating_sub(page));
    first.clamp((cursor + 1).saturating_sub(page), cursor)
}

fn cells(line: &Line, wide: bool, theme: Theme) -> Vec<Cell<'static>> {
    let Line { row, rates, .. } = line;
    let right = |text: String| Cell::from(Text::from(text).alignment(Alignment::Right));
    let number = |value: Option<u64>| right(value.map(|n| short(n as f64)).unwrap_or_default());
    let state = row.status.clone().unwrap_or_default();
    let (name, check) = match &line.subject {
        Subject::Frontend(name) => (Span::styled(name.clone(), BOLD), line.path.to_owned()),
        Subject::Backend(name) => {
            let mark = if line.collapsed { "+" } else { "-" };
            let algorithm = row.algo.clone().unwrap_or_default();
            (
                Span::styled(format!("{mark} {name}"), BOLD),
                algorithm.into_owned(),
            )
        }
        Subject::Server(_, name) => (Span::raw(format!("    {name}")), check(row)),
    };
    let errors = match rates.errors > 0.0 {
        true => theme.bad(),
        false => Style::new(),
    };
    let queued = match row.qcur {
        Some(1..) => theme.coloured(Color::Yellow),
        _ => Style::new(),
    };
    let mut cells = vec![
        Cell::from(name),
        Cell::from(Span::styled(state.to_string(), theme.state(&state))),
        number(row.weight),
        number(row.scur),
        right(short(rates.sessions)),
        number(row.qcur).style(queued),
        right(short(rates.bytes_in)),
        right(short(rates.bytes_out)),
    ];
    if wide {
        let response = row.rtime.filter(|_| row.hrsp_2xx.is_some());
        cells.push(right(short(rates.errors)).style(errors));
        cells.push(right(
            response.map(|ms| format!("{ms} ms")).unwrap_or_default(),
        ));
    }
    cells.push(Cell::from(check));
    if wide {
        cells.push(Cell::from(
            row.addr.clone().unwrap_or_default().into_owned(),
        ));
    }
    cells
}

fn check(row: &Row) -> String {
    let status = row.check_status.as_deref().unwrap_or_default();
    match row.check_code {
        Some(code) => format!("{status}/{code}"),
        None => status.to_owned(),
    }
}

fn flows(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    let number = app.shown_flows().len();
    app.first_flow = app.first_flow.min(number.saturating_sub(app.page.max(1)));
    if let Err(why) = &app.flows {
        return empty(frame, area, why);
    }
    let wide = area.width >= WIDE;
    let shown = app
        .shown_flows()
        .into_iter()
        .skip(app.first_flow)
        .take(app.page);
    let rows: Vec<Cells<'_>> = shown
        .map(|row| {
            let right = |text: String| Cell::from(Text::from(text).alignment(Alignment::Right));
            let state = match row.half_open {
                true => theme.coloured(Color::Yellow),
                false => Style::new(),
            };
            let mut cells = vec![
                Cell::from(row.protocol.clone()),
                Cell::from(row.client.to_string()),
                Cell::from(format!("{}/{}", row.backend, row.server)),
                Cell::from(Span::styled(row.state.clone(), state)),
                right(age(row.age_ms)),
                right(short(row.bytes_in as f64)),
                right(short(row.bytes_out as f64)),
            ];
            if wide {
                cells.insert(2, Cell::from(row.service.to_string()));
                cells.push(right(age(row.idle_ms)));
            }
            cells
        })
        .map(Cells::new)
        .collect();
    if rows.is_empty() {
        return empty(frame, area, "the kernel forwards no such flow");
    }
    let mut heading = vec!["PROTO", "CLIENT", "SERVER", "STATE", "AGE", "IN", "OUT"];
    let mut widths = vec![
        Constraint::Length(5),
        Constraint::Length(21),
        Constraint::Min(12),
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    if wide {
        heading.insert(2, "SERVICE");
        widths.insert(2, Constraint::Length(21));
        heading.push("IDLE");
        widths.push(Constraint::Length(6));
    }
    let headings = heading.iter().map(|text| match *text {
        "AGE" | "IN" | "OUT" | "IDLE" => Cell::from(Text::from(*text).alignment(Alignment::Right)),
        text => Cell::from(text),
    });
    let table = Table::new(rows, widths)
        .header(Cells::new(headings).style(DIM))
        .column_spacing(1);
    frame.render_widget(table, area);
}

fn empty(frame: &mut Frame<'_>, area: Rect, why: &str) {
    let middle = Rect {
        y: area.y + area.height / 2,
        height: area.height.min(1),
        ..area
    };
    frame.render_widget(Paragraph::new(why).alignment(Alignment::Center), middle);
}

fn foot(app: &App, theme: Theme) -> Paragraph<'static> {
    let line = match (&app.mode, &app.message) {
        (Mode::Filter(_), _) => {
            vec![
                Span::styled(format!("filter: {}_", app.choice.filter), BOLD),
                Span::styled("  Enter keeps it, Esc takes it back", DIM),
            ]
        }
        (Mode::Weight(server, text), _) => vec![
            Span::styled(format!("weight of {server}: {text}_"), BOLD),
            Span::styled("  0 to 256, or 50%", DIM),
        ],
        (Mode::Confirm(command), _) => {
            let style = theme.coloured(Color::Yellow).add_modifier(Modifier::BOLD);
            vec![Span::styled(format!("{}? [y/N]", command.text), style)]
        }
        (_, Some((text, bad))) => {
            let style = if *bad { theme.bad() } else { BOLD };
            vec![Span::styled(text.clone(), style)]
        }
        (_, None) => vec![Span::styled(
            "q quit  ? help  / filter  s sort  f flows  d drain  r ready  m maint  w weight",
            DIM,
        )],
    };
    Paragraph::new(Text::from(line))
}

const HELP: &[(&str, &str)] = &[
    ("arrows, j k, PgUp PgDn, g G", "move"),
    ("space, Enter", "fold a backend's servers, or unfold"),
    ("c", "fold all, or unfold"),
    ("s, S", "sort by another column, reverse"),
    ("/", "filter by name"),
    ("f, Tab", "flows of the kernel, and back"),
    ("d", "drain: no new connections but by cookie"),
    ("r", "ready: traffic as health allows"),
    ("m", "maint: no traffic, no checks"),
    ("w", "weight"),
    ("q, Esc, Ctrl-C", "quit"),
];

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = HELP
        .iter()
        .map(|(keys, what)| Text::from(format!(" {keys:<28} {what} ")))
        .collect::<Vec<_>>();
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let width = 72.min(area.width);
    let at = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered()
        .title(" keys ")
        .title_bottom(" any key closes ");
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(lines).block(block), at);
}

/// A number in at most five characters: `999`, `1.2k`, `34M`.
fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (number, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(value < 9.95 && (unit > 0 || value.fract() > 0.05));
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A time in its largest unit.
fn age(ms: u32) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m", s / 60),
        3_600..86_400 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.04, "0"),
            (0.5, "0.5"),
            (7.0, "7"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12k"),
            (1.5e6, "1.5M"),
            (2e15, "2000T"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn the_cursor_stays_in_sight() {
        assert_eq!(scrolled(0, 3, 20, 10), 0);
        assert_eq!(scrolled(0, 12, 20, 10), 3);
        assert_eq!(scrolled(5, 2, 20, 10), 2);
        assert_eq!(scrolled(15, 4, 5, 10), 0);
        assert_eq!(scrolled(3, 0, 0, 0), 0);
    }
}
