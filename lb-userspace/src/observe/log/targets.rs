//! All destinations, and which of them whose lines go to. Used by the log thread alone.

use std::collections::HashMap;

use super::{
    sink::Line,
    target::{Target, TargetError},
};
use crate::config::model::{LogSample, LogTarget, LogTo, ProxyLog};

/// Open destinations. What several proxies say alike is open once.
#[derive(Debug)]
pub(super) struct Targets {
    open: Vec<Target>,
    /// Those of `global`, and those of each proxy that has its own.
    groups: HashMap<LogTo, Vec<Member>>,
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
            groups: HashMap::new(),
        };
        let own = proxies
            .iter()
            .map(|proxy| (proxy.to, proxy.targets.as_slice()));
        for (to, targets) in [(LogTo::GLOBAL, global)].into_iter().chain(own) {
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
            all.groups.insert(to, members);
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
        let to = match self.groups.contains_key(&line.to) {
            true => line.to,
            false => LogTo::GLOBAL,
        };
        let Some(members) = self.groups.get_mut(&to) else {
            return 0;
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
                failed += target.add(line, pid);
            }
        }
        failed
    }
}
