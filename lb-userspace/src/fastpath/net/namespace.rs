//! A network namespace for a test: its own thread enters it by `unshare`, and it is gone when that thread ends, on failure
//! too. Children of that thread (`ip`) are in it as well.

use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A namespace and the thread in it.
pub(super) struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's id, by which `ip link set … netns` finds the namespace.
    pub(super) tid: i32,
}

impl Namespace {
    /// A new one with loopback up; `None`, and the reason on stderr, where the tests may not make one.
    pub(super) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        if Command::new("ip").arg("-Version").output().is_err() {
            eprintln!("skipped: there is no `ip` command (iproute2)");
            return None;
        }
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: a new network namespace shares no memory or descriptors with the old one.
            let made =
                unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
            ready
                .send(made.map(|()| rustix::thread::gettid().as_raw_pid()))
                .unwrap();
            for job in inbox {
                job();
            }
        });
        match started.recv().unwrap() {
            Ok(tid) => {
                let namespace = Self {
                    jobs: Some(jobs),
                    thread: Some(thread),
                    tid,
                };
                namespace.ip("link set lo up");
                Some(namespace)
            }
            Err(error) => {
                eprintln!("skipped: cannot make a network namespace: {error}");
                None
            }
        }
    }

    /// Two of them, joined by a veth pair named `eth0` in both.
    pub(super) fn pair() -> Option<(Self, Self)> {
        let (near, far) = (Self::new()?, Self::new()?);
        near.ip("link add eth0 type veth peer name far0");
        near.ip(&format!("link set far0 netns {}", far.tid));
        far.ip("link set far0 name eth0");
        Some((near, far))
    }

    /// Runs `work` in it and gives its result; a panic inside goes on outside.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = done.send(outcome);
        };
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        result
            .recv()
            .unwrap()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `work` on a runtime of its own in it.
    pub(super) fn block_on<T: Send + 'static, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        })
    }

    /// Whether the kernel can make links of this kind; the reason on stderr if not.
    pub(super) fn can_make(&self, link: &str) -> bool {
        let arguments = format!("link add probe0 {link}");
        let made = self.run(move || try_ip(&arguments));
        match &made {
            Ok(()) => self.ip("link del probe0"),
            Err(error) => eprintln!("skipped: this kernel makes no such link: {link}: {error}"),
        }
        made.is_ok()
    }

    /// `ip` with these arguments, in it.
    pub(super) fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `ip` with these arguments, in the calling thread's namespace.
pub(super) fn ip(arguments: &str) {
    if let Err(error) = try_ip(arguments) {
        panic!("ip {arguments}: {error}");
    }
}

fn try_ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
