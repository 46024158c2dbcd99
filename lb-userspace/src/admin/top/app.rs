//! What is shown, and what keys do. No terminal, no socket.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    ask::{Answer, Command},
    rows::{self, Choice, Line, Subject},
};
use crate::{
    admin::cli::escape,
    observe::{request::FlowRow, stats::Snapshot},
};

/// Which of the two views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum View {
    #[default]
    Proxies,
    Flows,
}

/// What keys mean at present.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Mode {
    #[default]
    Look,
    /// The filter is being written; this is what it was.
    Filter(String),
    /// The weight of a server is being written.
    Weight(String, String),
    /// Shall it be done?
    Confirm(Command),
    Help,
}

/// All of it.
#[derive(Debug)]
pub(super) struct App {
    pub(super) view: View,
    pub(super) mode: Mode,
    pub(super) choice: Choice,
    /// What the line at the foot says: text, and whether it is bad news.
    pub(super) message: Option<(String, bool)>,
    pub(super) snapshot: Option<Box<Snapshot>>,
    /// Why the last look came to nothing.
    pub(super) lost: Option<String>,
    pub(super) flows: Result<Vec<FlowRow>, String>,
    taken: Option<Instant>,
    lines: Vec<Line>,
    /// What the cursor is on. It stays on it while lines move.
    selected: Option<Subject>,
    /// Which flow is first on the screen.
    pub(super) first_flow: usize,
    /// Which line is first on the screen; painting keeps the cursor in sight.
    pub(super) first_line: usize,
    /// Lines that fit on the screen, from the last painting.
    pub(super) page: usize,
    done: bool,
}

impl App {
    pub(super) fn new(filter: String) -> Self {
        Self {
            choice: Choice {
                filter: filter.to_lowercase(),
                ..Choice::default()
            },
            view: View::default(),
            mode: Mode::default(),
            message: None,
            snapshot: None,
            lost: None,
            flows: Ok(Vec::new()),
            taken: None,
            lines: Vec::new(),
            selected: None,
            first_flow: 0,
            first_line: 0,
            page: 10,
            done: false,
        }
    }

    /// Whether the user has seen enough.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the flows are looked at.
    pub(super) fn wants_flows(&self) -> bool {
        self.view == View::Flows
    }

    /// Takes in what the daemon has said.
    pub(super) fn take(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Status(Ok(snapshot)) => {
                let before = self.snapshot.take().zip(self.taken);
                let before = before
                    .as_ref()
                    .map(|(before, then)| (&**before, now.saturating_duration_since(*then)));
                self.lines = rows::lines(&snapshot, before);
                self.snapshot = Some(snapshot);
                self.taken = Some(now);
                self.lost = None;
            }
            Answer::Status(Err(why)) => self.lost = Some(why),
            Answer::Flows(flows) => self.flows = flows,
            Answer::Done(command, Ok(said)) if said.trim().is_empty() => {
                self.message = Some((format!("done: {}", command.text), false));
            }
            Answer::Done(command, Ok(why) | Err(why)) => {
                self.message = Some((format!("{}: {}", command.text, why.trim()), true));
            }
        }
    }

    /// The lines that are to be seen.
    pub(super) fn shown(&self) -> Vec<Line> {
        rows::choose(&self.lines, &self.choice)
    }

    /// The flows that are to be seen.
    pub(super) fn shown_flows(&self) -> Vec<&FlowRow> {
        let filter = &self.choice.filter;
        let flows = self.flows.iter().flatten();
        let has = |row: &&FlowRow| {
            let text = format!(
                "{} {} {} {}/{} {}",
                row.client, row.service, row.frontend, row.backend, row.server, row.state
            );
            filter.is_empty() || text.to_lowercase().contains(filter)
        };
        flows.filter(has).collect()
    }

    /// Where the cursor is among `shown`.
    pub(super) fn cursor(&self, shown: &[Line]) -> usize {
        let selected = self.selected.as_ref();
        let at = selected.and_then(|wanted| shown.iter().position(|l| l.subject == *wanted));
        // Its backend was collapsed over it, or it is filtered out.
        let parent = || match selected {
            Some(Subject::Server(backend, _)) => shown
                .iter()
                .position(|l| l.subject == Subject::Backend(backend.clone())),
            _ => None,
        };
        at.or_else(parent).unwrap_or(0)
    }

    /// A key was pressed. What is to be done about it by the daemon.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Command> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            if matches!(key.code, KeyCode::Char('c' | 'd')) {
                self.done = true;
            }
            return None;
        }
        self.message = None;
        match std::mem::take(&mut self.mode) {
            Mode::Look => self.look(key.code),
            Mode::Help => {}
            Mode::Filter(before) => self.write_filter(key.code, before),
            Mode::Weight(server, text) => self.write_weight(key.code, server, text),
            Mode::Confirm(command) => match key.code {
                KeyCode::Char('y' | 'Y') | KeyCode::Enter => return Some(command),
                _ => self.message = Some(("nothing was done".into(), false)),
            },
        }
        None
    }

    fn look(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => self.done = true,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter(self.choice.filter.clone()),
            KeyCode::Char('f') | KeyCode::Tab => {
                self.view = match self.view {
                    View::Proxies => View::Flows,
                    View::Flows => View::Proxies,
                }
            }
            KeyCode::Char('s') => self.choice.sort = self.choice.sort.next(),
            KeyCode::Char('S') => self.choice.reverse ^= true,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-self.a_page()),
            KeyCode::PageDown => self.step(self.a_page()),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX / 2),
            KeyCode::Char(' ') | KeyCode::Enter => self.fold(),
            KeyCode::Char('c') => self.fold_all(),
            KeyCode::Char('d') => self.state("drain"),
            KeyCode::Char('r') => self.state("ready"),
            KeyCode::Char('m') => self.state("maint"),
            KeyCode::Char('w') => {
                if let Some(server) = self.server() {
                    self.mode = Mode::Weight(server, String::new());
                }
            }
            _ => {}
        }
    }

    fn a_page(&self) -> isize {
        isize::try_from(self.page.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn step(&mut self, by: isize) {
        if self.view == View::Flows {
            let last = self.shown_flows().len().saturating_sub(self.page.max(1));
            self.first_flow = self.first_flow.saturating_add_signed(by).min(last);
            return;
        }
        let shown = self.shown();
        let at = self.cursor(&shown).saturating_add_signed(by);
        let line = shown.get(at).or(shown.last());
        self.selected = line.map(|line| line.subject.clone());
    }

    fn under_cursor(&self) -> Option<Subject> {
        let shown = self.shown();
        let line = shown.get(self.cursor(&shown))?;
        Some(line.subject.clone())
    }

    fn fold(&mut self) {
        if self.view == View::Flows {
            return;
        }
        let (Some(Subject::Backend(backend)) | Some(Subject::Server(backend, _))) =
            self.under_cursor()
        else {
            return;
        };
        self.selected = Some(Subject::Backend(backend.clone()));
        let collapsed = &mut self.choice.collapsed;
        if !collapsed.remove(&backend) {
            collapsed.insert(backend);
        }
    }

    fn fold_all(&mut self) {
        let names = self.lines.iter().filter_map(|line| match &line.subject {
            Subject::Backend(name) => Some(name.clone()),
            _ => None,
        });
        self.choice.collapsed = match self.choice.collapsed.is_empty() {
            true => names.collect(),
            false => Default::default(),
        };
    }

    /// The server under the cursor, `backend/server`; without one the foot says so.
    fn server(&mut self) -> Option<String> {
        let subject = self.under_cursor().filter(|_| self.view == View::Proxies);
        if let Some(subject @ Subject::Server(..)) = subject {
            return Some(subject.name());
        }
        self.message = Some(("put the cursor on a server first".into(), true));
        None
    }

    fn state(&mut self, state: &str) {
        if let Some(server) = self.server() {
            self.mode = Mode::Confirm(Command {
                line: format!("set server {} state {state}", escape(&server)),
                text: format!("{state} {server}"),
            });
        }
    }

    fn write_filter(&mut self, code: KeyCode, before: String) {
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                self.choice.filter = before;
                return;
            }
            KeyCode::Backspace => {
                self.choice.filter.pop();
            }
            KeyCode::Char(c) => self.choice.filter.extend(c.to_lowercase()),
            _ => {}
        }
        self.first_flow = 0;
        self.mode = Mode::Filter(before);
    }

    fn write_weight(&mut self, code: KeyCode, server: String, mut text: String) {
        match code {
            KeyCode::Esc => return,
            KeyCode::Enter if text.is_empty() => return,
            KeyCode::Enter => {
                self.mode = Mode::Confirm(Command {
                    line: format!("set server {} weight {text}", escape(&server)),
                    text: format!("weigh {server} {text}"),
                });
                return;
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(c) if (c.is_ascii_digit() || c == '%') && text.len() < 4 => text.push(c),
            _ => {}
        }
        self.mode = Mode::Weight(server, text);
    }
}
