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
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu(&stat),
            resident: bytes(&status, "VmRSS:"),
            virtual_memory: bytes(&status, "VmSize:"),
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

/// A line of proc_pid_status(5) that is in kB.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
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
