//! What a line has in front: a syslog frame, of RFC 3164 as HAProxy writes it (priority, local time, tag, no host name), or
//! one of HAProxy's other formats.

use std::{
    fmt::{self, Display, Write},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{clock::Calendar, level::Level, text::digits};
use crate::config::model::{LogFormat, LogTarget};

/// The tag before the process id.
pub const TAG: &str = "lb";

/// What a line has in front, kept as long as it stays the same: most lines of a second have the same.
#[derive(Debug)]
pub struct Front {
    format: LogFormat,
    facility: u8,
    tag: Arc<str>,
    host: Option<Arc<str>>,
    /// What it was made of: level, second, process.
    of: Option<(Level, u64, u32)>,
    text: String,
    /// What follows the microseconds, in the formats that have them after `text`.
    rest: Option<String>,
}

impl Front {
    /// That of a target's lines. What says nothing of it has a frame of RFC 3164.
    pub fn new(target: &LogTarget) -> Self {
        let format = match (target.format, &target.host) {
            (LogFormat::Text | LogFormat::Json, None) => LogFormat::Local,
            (LogFormat::Text | LogFormat::Json, Some(_)) => LogFormat::Rfc3164,
            (other, _) => other,
        };
        Self {
            format,
            facility: target.facility,
            tag: target.tag.clone().unwrap_or_else(|| TAG.into()),
            host: target.host.clone(),
            of: None,
            text: String::new(),
            rest: None,
        }
    }

    /// Whose lines these are.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Appends what comes before `message`, the message and a line end to `out`, such as
    /// `<PRI>Mmm dd hh:mm:ss lb[PID]: MESSAGE`.
    ///
    /// The line end is HAProxy's: receivers strip it, and it separates lines where one does not.
    pub fn frame(
        &mut self,
        out: &mut String,
        level: Level,
        at: SystemTime,
        pid: u32,
        (structured, message): (Option<&str>, &str),
    ) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let of = Some((level, since.as_secs(), pid));
        if self.of != of {
            self.of = of;
            self.write(level, at, pid);
        }
        out.push_str(&self.text);
        if let Some(rest) = &self.rest {
            digits::<6>(out, since.subsec_micros());
            out.push_str(rest);
        }
        if self.format == LogFormat::Rfc5424 {
            match structured.filter(|data| !data.is_empty()) {
                Some(data) => {
                    push(out, data);
                    out.push(' ');
                }
                None => out.push_str("- "),
            }
        }
        push_line(out, message);
    }

    fn write(&mut self, level: Level, at: SystemTime, pid: u32) {
        let priority = u16::from(self.facility) * 8 + level as u16;
        let severity = level as u8;
        let (tag, host) = (&*self.tag, self.host.as_deref());
        let at = Calendar::local(at);
        let zone = at.zone(":");
        self.rest = match self.format {
            LogFormat::Timed | LogFormat::Iso => Some(format!("{zone} ")),
            LogFormat::Rfc5424 => Some(format!("{zone} {} {tag} {pid} - ", host.unwrap_or("-"))),
            _ => None,
        };
        let out = &mut self.text;
        out.clear();
        // A String takes everything.
        let _ = match self.format {
            LogFormat::Raw => Ok(()),
            LogFormat::Priority => write!(out, "<{priority}>"),
            LogFormat::Short => write!(out, "<{severity}>"),
            LogFormat::Timed => write!(out, "<{severity}>{}", iso(&at)),
            LogFormat::Iso => write!(out, "{}", iso(&at)),
            LogFormat::Rfc5424 => write!(out, "<{priority}>1 {}", iso(&at)),
            LogFormat::Rfc3164 => write!(
                out,
                "<{priority}>{} {} {tag}[{pid}]: ",
                bsd(&at),
                host.unwrap_or("localhost")
            ),
            LogFormat::Local | LogFormat::Text | LogFormat::Json => {
                write!(out, "<{priority}>{} {tag}[{pid}]: ", bsd(&at))
            }
        };
    }
}

/// `Nov 27 15:08:11`
fn bsd(at: &Calendar) -> impl Display {
    let (month, day, time) = (at.month_name(), at.day, at.time());
    fmt::from_fn(move |f| write!(f, "{month} {day:2} {time}"))
}

/// `2026-11-27T15:08:14.`: HAProxy has `325611+00:00` after it.
fn iso(at: &Calendar) -> impl Display {
    let (date, time) = (at.date(), at.time());
    fmt::from_fn(move |f| write!(f, "{date}T{time}."))
}

/// Appends `message` so that it stays one line, and ends it.
pub fn push_line(out: &mut String, message: &str) {
    push(out, message);
    out.push('\n');
}

fn push(out: &mut String, message: &str) {
    // Names and paths come from outside; a line end within one must not pass for a line of its own.
    if memchr::memchr2(b'\n', b'\r', message.as_bytes()).is_some() {
        out.extend(
            message
                .chars()
                .map(|c| if c == '\n' || c == '\r' { ' ' } else { c }),
        );
    } else {
        out.push_str(message);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::LogDestination;

    fn front(format: LogFormat, tag: Option<&str>, host: Option<&str>) -> Front {
        Front::new(&LogTarget {
            tag: tag.map(Into::into),
            host: host.map(Into::into),
            ..LogTarget::new(LogDestination::Stderr, 16, 7, format)
        })
    }

    #[test]
    fn priority_is_facility_times_eight_plus_level() {
        let (mut front, mut out) = (front(LogFormat::Text, None, None), String::new());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_420);
        front.frame(&mut out, Level::Info, at, 42, (None, "hello"));
        assert!(out.starts_with("<134>Nov "), "{out}");
        assert!(out.ends_with(" lb[42]: hello\n"), "{out}");
        assert_eq!(out.len(), "<134>Nov 22 23:40:07 lb[42]: hello\n".len());
        out.clear();
        front.frame(&mut out, Level::Emerg, at, 42, (None, "x"));
        assert!(out.starts_with("<128>"));
        out.clear();
        front.frame(
            &mut out,
            Level::Emerg,
            at + Duration::from_secs(1),
            42,
            (None, "x"),
        );
        assert!(
            out.ends_with(":21 lb[42]: x\n") || !out.contains(":20 "),
            "{out}"
        );
    }

    /// As HAProxy 2.6 wrote them, without the times.
    #[test]
    fn formats_are_haproxys() {
        use LogFormat::{Iso, Local, Priority, Raw, Rfc3164, Rfc5424, Short, Text, Timed};
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_400_420_325_611);
        let of = |format, tag, host| {
            let mut out = String::new();
            front(format, tag, host).frame(&mut out, Level::Info, at, 7, (None, "text"));
            let digits: String = out
                .chars()
                .map(|c| if c.is_ascii_digit() { '9' } else { c })
                .collect();
            digits.replace("+99:99", "Z").replace("-99:99", "Z")
        };
        let (bsd, iso) = ("Nov 99 99:99:99", "9999-99-99T99:99:99.999999Z");
        assert_eq!(
            of(Local, None, Some("h")),
            format!("<999>{bsd} lb[9]: text\n")
        );
        assert_eq!(
            of(Text, Some("t"), Some("h")),
            format!("<999>{bsd} h t[9]: text\n")
        );
        assert_eq!(
            of(Rfc3164, None, None),
            format!("<999>{bsd} localhost lb[9]: text\n")
        );
        assert_eq!(
            of(Rfc5424, None, None),
            format!("<999>9 {iso} - lb 9 - - text\n")
        );
        assert_eq!(
            of(Rfc5424, Some("t"), Some("h")),
            format!("<999>9 {iso} h t 9 - - text\n")
        );
        assert_eq!(of(Priority, None, None), "<999>text\n");
        assert_eq!(of(Short, None, None), "<9>text\n");
        assert_eq!(of(Timed, None, None), format!("<9>{iso} text\n"));
        assert_eq!(of(Iso, None, None), format!("{iso} text\n"));
        assert_eq!(of(Raw, Some("t"), Some("h")), "text\n");
    }

    #[test]
    fn structured_data_stand_where_there_is_a_place_for_them() {
        let (at, data) = (SystemTime::UNIX_EPOCH, Some("[a@1 b=\"c\nd\"]"));
        let of = |format, data| {
            let mut out = String::new();
            front(format, None, None).frame(&mut out, Level::Info, at, 7, (data, "text"));
            out.split_once(" 7 ").map(|(_, rest)| rest.to_owned())
        };
        let whole = Some("- [a@1 b=\"c d\"] text\n".to_owned());
        assert_eq!(of(LogFormat::Rfc5424, data), whole);
        assert_eq!(
            of(LogFormat::Rfc5424, Some("")).as_deref(),
            Some("- - text\n")
        );
        assert_eq!(of(LogFormat::Raw, data), None);
    }

    #[test]
    fn a_message_stays_one_line() {
        let (mut front, mut out) = (front(LogFormat::Text, None, None), String::new());
        front.frame(
            &mut out,
            Level::Info,
            SystemTime::UNIX_EPOCH,
            1,
            (None, "a\nb\r"),
        );
        assert!(out.ends_with(": a b \n"));
    }
}
