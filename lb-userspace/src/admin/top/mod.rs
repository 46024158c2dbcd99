//! `lb top`: the status in a terminal, as it changes, with keys that drain and weigh servers.
//!
//! [`app`] is what is shown and what keys do, without a terminal; [`draw`] paints it; [`ask`] speaks to the daemon in a
//! thread of its own, so that one that does not answer holds up no key. Here are the terminal and the loop.

mod app;
mod ask;
mod draw;
mod rows;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};

use self::{app::App, ask::Asker, draw::Theme};
use super::cli::{Daemon, fail};

/// How long a signal may go unnoticed.
const GLANCE: Duration = Duration::from_millis(100);

/// Arguments of `lb top`.
#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub interval: f64,
    /// Show only what has this in its name
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: Daemon,
}

impl TopArgs {
    /// Shows it until the user has seen enough.
    pub fn run(&self) -> ExitCode {
        if !io::stdout().is_terminal() {
            return fail(&"lb top needs a terminal; `lb status` prints the same once");
        }
        // One that cannot be reached at all is said on the terminal as it is.
        if let Err(error) = ask::status(&self.daemon.socket) {
            return fail(&error);
        }
        let stop = match on_signals() {
            Ok(stop) => stop,
            Err(error) => return fail(&format!("cannot watch signals: {error}")),
        };
        // From here on a panic restores the terminal as well: ratatui hooks it.
        let terminal = match ratatui::try_init() {
            Ok(terminal) => terminal,
            Err(error) => return fail(&format!("cannot use this terminal: {error}")),
        };
        let shown = self.show(terminal, &stop);
        ratatui::restore();
        match shown {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the terminal cannot be used any more: {error}")),
        }
    }

    fn show(&self, mut terminal: DefaultTerminal, stop: &AtomicBool) -> io::Result<()> {
        let interval = Duration::try_from_secs_f64(self.interval).unwrap_or(Duration::MAX);
        let interval = interval.clamp(GLANCE, Duration::from_secs(3600));
        let theme = Theme {
            colour: super::cli::wants_colour(),
        };
        let asker = Asker::start(&self.daemon.socket)?;
        let mut app = App::new(self.filter.clone().unwrap_or_default());
        let mut next = Instant::now();
        while !stop.load(Relaxed) && !app.is_done() {
            let now = Instant::now();
            if now >= next && !asker.is_busy() {
                asker.look(app.wants_flows());
                next = now + interval;
            }
            while let Some(answer) = asker.answer() {
                app.take(answer, Instant::now());
            }
            terminal.draw(|frame| draw::draw(frame, &mut app, theme))?;
            if !event::poll(GLANCE)? {
                continue;
            }
            // All that waits is read before the next painting: a paste, or a key held down.
            while event::poll(Duration::ZERO)? {
                if let Event::Key(key) = event::read()?
                    && key.kind != KeyEventKind::Release
                {
                    let wanted_flows = app.wants_flows();
                    if let Some(command) = app.key(key) {
                        asker.command(command);
                        next = Instant::now();
                    }
                    if app.wants_flows() != wanted_flows {
                        next = Instant::now();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Becomes true with the first signal that ends a process.
fn on_signals() -> io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let entered = runtime.enter();
    let mut signals = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
    ];
    drop(entered);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let [terminate, interrupt, hangup, quit] = &mut signals;
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                    _ = quit.recv() => {}
                }
            });
            noticed.store(true, Relaxed);
        })?;
    Ok(stop)
}

#[cfg(test)]
mod tests;
