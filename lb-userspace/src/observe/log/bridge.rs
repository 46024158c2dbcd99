//! The daemon's own messages (`tracing`) on their way to the log targets.
//!
//! Before the targets are open and after they are closed, messages go to standard error in the same form, so that a
//! failed start and a late failure are explained.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    sync::OnceLock,
    time::SystemTime,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, layer::Context, layer::SubscriberExt, util::SubscriberInitExt,
};

use super::{level::Level, rfc3164::push_line, sink::Sink, target::stamp};
use crate::config::model::{LogDestination, LogFormat, LogTarget};

/// Environment variable that sets what the daemon itself says, in `RUST_LOG`'s syntax (`debug`, `lb::health=trace`).
pub const FILTER_VARIABLE: &str = "LB_LOG";

static SINK: OnceLock<Sink> = OnceLock::new();

/// Installs the bridge for the whole process. Later calls do nothing.
pub fn install() {
    let filter = EnvFilter::builder()
        .with_env_var(FILTER_VARIABLE)
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    // An error means that a subscriber is there already.
    let _ = tracing_subscriber::registry()
        .with(Bridge.with_filter(filter))
        .try_init();
}

/// From now on messages go to `sink`'s targets.
pub fn attach(sink: Sink) {
    // A second sink in one process would only come from a second daemon in it, and the first one's is as good.
    let _ = SINK.set(sink);
}

/// The targets to open: those of the configuration, but with [`FILTER_VARIABLE`] set, standard error shows everything
/// that the filter lets through.
pub fn targets(configured: &[LogTarget]) -> Vec<LogTarget> {
    with_debugging(configured, std::env::var_os(FILTER_VARIABLE).is_some())
}

fn with_debugging(configured: &[LogTarget], debugging: bool) -> Vec<LogTarget> {
    let mut targets = configured.to_vec();
    if debugging {
        targets.retain(|target| target.target != LogDestination::Stderr);
        targets.push(LogTarget::new(
            LogDestination::Stderr,
            16,
            Level::Debug as u8,
            LogFormat::Text,
        ));
    }
    targets
}

struct Bridge;

impl<S: Subscriber> Layer<S> for Bridge {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = level_of(*event.metadata().level());
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.finish();
        match SINK.get().filter(|sink| !sink.is_stopped()) {
            Some(sink) => sink.event(level, &text),
            None => {
                let mut out = String::new();
                stamp(&mut out, SystemTime::now(), level);
                push_line(&mut out, &text);
                // Without standard error there is nowhere left to say so.
                let _ = std::io::stderr().write_all(out.as_bytes());
            }
        }
    }
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Err,
        tracing::Level::WARN => Level::Warning,
        // The daemon says little at this level and all of it is for the operator; `info` is traffic.
        tracing::Level::INFO => Level::Notice,
        _ => Level::Debug,
    }
}

/// A message and its fields: `message, name: value, name: value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A String takes everything.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, ", {}: {value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_opens_standard_error_to_everything() {
        let configured = [LogTarget::new(
            LogDestination::Stderr,
            16,
            Level::Err as u8,
            LogFormat::Json,
        )];
        assert_eq!(with_debugging(&configured, false), configured);
        let debugging = with_debugging(&configured, true);
        assert_eq!(debugging.len(), 1);
        assert_eq!(debugging[0].level, Level::Debug as u8);
    }
}
