//! The BSD syslog frame (RFC 3164) as HAProxy writes it: priority, local time, tag, no host name.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{clock::Calendar, level::Level};

/// The tag before the process id.
pub const TAG: &str = "lb";

/// What a line has in front, kept as long as it stays the same: most lines of a second have the same.
#[derive(Debug, Default)]
pub struct Front {
    /// What it was made of: facility, level, second, process.
    of: Option<(u8, Level, u64, u32)>,
    text: String,
}

impl Front {
    /// Appends `<PRI>Mmm dd hh:mm:ss lb[PID]: MESSAGE` and a line end to `out`.
    ///
    /// `facility` is 0–23. The line end is HAProxy's: receivers strip it, and it separates lines where one does not.
    pub fn frame(
        &mut self,
        out: &mut String,
        facility: u8,
        level: Level,
        at: SystemTime,
        pid: u32,
        message: &str,
    ) {
        let second = at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let of = Some((facility, level, second, pid));
        if self.of != of {
            self.of = of;
            front(&mut self.text, facility, level, at, pid);
        }
        out.push_str(&self.text);
        push_line(out, message);
    }
}

fn front(out: &mut String, facility: u8, level: Level, at: SystemTime, pid: u32) {
    out.clear();
    let priority = u16::from(facility) * 8 + level as u16;
    let at = Calendar::local(at);
    // A String takes everything.
    let _ = write!(
        out,
        "<{priority}>{} {:2} {:02}:{:02}:{:02} {TAG}[{pid}]: ",
        at.month_name(),
        at.day,
        at.hour,
        at.minute,
        at.second
    );
}

/// Appends `message` so that it stays one line, and ends it.
pub fn push_line(out: &mut String, message: &str) {
    // Names and paths come from outside; a line end within one must not pass for a line of its own.
    if message.bytes().any(|b| matches!(b, b'\n' | b'\r')) {
        out.extend(
            message
                .chars()
                .map(|c| if c == '\n' || c == '\r' { ' ' } else { c }),
        );
    } else {
        out.push_str(message);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn priority_is_facility_times_eight_plus_level() {
        let (mut front, mut out) = (Front::default(), String::new());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_420);
        front.frame(&mut out, 16, Level::Info, at, 42, "hello");
        assert!(out.starts_with("<134>Nov "), "{out}");
        assert!(out.ends_with(" lb[42]: hello\n"), "{out}");
        assert_eq!(out.len(), "<134>Nov 22 23:40:07 lb[42]: hello\n".len());
        out.clear();
        front.frame(&mut out, 16, Level::Emerg, at, 42, "x");
        assert!(out.starts_with("<128>"));
        out.clear();
        front.frame(
            &mut out,
            16,
            Level::Emerg,
            at + Duration::from_secs(1),
            42,
            "x",
        );
        assert!(
            out.ends_with(":21 lb[42]: x\n") || !out.contains(":20 "),
            "{out}"
        );
    }

    #[test]
    fn a_message_stays_one_line() {
        let mut out = String::new();
        Front::default().frame(
            &mut out,
            16,
            Level::Info,
            SystemTime::UNIX_EPOCH,
            1,
            "a\nb\r",
        );
        assert!(out.ends_with(": a b \n"));
    }
}
