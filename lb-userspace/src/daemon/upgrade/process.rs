//! The new process, which is to be nobody's child: a service manager waits for the end of its own children alone, and takes a
//! main process that is another's for one that cannot be waited for. It would kill it where it ought to let it stop, and not
//! notice that it has crashed.
//!
//! So its parent is a *keeper*, a process of lb's that does nothing but wait for it and end as it has ended. Once the new
//! process serves, the keeper goes, and the new one becomes a child of the service manager, or of process 1.

use std::{
    env,
    ffi::CStr,
    io::{self, PipeReader, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    ptr,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;

use super::VARIABLE;

/// What [`VARIABLE`] says to a keeper.
const KEEPS: &str = "keeps";
/// Both.
const KEEPER: &CStr = c"LB_UPGRADE=keeps";

/// A process that was started, and its keeper.
pub(super) struct Process {
    pid: u32,
    /// Itself, whoever has its number.
    handle: Option<OwnedFd>,
    keeper: Child,
    /// The keeper has been waited for.
    waited: bool,
    /// Readable once the keeper has ended, and so the process.
    ended: Option<AsyncFd<OwnedFd>>,
}

impl Process {
    /// Starts it. To be called by the thread that lives as long as this process does: the keeper goes with that.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let number = writer.as_raw_fd();
        // SAFETY: nothing but system calls is done between fork and exec, on a descriptor that is open until then.
        unsafe { command.pre_exec(move || keep(number)) };
        let keeper = command.spawn()?;
        drop(writer);
        let pid = pid(reader)?;
        let open = |pid: u32| {
            let pid = Pid::from_raw(pid.cast_signed())?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        let ended = open(keeper.id());
        Ok(Self {
            handle: open(pid),
            pid,
            keeper,
            waited: false,
            // SAFETY: an `OwnedFd` names the same descriptor at each call, and is dropped only after the `AsyncFd` around it
            // has let go of it.
            ended: ended.and_then(|fd| unsafe { AsyncFd::register(fd) }.ok()),
        })
    }

    /// Resolves once it has ended.
    pub(super) async fn ended(&self) {
        match &self.ended {
            Some(ended) => drop(ended.readable().await),
            None => std::future::pending().await,
        }
    }

    /// How it has ended, if it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        let keeper = WaitId::Pid(Pid::from_raw(self.keeper.id().cast_signed())?);
        let looked = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if !self.waited && matches!(waitid(keeper, looked), Ok(Some(_))) {
            // A script may have ended before what it has started.
            self.kill_group();
            self.waited = true;
        }
        self.keeper.try_wait().ok().flatten()
    }

    /// Kills it and whatever it has started itself: where it is a script, that is lb. The keeper goes with them, whose group
    /// they are.
    pub(super) fn kill(&mut self) {
        if let Some(handle) = &self.handle {
            let _ = pidfd_send_signal(handle.as_fd(), Signal::KILL);
        }
        if !self.waited {
            self.kill_group();
        }
    }

    /// Until the keeper is waited for, nobody else's group has its number.
    fn kill_group(&self) {
        if let Some(group) = Pid::from_raw(self.keeper.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// It is nobody's child any more. Its number.
    pub(super) fn release(mut self) -> u32 {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        self.pid
    }
}

/// The number that the keeper has written.
fn pid(mut reader: PipeReader) -> io::Result<u32> {
    let mut number = [0; 4];
    reader.read_exact(&mut number)?;
    Ok(u32::from_ne_bytes(number))
}

/// Becomes two processes: one returns, the other keeps it and tells its number by `pipe`.
///
/// Called between fork and exec, in a copy of a process that had threads: nothing here may allocate or take a lock.
fn keep(pipe: RawFd) -> io::Result<()> {
    // What it starts is of a group that can be ended whole. A copy that has just been made leads none, so nothing refuses it.
    // SAFETY: a system call on plain numbers.
    unsafe { libc::setpgid(0, 0) };
    // SAFETY: this copy has one thread, and both go on by system calls alone, with memory of their own.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => return Ok(()),
        pid => pid,
    };
    let number = pid.to_ne_bytes();
    // SAFETY: system calls on plain numbers, on text that is always there, and on memory that is there for as long as they
    // take.
    unsafe {
        // Should its parent be killed, it is not to stand in the way of the service manager.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::write(pipe, number.as_ptr().cast(), number.len());
        // Above all its copies of the other process's end of the channel, and of what tells whether there was an exec.
        if libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32) != 0 {
            let most = libc::sysconf(libc::_SC_OPEN_MAX);
            for fd in 0..i32::try_from(most).unwrap_or(i32::MAX) {
                libc::close(fd);
            }
        }
        // Others mean the two that serve.
        for signal in [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ] {
            libc::signal(signal, libc::SIG_IGN);
        }
        // As a copy of a process with much memory it would have that one copy each page that it writes to. A binary of unit tests
        // is no keeper.
        if cfg!(not(test)) {
            let arguments = [c"lb-keeper".as_ptr(), ptr::null()];
            let environment = [KEEPER.as_ptr(), ptr::null()];
            libc::execve(
                c"/proc/self/exe".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
            );
        }
        wait()
    }
}

/// Waits for the one child that there is, and ends as it has ended.
fn wait() -> ! {
    let mut status = 0;
    // SAFETY: system calls on plain numbers, and on memory that is there for as long as they take.
    unsafe {
        while libc::waitpid(-1, &raw mut status, 0) < 0 {
            if *libc::__errno_location() != libc::EINTR {
                libc::_exit(1);
            }
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // Whoever dumps core has done so.
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        libc::_exit(libc::WEXITSTATUS(status))
    }
}

/// Is a keeper and nothing else, if this process was started to be one.
pub fn be_keeper() {
    if env::var_os(VARIABLE).is_some_and(|value| value == KEEPS) {
        wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (Process, tokio::runtime::Runtime) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _runtime = runtime.enter();
        let process = Process::start(Command::new("sh").args(["-c", script])).unwrap();
        drop(_runtime);
        (process, runtime)
    }

    fn ends(script: &str) -> String {
        let (mut process, runtime) = run(script);
        runtime.block_on(process.ended());
        process.status().unwrap().to_string()
    }

    #[test]
    fn a_keeper_is_told_by_the_variable() {
        let told = format!("{VARIABLE}={KEEPS}");
        assert_eq!(KEEPER.to_str().unwrap(), told);
    }

    #[test]
    fn how_it_ends_is_known() {
        assert_eq!(ends("exit 7"), "exit status: 7");
        assert_eq!(ends("kill -9 $$"), "signal: 9 (SIGKILL)");
        let missing = Process::start(&mut Command::new("/nonexistent/lb"));
        let error = missing.err().map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_is_killed_is_gone() {
        let (mut process, runtime) = run("exec sleep 600");
        assert!(process.status().is_none());
        process.kill();
        runtime.block_on(process.ended());
        assert_eq!(process.status().unwrap().to_string(), "signal: 9 (SIGKILL)");
    }

    #[test]
    fn what_it_has_started_is_killed_with_it() {
        let (mut process, runtime) = run("sleep 600 & wait");
        // Both are of its group; the keeper as well, so that there are three.
        let members = || {
            let group = process.keeper.id().to_string();
            let entries = std::fs::read_dir("/proc").unwrap().flatten();
            let stats = entries.filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
            let of_group = stats.filter(|stat| {
                let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
                let fields: Vec<&str> = rest.split_whitespace().collect();
                fields.get(2) == Some(&&*group) && fields.first() != Some(&"Z")
            });
            of_group.count()
        };
        while members() < 3 {
            std::thread::yield_now();
        }
        let group = process.keeper.id();
        process.kill();
        runtime.block_on(process.ended());
        let gone = || {
            let group = Pid::from_raw(group.cast_signed()).unwrap();
            rustix::process::test_kill_process_group(group).is_err()
        };
        assert!(process.status().is_some());
        while !gone() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn signals_to_all_do_not_end_a_keeper() {
        let (mut process, runtime) = run("exec sleep 600");
        let keeper = Pid::from_raw(process.keeper.id().cast_signed()).unwrap();
        let status = format!("/proc/{}/status", process.keeper.id());
        // It may not have come so far as to ignore them yet.
        let ignores = || {
            let text = std::fs::read_to_string(&status).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let set = line.map_or(0, |set| u64::from_str_radix(set.trim(), 16).unwrap());
            set & 1 << (libc::SIGUSR2 - 1) != 0
        };
        while !ignores() {
            std::thread::yield_now();
        }
        for signal in [Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2] {
            rustix::process::kill_process(keeper, signal).unwrap();
        }
        assert!(process.status().is_none());
        process.kill();
        runtime.block_on(process.ended());
        assert_eq!(process.status().unwrap().to_string(), "signal: 9 (SIGKILL)");
    }

    #[test]
    fn what_is_released_is_no_child() {
        let (process, _runtime) = run("exec sleep 600");
        let parent = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, rest) = stat.rsplit_once(')').unwrap();
            rest.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u32>()
                .unwrap()
        };
        let (keeper, pid) = (process.keeper.id(), process.pid);
        assert_eq!(parent(pid), keeper);
        assert_eq!(parent(keeper), std::process::id());
        assert_eq!(process.release(), pid);
        assert!(![keeper, std::process::id()].contains(&parent(pid)));
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
