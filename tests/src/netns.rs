//! Network namespaces that go away with their guard.
//!
//! Each is bound at `/run/netns/NAME`, where `ip netns exec NAME` finds it. The harness itself enters with `setns(2)` on
//! the network namespace alone: `ip netns exec` mounts a private `/sys`, and bpffs with every pin in it would be gone.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{
    io::{self, Read},
    thread,
};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::tag::{TEST_PREFIX, is_leftover};
use crate::{Context, Error, Result};

/// Where iproute2 looks for named namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace, deleted on drop.
#[derive(Debug)]
pub struct Netns {
    name: String,
    // None is the one that this process is in.
    namespace: Arc<Option<OwnedFd>>,
    _bound: Option<Bound>,
}

impl Netns {
    /// Makes a namespace with loopback up, forwarding and reverse-path filters off, and IPv6 addresses usable at once.
    ///
    /// # Errors
    /// Without the right to (root, CAP_SYS_ADMIN), or when the name is taken.
    pub fn new(name: &str) -> Result<Netns> {
        fs::create_dir_all(DIRECTORY).context(|| format!("make {DIRECTORY}"))?;
        let path = Path::new(DIRECTORY).join(name);
        File::create_new(&path).context(|| format!("make {}", path.display()))?;
        let bound = Bound(path);
        let namespace = thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: CLONE_NEWNET leaves memory and descriptors shared as they were, and this thread ends
                    // here, so nobody else ever runs in a namespace that he does not expect.
                    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
                    mount_bind("/proc/thread-self/ns/net", &bound.0)?;
                    Ok::<_, io::Error>(OwnedFd::from(File::open(&bound.0)?))
                })
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
        .context(|| format!("make network namespace {name}"))?;
        let netns = Netns {
            name: name.to_owned(),
            namespace: Arc::new(Some(namespace)),
            _bound: Some(bound),
        };
        netns.run(settle)?;
        Ok(netns)
    }

    /// The namespace that this process is in, which nobody enters or deletes: for what runs on loopback without rights.
    pub fn here() -> Netns {
        Netns {
            name: "here".to_owned(),
            namespace: Arc::new(None),
            _bound: None,
        }
    }

    /// The name that `ip netns exec` takes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread of its own inside the namespace. A panic in it goes on in the caller.
    ///
    /// Sockets opened in there stay in the namespace whoever uses them later. Processes do not belong in there: they die
    /// with the thread that started them, see [`Netns::command`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _inside = self.enter();
                    work()
                })
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace until the guard is dropped.
    ///
    /// # Panics
    /// When the kernel refuses: going on in the wrong namespace would touch the host.
    pub fn enter(&self) -> Inside {
        Inside::enter(self.namespace.as_ref().as_ref())
            .unwrap_or_else(|error| panic!("enter network namespace {}: {error}", self.name))
    }

    /// A handle that enters later, on another thread.
    pub fn handle(&self) -> NetnsHandle {
        NetnsHandle(self.namespace.clone())
    }

    /// A command that runs inside the namespace, in this process's mount namespace, and is killed when the **thread**
    /// that spawned it ends (PR_SET_PDEATHSIG counts threads): spawn from a thread that outlives the process.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.namespace.clone();
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made, on a descriptor that the closure itself keeps open.
        unsafe {
            command.pre_exec(move || {
                if let Some(namespace) = namespace.as_ref() {
                    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the line above; then nobody would send the signal.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            })
        };
        command
    }

    /// Writes a kernel setting of this namespace, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such setting or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| write_sysctl(key, value))
    }

    /// Reads a file as this namespace sees it, such as `/proc/sys/net/ipv4/ip_forward`. `/proc/net` is the main
    /// thread's; use `/proc/thread-self/net`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        // Some settings are told by the first read alone, as much as fits: what is read little by little ends early.
        let read = || {
            let mut buffer = vec![0; 1 << 16];
            let mut file = File::open(path)?;
            let first = file.read(&mut buffer)?;
            buffer.truncate(first);
            file.read_to_end(&mut buffer)?;
            String::from_utf8(buffer).map_err(io::Error::other)
        };
        self.run(read)
            .context(|| format!("read {path} in {}", self.name))
    }

    /// One of the kernel's counters of this namespace's own stack, as `("Tcp", "PassiveOpens")` or `("Ip", "InReceives")`
    /// (snmp(7) in /proc/net). What a program on an interface forwards or drops is in none of them.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn snmp(&self, protocol: &str, counter: &str) -> Result<u64> {
        let text = self.read("/proc/thread-self/net/snmp")?;
        snmp(&text, protocol, counter)
            .ok_or_else(|| Error::new(format!("no counter {protocol} {counter}")))
    }

    /// One of the IPv6 stack's counters of this namespace, as `Udp6InDatagrams`. TCP is counted for both families under
    /// [`Netns::snmp`].
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn snmp6(&self, counter: &str) -> Result<u64> {
        let text = self.read("/proc/thread-self/net/snmp6")?;
        let mut lines = text.lines().map(str::split_whitespace);
        lines
            .find_map(|mut fields| {
                fields
                    .next()
                    .filter(|name| *name == counter)
                    .and(fields.next())
            })
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| Error::new(format!("no counter {counter}")))
    }
}

/// Looks a counter up in pairs of lines, `Tcp: NAME …` and `Tcp: VALUE …`.
fn snmp(text: &str, protocol: &str, counter: &str) -> Option<u64> {
    let of_protocol = |line: &&str| line.split(':').next() == Some(protocol);
    let mut lines = text.lines().filter(of_protocol);
    let at = lines.next()?.split(' ').position(|name| name == counter)?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

/// Enters a namespace that a [`Netns`] owns.
#[derive(Clone, Debug)]
pub struct NetnsHandle(Arc<Option<OwnedFd>>);

impl NetnsHandle {
    /// Moves the calling thread into the namespace until the guard is dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> io::Result<Inside> {
        Inside::enter(self.0.as_ref().as_ref())
    }
}

/// Proof that this thread is inside a namespace. Neither `Send` nor `Sync`: the namespace is the thread's.
#[derive(Debug)]
pub struct Inside {
    home: Option<File>,
    _this_thread: PhantomData<*const ()>,
}

impl Inside {
    fn enter(namespace: Option<&OwnedFd>) -> io::Result<Inside> {
        let home = match namespace {
            Some(namespace) => {
                let home = File::open("/proc/thread-self/ns/net")?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Some(home)
            }
            None => None,
        };
        Ok(Inside {
            home,
            _this_thread: PhantomData,
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        if let Err(error) =
            move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network))
        {
            // Whatever ran next on this thread would run in the wrong namespace.
            eprintln!("cannot leave a network namespace: {error}");
            std::process::abort();
        }
    }
}

/// The file under `/run/netns`, unmounted and removed on drop.
#[derive(Debug)]
struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes what killed processes left under `prefix`: namespaces here, [`crate::scratch`] has the rest.
pub fn sweep(prefix: &str) {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| is_leftover(name, prefix))
        {
            remove(&entry.path());
        }
    }
}

/// Removes what killed test runs left.
pub fn sweep_tests() {
    sweep(TEST_PREFIX);
}

fn remove(path: &Path) {
    // A file that was never mounted on gives EINVAL; what matters is that it is gone.
    let _ = unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}

/// The state in which every namespace starts, whatever the host's defaults are.
fn settle() -> Result<()> {
    for (key, value) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        // Tests open tens of thousands of connections from one address.
        ("net/ipv4/ip_local_port_range", "1024 65535"),
    ] {
        write_sysctl(key, value)?;
    }
    for (key, value) in [
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
    ] {
        // Kernels may be built without IPv6.
        if Path::new("/proc/sys/net/ipv6").exists() {
            write_sysctl(key, value)?;
        }
    }
    crate::link::set_up("lo")
}

fn write_sysctl(key: &str, value: &str) -> Result<()> {
    fs::write(Path::new("/proc/sys").join(key), value).context(|| format!("set {key} to {value}"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::panic::catch_unwind;

    use super::*;
    use crate::{Tag, skip};

    fn exists(name: &str) -> bool {
        Path::new(DIRECTORY).join(name).exists()
    }

    #[test]
    fn a_namespace_is_made_and_gone() {
        if skip::without_root() {
            return;
        }
        let name = Tag::new(TEST_PREFIX).name("made");
        let netns = Netns::new(&name).unwrap();
        assert!(exists(&name));
        assert_eq!(
            netns.read("/proc/sys/net/ipv4/ip_forward").unwrap().trim(),
            "0"
        );
        let devices = netns.read("/proc/thread-self/net/dev").unwrap();
        assert!(
            devices.contains("lo:") && !devices.contains("eth"),
            "{devices}"
        );
        netns.run(|| {
            let listener = TcpListener::bind("127.0.0.1:80").unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        });
        assert_eq!(netns.snmp("Tcp", "PassiveOpens").unwrap(), 1);
        drop(netns);
        assert!(!exists(&name));
    }

    #[test]
    fn counters_are_found_by_protocol_and_name() {
        let text = "Ip: Forwarding InReceives\nIp: 2 17\nTcp: MaxConn InSegs\nTcp: -1 4\n";
        assert_eq!(snmp(text, "Tcp", "InSegs"), Some(4));
        assert_eq!(snmp(text, "Ip", "InReceives"), Some(17));
        assert_eq!(snmp(text, "Ip", "InSegs"), None);
        assert_eq!(snmp(text, "Udp", "InSegs"), None);
    }

    #[test]
    fn a_panic_takes_the_namespace_along_and_reaches_the_caller() {
        if skip::without_root() {
            return;
        }
        let name = Tag::new(TEST_PREFIX).name("panic");
        let panic = catch_unwind(|| {
            let netns = Netns::new(&name).unwrap();
            netns.run(|| panic!("as planned"));
        });
        assert_eq!(
            *panic.unwrap_err().downcast::<&str>().unwrap(),
            "as planned"
        );
        assert!(!exists(&name));
    }

    #[test]
    fn a_thread_comes_home() {
        if skip::without_root() {
            return;
        }
        let here = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        let home = here();
        let netns = Netns::new(&Tag::new(TEST_PREFIX).name("home")).unwrap();
        let inside = netns.enter();
        assert_ne!(here(), home);
        drop(inside);
        assert_eq!(here(), home);
    }

    #[test]
    fn commands_run_inside_with_the_hosts_mounts() {
        if skip::without_root() {
            return;
        }
        let netns = Netns::new(&Tag::new(TEST_PREFIX).name("command")).unwrap();
        let namespaces = |command: &mut Command| {
            let output = command
                .args(["/proc/self/ns/net", "/proc/self/ns/mnt"])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (net, mnt) = text.trim().split_once('\n').unwrap();
            (net.to_owned(), mnt.to_owned())
        };
        let inside = namespaces(&mut netns.command("readlink"));
        let outside = namespaces(&mut Command::new("readlink"));
        assert_ne!(inside.0, outside.0);
        assert_eq!(inside.1, outside.1);
    }

    #[test]
    fn leftovers_of_the_dead_are_swept() {
        if skip::without_root() {
            return;
        }
        let name = "lbt-sweep-4194305-client";
        let netns = Netns::new(name).unwrap();
        let mine = Netns::new(&Tag::new("lbt-sweep").name("mine")).unwrap();
        sweep("lbt-sweep");
        assert!(!exists(name));
        assert!(exists(mine.name()));
        drop(netns);
    }
}
