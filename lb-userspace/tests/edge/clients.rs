//! Clients that others have written.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::daemon::PATIENCE;

pub(crate) fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok()
        || Command::new(program).arg("version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// `curl` with the usual arguments; what it wrote to standard output, and its exit code.
pub(crate) fn curl(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .output()
        .unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.code(),
    )
}

/// Resolves `name` to the daemon for curl.
pub(crate) fn resolve(name: &str, at: SocketAddr) -> String {
    format!("{name}:{}:{}", at.port(), at.ip())
}

pub(crate) fn s_client(at: SocketAddr, arguments: &[&str]) -> String {
    let Output { stdout, stderr, .. } = Command::new("openssl")
        .args(["s_client", "-connect", &at.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    )
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    // Whole at once, as certificate tools do.
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, &path).unwrap();
    path.display().to_string()
}

/// Reads until the end or the first error.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut part) {
        all.extend_from_slice(&part[..n]);
    }
    all
}

/// A Python that has these modules: `LB_PYTHON`, else the first one there is.
pub(crate) fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var("LB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = format!("import {modules}");
    let found = Command::new(&python).args(["-c", &imports]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no {modules}; LB_PYTHON names one that does");
    None
}
