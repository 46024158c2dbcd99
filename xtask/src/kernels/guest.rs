//! What runs in the emulated machine: an init that calls the end-to-end tests in groups, and says how each went.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use super::debian::{self, Kernel};
use crate::counts::{self, Counts};
use crate::error::Error;

/// Modules that the tests' virtual links and the TC program need, each after those that it needs itself.
pub(super) const MODULES: [&str; 6] = ["llc", "stp", "bridge", "veth", "sch_ingress", "cls_bpf"];

/// What is asked of a kernel, by the tests that answer it.
pub(super) struct Group {
    /// The column's head.
    pub(super) name: &'static str,
    /// The test executable, by its target's name.
    pub(super) tests: &'static str,
    /// Which of its tests.
    pub(super) filter: &'static str,
}

/// Packets through the program; attaches it natively, restarts and stops the agent; connections and hostile frames
/// through the attached program; every mode, family and transport on XDP and on TC.
pub(super) const GROUPS: [Group; 4] = [
    Group {
        name: "loads",
        tests: "packets",
        // Packets of several buffers came with 5.18.
        filter: "behaviour cut_short --skip several_buffers",
    },
    Group {
        name: "attaches",
        tests: "e2e",
        filter: "lifecycle",
    },
    Group {
        name: "forwards",
        tests: "e2e",
        filter: "hostile forwarding::ten_thousand",
    },
    Group {
        name: "all modes",
        tests: "e2e",
        filter: "matrix",
    },
];

/// Starts the lines that init prints about itself.
const MARK: &str = "lb-guest:";

/// What goes into the machine beside a kernel's modules.
pub(super) struct Programs {
    /// `lb`, the test executables and the tools they call; each goes to `/bin`, under this name.
    pub(super) programs: Vec<(&'static str, PathBuf)>,
    /// The kernel object.
    pub(super) object: PathBuf,
}

/// Writes the initramfs.
pub(super) fn write(to: &Path, kernel: &Kernel, programs: &Programs) -> Result<(), Error> {
    let file = File::create(to).map_err(Error::file("create", to))?;
    let mut archive = Archive::new(BufWriter::new(file));
    let mut add = |path: &str, content: &[u8]| {
        archive
            .file(path, content)
            .map_err(Error::file("write", to))
    };
    let mut libraries = BTreeSet::new();
    for (name, program) in &programs.programs {
        add(&format!("bin/{name}"), &read(program)?)?;
        libraries.extend(libraries_of(program)?);
    }
    for library in libraries {
        add(&library, &read(Path::new(&library))?)?;
    }
    for module in &kernel.modules {
        add(
            &format!("modules/{}", debian::file_name(module)),
            &read(module)?,
        )?;
    }
    add("lb.bpf.o", &read(&programs.object)?)?;
    add("init", init(kernel).as_bytes())?;
    for folder in ["proc", "sys", "dev", "run", "tmp", "etc"] {
        archive.folder(folder).map_err(Error::file("write", to))?;
    }
    archive.finish().map_err(Error::file("write", to))?;
    Ok(())
}

fn init(kernel: &Kernel) -> String {
    let mut script = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox mkdir -p /sbin\n\
         /bin/busybox --install -s /sbin\n\
         export PATH=/bin:/sbin LB_BIN=/bin/lb LB_EBPF_OBJECT=/lb.bpf.o LB_TEST_PATIENCE=6 LB_TEST_PARTS=100\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t devtmpfs dev /dev\n\
         mount -t tmpfs tmpfs /run\n\
         mount -t tmpfs tmpfs /tmp\n\
         # Before 5.11 maps count as locked memory. lb raises its own limit; the harness's programs do not.\n\
         ulimit -l unlimited\n\
         # A thousand descriptors, the default, are few for ten thousand connections.\n\
         ulimit -n 65536\n\
         ifconfig lo 127.0.0.1 up\n\
         echo {MARK} up\n"
    );
    for module in &kernel.modules {
        let file = debian::file_name(module);
        let plain = file.trim_end_matches(".xz");
        if plain != file {
            let _ = writeln!(script, "unxz /modules/{file}");
        }
        let _ = writeln!(script, "insmod /modules/{plain}");
    }
    for Group {
        name,
        tests,
        filter,
    } in &GROUPS
    {
        let _ = writeln!(
            script,
            "echo {MARK} begin {name}; {tests} --test-threads 1 {filter} 2>&1; echo {MARK} end {name} $?"
        );
    }
    script += "poweroff -f\n";
    script
}

/// Shared libraries and their loader, as `ldd` finds them; none for a static program.
fn libraries_of(program: &Path) -> Result<Vec<String>, Error> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(|source| Error::Start {
            program: "ldd".into(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(str::to_owned)
    };
    Ok(text.lines().filter_map(path).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

/// Whether the machine came as far as init.
pub(super) fn came_up(console: &str) -> bool {
    said(console, "up").is_some()
}

/// Whether every test of the group ran and passed, by what the machine printed.
pub(super) fn passed(console: &str, group: &Group) -> bool {
    let Some(begin) = said(console, &format!("begin {}", group.name)) else {
        return false;
    };
    let rest = &console[begin..];
    let Some(end) = said(rest, &format!("end {} 0", group.name)) else {
        return false;
    };
    let output = rest[..end].replace('\r', "");
    let skipped = output.contains("skipped: ") || counts::skips(&output).next().is_some();
    !skipped && Counts::read(&output).is_some_and(|counts| counts.passed > 0 && counts.failed == 0)
}

/// Where init said this, if it did.
fn said(console: &str, what: &str) -> Option<usize> {
    let line = format!("{MARK} {what}");
    let mut at = 0;
    for text in console.split_inclusive('\n') {
        if text.trim_end() == line {
            return Some(at);
        }
        at += text.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(middle: &str) -> String {
        format!(
            "SeaBIOS\r\nlb-guest: up\r\nlb-guest: begin loads\r\n{middle}lb-guest: end loads 0\r\n"
        )
    }

    #[test]
    fn a_group_passes_if_its_tests_ran() {
        let group = &GROUPS[0];
        let summary = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 1s\r\n";
        assert!(passed(&console(summary), group));
        assert!(came_up(&console(summary)));
        assert!(!passed(&console(summary), &GROUPS[1]), "another group");
        let skipped = format!("test a ... skipped: a: no program\r\nok\r\n{summary}");
        assert!(!passed(&console(&skipped), group));
        let none = summary.replace("5 passed", "0 passed");
        assert!(!passed(&console(&none), group));
        assert!(!passed(
            &console(summary).replace("loads 0", "loads 101"),
            group
        ));
        assert!(!passed("lb-guest: begin loads\r\nKernel panic", group));
    }

    #[test]
    fn compressed_modules_are_unpacked_and_all_are_loaded_in_order() {
        let kernel = Kernel {
            release: "6.12".into(),
            image: "vmlinuz".into(),
            modules: vec!["a/llc.ko".into(), "a/veth.ko.xz".into()],
        };
        let script = init(&kernel);
        assert!(script.contains(
            "insmod /modules/llc.ko\nunxz /modules/veth.ko.xz\ninsmod /modules/veth.ko\n"
        ));
    }
}
