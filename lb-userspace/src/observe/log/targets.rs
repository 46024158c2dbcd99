//! All destinations, which of them whose lines go to, and what these take.

use std::collections::HashMap;

use super::{
    level::Level,
    sink::{Content, Line},
    target::{Message, Target, TargetError},
};
use crate::config::model::{LogFormat, LogSample, LogTarget, LogTo, ProxyLog};

/// In which forms a line is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Forms {
    pub(super) text: bool,
    pub(super) json: bool,
    /// As text with structured data.
    pub(super) structured: bool,
}

impl Forms {
    /// As text alone.
    pub(super) const TEXT: Self = Self {
        text: true,
        json: false,
        structured: false,
    };

    /// Those that a line of `level` is wanted in, by [`Wanted::packed`]; `None` if that does not tell.
    pub(super) fn of_packed(packed: u32, level: Level) -> Option<Self> {
        let [text, json, structured, own] = packed.to_le_bytes();
        let wanted = |below: u8| (level as u8) < below;
        (own == 0).then(|| Self {
            text: wanted(text),
            json: wanted(json),
            structured: wanted(structured),
        })
    }
}

/// What is wanted of whose lines, for those who make them.
#[derive(Debug)]
pub(super) struct Wanted {
    global: Least,
    own: HashMap<LogTo, Least>,
}

/// The least severe levels that somebody's targets want, in each of the forms; `None` if none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Least {
    text: Option<u8>,
    json: Option<u8>,
    structured: Option<u8>,
}

impl Least {
    fn of(targets: &[LogTarget]) -> Self {
        let of = |form: fn(LogFormat) -> bool| {
            let wanted = targets.iter().filter(|target| form(target.format));
            wanted.map(|target| target.level).max()
        };
        Self {
            text: of(|format| format != LogFormat::Json),
            json: of(|format| format == LogFormat::Json),
            structured: of(|format| format == LogFormat::Rfc5424),
        }
    }
}

impl Wanted {
    pub(super) fn new(global: &[LogTarget], proxies: &[ProxyLog]) -> Self {
        let own = proxies.iter();
        Self {
            global: Least::of(global),
            own: own
                .map(|proxy| (proxy.to, Least::of(&proxy.targets)))
                .collect(),
        }
    }

    /// For each form one more than the least severe level that is wanted in it; then whether somebody has targets of his
    /// own, of whom nothing is said.
    pub(super) fn packed(&self) -> u32 {
        let Least {
            text,
            json,
            structured,
        } = self.global;
        let below = |least: Option<u8>| least.map_or(0, |least| least.saturating_add(1));
        let own = u8::from(!self.own.is_empty());
        u32::from_le_bytes([below(text), below(json), below(structured), own])
    }

    /// Of a line of this level.
    pub(super) fn of(&self, to: LogTo, level: Level) -> Forms {
        // A proxy that is no more, or has none of its own, has those of `global`.
        let least = self.own.get(&to).unwrap_or(&self.global);
        let wanted = |least: Option<u8>| least.is_some_and(|least| level as u8 <= least);
        Forms {
            text: wanted(least.text),
            json: wanted(least.json),
            structured: wanted(least.structured),
        }
    }
}

/// Open destinations, for the log thread alone. What several proxies say alike is open once.
#[derive(Debug)]
pub(super) struct Targets {
    open: Vec<Target>,
    /// Those of `global`.
    global: Vec<Member>,
    /// Those of each proxy that has its own.
    own: HashMap<LogTo, Vec<Member>>,
    /// A line that is written here, for all of them.
    text: String,
}

/// A destination of somebody's lines.
#[derive(Debug)]
struct Member {
    /// Which of those that are open.
    at: usize,
    sampler: Option<Sampler>,
}

/// Counts somebody's lines.
#[derive(Debug)]
struct Sampler {
    sample: LogSample,
    next: u8,
}

impl Sampler {
    /// Whether the next line is one of those that are wanted.
    fn takes(&mut self) -> bool {
        let taken = self.sample.wanted & (1 << self.next) != 0;
        self.next = (self.next + 1) % self.sample.of;
        taken
    }
}

impl Targets {
    /// Opens all of them.
    pub(super) fn open(global: &[LogTarget], proxies: &[ProxyLog]) -> Result<Self, TargetError> {
        let mut known: HashMap<&LogTarget, usize> = HashMap::new();
        let mut all = Self {
            open: Vec::new(),
            global: Vec::new(),
            own: HashMap::new(),
            text: String::new(),
        };
        let own = proxies
            .iter()
            .map(|proxy| (Some(proxy.to), proxy.targets.as_slice()));
        for (to, targets) in [(None, global)].into_iter().chain(own) {
            let mut members = Vec::new();
            for target in targets {
                let at = match known.get(target) {
                    Some(&at) => at,
                    None => {
                        all.open.push(Target::open(target)?);
                        known.insert(target, all.open.len() - 1);
                        all.open.len() - 1
                    }
                };
                let sample = target.sample.clone();
                members.push(Member {
                    at,
                    sampler: sample.map(|sample| Sampler { sample, next: 0 }),
                });
            }
            match to {
                Some(to) => drop(all.own.insert(to, members)),
                None => all.global = members,
            }
        }
        Ok(all)
    }

    /// All that are open.
    pub(super) fn open_mut(&mut self) -> &mut [Target] {
        &mut self.open
    }

    /// Hands `line` to whoever gets it. Returns how many lines could not be sent to make room for it.
    pub(super) fn add(&mut self, line: &Line, pid: u32) -> u64 {
        // A proxy that is no more, or has none of its own.
        let members = self.own.get_mut(&line.to).unwrap_or(&mut self.global);
        let message = match &line.content {
            Content::Written {
                text,
                json,
                structured,
            } => Message {
                text: text.as_deref(),
                json: json.as_deref(),
                structured: structured.as_deref(),
            },
            Content::Kept(kept) => {
                self.text.clear();
                kept.write(&mut self.text);
                Message {
                    text: Some(&self.text),
                    json: None,
                    structured: None,
                }
            }
        };
        let mut failed = 0;
        for member in members {
            let Some(target) = self.open.get_mut(member.at) else {
                continue;
            };
            if !target.wants(line.level) {
                continue;
            }
            if member.sampler.as_mut().is_none_or(Sampler::takes) {
                failed += target.add((line.level, line.at), message, pid);
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::LogDestination;

    #[test]
    fn lines_are_made_as_whoever_gets_them_wants_them() {
        let target = |level, format| LogTarget::new(LogDestination::Stderr, 16, level, format);
        let (text, json) = (
            target(Level::Notice as u8, LogFormat::Iso),
            target(Level::Info as u8, LogFormat::Json),
        );
        let own = |name, targets| ProxyLog {
            to: LogTo::frontend(name),
            targets,
        };
        let proxies = [own("json", vec![json]), own("none", Vec::new())];
        let wanted = Wanted::new(&[text], &proxies);
        let of = |to, level| {
            let Forms { text, json, .. } = wanted.of(to, level);
            (text, json)
        };
        let frontend = LogTo::frontend;
        assert_eq!(of(LogTo::GLOBAL, Level::Notice), (true, false));
        assert_eq!(of(LogTo::GLOBAL, Level::Info), (false, false));
        assert_eq!(of(frontend("other"), Level::Notice), (true, false));
        assert_eq!(of(frontend("json"), Level::Info), (false, true));
        assert_eq!(of(frontend("json"), Level::Debug), (false, false));
        assert_eq!(of(frontend("none"), Level::Emerg), (false, false));
        assert_eq!(Forms::of_packed(wanted.packed(), Level::Emerg), None);

        for formats in [
            vec![],
            vec![LogFormat::Json],
            vec![LogFormat::Rfc5424, LogFormat::Json],
        ] {
            let targets = formats.iter().zip([Level::Emerg, Level::Debug]);
            let targets: Vec<_> = targets
                .map(|(&format, level)| target(level as u8, format))
                .collect();
            let wanted = Wanted::new(&targets, &[]);
            for level in Level::ALL {
                let forms = Forms::of_packed(wanted.packed(), level);
                assert_eq!(forms, Some(wanted.of(frontend("any"), level)));
            }
        }
    }
}
