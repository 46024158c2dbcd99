//! A systemd of its own: process 1 of namespaces for processes, mounts and control groups, on the network of a namespace of the
//! lab. It knows no units but those it is given and the targets that these want, and what is written below `/etc`, `/run`,
//! `/usr/bin`, `/var/log` and `/sys/fs/bpf` in there is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::process::Process;
use crate::scratch::Scratch;
use crate::tag::{TEST_PREFIX, is_leftover};
use crate::{Context, Error, Netns, Result, Tag, skip, wait};

/// The program.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// What stands before it: the mounts. `$1` is the folder with the units and the files.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$1/over"
over() {
    mkdir -p "$over/new$1" "$over/work$1"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$over/new$1,workdir=$over/work$1" "$1"
}
over="$1/over"
over /etc
over /usr/bin
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /etc/systemd/system
mkdir /run/units /run/none
for name in sysinit basic shutdown umount final exit multi-user network-online sockets paths timers slices local-fs swap; do
    cp -L "/usr/lib/systemd/system/$name.target" /run/units/
done
cp -L /usr/lib/systemd/system/systemd-exit.service /run/units/
cp "$1"/units/* /etc/systemd/system/
# There is no journal.
mkdir /etc/systemd/system/service.d
printf '[Service]\nStandardError=append:/run/stderr\n' >/etc/systemd/system/service.d/stderr.conf
mount --bind /run/units /usr/lib/systemd/system
mount --bind /run/none /usr/lib/systemd/system-generators
[ ! -d /etc/init.d ] || mount --bind /run/none /etc/init.d
mkdir -p /etc/lb
install -m 0755 "$1/lb" /usr/bin/lb
getent passwd lb >/dev/null || {
    echo 'lb:x:990:990::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
    echo 'lb:x:990:' >>/etc/group
}
install -m 0640 -g lb "$1/lb.yaml" /etc/lb/lb.yaml
: >/etc/machine-id
umount --lazy /sys
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
echo mounted
exec env -i container=lb-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --unit=multi-user.target --show-status=no --log-target=null
"#;

/// It, ended with all that it has started on drop.
#[derive(Debug)]
pub struct Systemd {
    // First: what is below it is to be gone before its control group and its files are.
    process: Process,
    pid: u32,
    _group: Group,
    files: Scratch,
}

/// True, and says why, where there is none to start.
pub fn is_missing() -> bool {
    if skip::without_tool("systemctl")
        || skip::without_tool("nsenter")
        || skip::without_file(Path::new(SYSTEMD), "systemd is not installed")
    {
        return true;
    }
    let overlay = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    skip::unless(
        overlay.lines().any(|line| line.ends_with("\toverlay")),
        "this kernel has no overlay file system",
    ) || skip::unless(
        groups().is_some(),
        "no file system of control groups, version 2, is mounted",
    )
}

impl Systemd {
    /// Starts it in `netns`, with these units, a binary of lb as `/usr/bin/lb` and `config` as `/etc/lb/lb.yaml`. `None`, and
    /// says why, where the mounts are not allowed.
    ///
    /// # Errors
    /// With what it said, when it does not come up.
    pub fn boot(
        netns: &Netns,
        tag: &Tag,
        units: &[(&str, &str)],
        binary: &Path,
        config: &str,
    ) -> Result<Option<Systemd>> {
        let files = Scratch::files(tag, "systemd")?;
        for folder in ["units", "over"] {
            let path = files.path().join(folder);
            fs::create_dir(&path).context(|| format!("make {}", path.display()))?;
        }
        for (name, text) in units {
            files.write(&format!("units/{name}"), text)?;
        }
        files.write("lb.yaml", config)?;
        let copy = files.path().join("lb");
        fs::copy(binary, &copy).context(|| format!("copy lb to {}", copy.display()))?;
        let group = Group::new(tag)?;
        let mut command = netns.command("sh");
        // Into the control group first: what is made then sees none above it.
        let enter = "echo 0 >\"$1/cgroup.procs\" && shift && exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts \
                     sh -c \"$@\"";
        command.args(["-c", enter, "sh"]).arg(&group.0);
        command.args([BOOT, "sh"]).arg(files.path());
        let mut process = Process::start(command)?;
        let mounted = wait::until("the mounts", wait::PATIENCE, || {
            let mounted = process.stdout().contains("mounted\n");
            (mounted || process.ended().is_some()).then_some(mounted)
        })?;
        if skip::unless(mounted, "the mounts for a systemd cannot be had") {
            eprintln!("{}", process.stderr());
            return Ok(None);
        }
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let child = fs::read_to_string(&children).context(|| format!("read {children}"))?;
        let pid = child.trim().parse().ok();
        let pid = pid.ok_or_else(|| Error::new(format!("{children} says {child:?}")))?;
        let systemd = Systemd {
            process,
            pid,
            _group: group,
            files,
        };
        let up = wait::until_true("systemd to be up", || {
            let said = systemd.run("systemctl", &["is-active", "multi-user.target"]);
            said.is_ok_and(|output| output.status.success())
        });
        up.map_err(|error| Error::new(format!("{error}: {}", systemd.process.stderr())))?;
        Ok(Some(systemd))
    }

    /// A command in there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string()])
            .args(["--mount", "--pid", "--net", "--cgroup", "--ipc", "--uts"])
            .args(["--", program])
            .stdin(Stdio::null());
        command
    }

    /// Runs one. What it says and its exit code are the caller's to judge.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(program);
        let output = command.args(arguments).output();
        output.context(|| format!("run {program} {arguments:?}"))
    }

    /// The same, which must be a success; what it printed.
    ///
    /// # Errors
    /// With what it said, when it fails.
    pub fn good(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(program, arguments)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let (said, log) = (text(&output.stderr), self.log());
        Err(Error::new(format!("{program} {arguments:?}: {said}{log}")))
    }

    /// A property of a unit.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let said = self.good("systemctl", &["show", unit, "--property", name, "--value"])?;
        Ok(said.trim().to_owned())
    }

    /// Replaces a file in there, as an installation does: by another of the same name.
    ///
    /// # Errors
    /// When that fails.
    pub fn install(&self, from: &Path, to: &str) -> Result<()> {
        let from = from.display().to_string();
        self.good("install", &["-m", "0755", &from, to]).map(drop)
    }

    /// A file in there.
    pub fn read(&self, path: &str) -> String {
        let output = self.run("cat", &[path]);
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// What systemd, the services and lb have said.
    pub fn log(&self) -> String {
        let lb = self.read("/var/log/lb/lb.log");
        let status = self.run("systemctl", &["status", "--no-pager", "lb.service"]);
        let status = status.map_or_else(|_| Vec::new(), |output| output.stdout);
        let status = String::from_utf8_lossy(&status);
        let stderr = self.read("/run/stderr");
        format!("{status}services said:\n{stderr}lb said:\n{lb}")
    }

    /// The folder that both sides see.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }
}

/// A control group, removed on drop.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn new(tag: &Tag) -> Result<Group> {
        let root = groups().ok_or_else(|| Error::new("no control groups are mounted"))?;
        // What killed runs left.
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| is_leftover(name, TEST_PREFIX))
            {
                remove(&entry.path());
            }
        }
        let path = root.join(tag.name("systemd"));
        fs::create_dir(&path).context(|| format!("make {}", path.display()))?;
        Ok(Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those that were killed leave it a moment later.
        let _ = wait::until_true("the control group to be left", || remove(&self.0));
    }
}

/// Removes a group and those in it; whether it is gone.
fn remove(path: &Path) -> bool {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}

/// Where control groups of version 2 are mounted.
fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut mounts = mounts.lines().map(str::split_whitespace);
    mounts.find_map(|mut fields| {
        let at = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| at.into())
    })
}
