//! What the process takes of the machine, as the kernel accounts for it.

use std::{fs, time::Duration};

use rustix::process::{Resource, getrlimit};

/// Ticks a second in which Linux tells processes of time, whatever it counts in itself.
const USER_HZ: u64 = 100;

/// What is in use now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processor time of all threads.
    pub(super) cpu: Duration,
    /// Bytes of memory that are resident.
    pub(super) resident: Option<u64>,
    /// Bytes of address space.
    pub(super) virtual_memory: Option<u64>,
    /// Open file descriptors.
    pub(super) descriptors: Option<u64>,
    /// Most file descriptors; `None` where there is no bound.
    pub(super) descriptors_limit: Option<u64>,
}

impl Usage {
    /// Of this process.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (virtual_memory, resident) = memory().unzip();
        Self {
            cpu: cpu(&stat),
            resident,
            virtual_memory,
            descriptors: descriptors(),
            descriptors_limit: getrlimit(Resource::Nofile).current,
        }
    }
}

/// `utime` and `stime` of proc_pid_stat(5). The second field may hold blanks, and ends with the last parenthesis.
fn cpu(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * (1000 / USER_HZ))
}

/// Bytes of address space, and of them those that are resident: the first two numbers of proc_pid_statm(5), in pages.
fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split_ascii_whitespace();
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let mut bytes = || Some(numbers.next()?.parse::<u64>().ok()? * page);
    Some((bytes()?, bytes()?))
}

/// Bytes of memory that are resident, 0 if the kernel does not tell.
pub fn resident() -> u64 {
    memory().map_or(0, |(_, resident)| resident)
}

/// Since Linux 6.2 the folder's size is their number. Before, they are counted, which takes its time where there are many.
fn descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // Among them is the one that reads.
        0 => u64::try_from(fs::read_dir(FOLDER).ok()?.count().saturating_sub(1)).ok(),
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 5 0 100 1 2";
        assert_eq!(cpu(stat), Duration::from_secs(4));
        assert_eq!(cpu(""), Duration::ZERO);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let usage = Usage::read();
        assert!(usage.resident.is_some_and(|bytes| bytes > 1 << 20));
        assert!(usage.virtual_memory > usage.resident);
        assert!(usage.descriptors.is_some_and(|number| number >= 3));
    }
}
