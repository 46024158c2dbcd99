//! What the kernel program says of single packets, for debugging: `LB_LOG=lb::fastpath::packets=debug lb run …` prints a
//! line for each packet that is looked at as a flow's and not sent on. Otherwise the program is loaded without a trace of
//! this. `lb trace` tells of the others too, one client's.

use aya::Ebpf;
use aya_log::EbpfLogger;
use lb_common::counter::Reason;

/// Levels of `aya-log`: 0 leaves everything out, 4 is debug.
pub(super) const OFF: u8 = 0;
const DEBUG: u8 = 4;

/// The level to load the program with.
pub(super) fn level() -> u8 {
    if tracing::enabled!(tracing::Level::DEBUG) {
        DEBUG
    } else {
        OFF
    }
}

/// The program's lines, to be flushed now and then.
pub(super) struct Packets(EbpfLogger<Log>);

impl Packets {
    /// Opens the program's log if it was loaded with one.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        if level() == OFF {
            return None;
        }
        match EbpfLogger::init_with_logger(ebpf, Log) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::warn!("the kernel program's debugging lines cannot be read: {error}");
                None
            }
        }
    }

    /// Writes what has come.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!("{}", named(&record.args().to_string()));
    }

    fn flush(&self) {}
}

/// The line with the reason's name in the place of its number.
fn named(line: &str) -> String {
    let Some((text, number)) = line.rsplit_once("reason #") else {
        return line.into();
    };
    let reason = number
        .parse::<usize>()
        .ok()
        .and_then(|n| Reason::ALL.get(n));
    match reason {
        Some(reason) => format!("{text}{} ({})", reason.name(), reason.help()),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_named() {
        let line = format!(
            "1.2.3.4:5 > 6.7.8.9:80 flags 2: reason #{}",
            Reason::NoServer as u32
        );
        assert!(named(&line).contains(": no_server ("), "{}", named(&line));
        assert_eq!(named("reason #999"), "reason #999");
    }
}
