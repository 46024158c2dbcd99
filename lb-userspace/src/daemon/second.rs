//! A second daemon that was started by mistake: refused before it touches anything, and told whom it met.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::net::sockopt::socket_peercred;

/// Another daemon answers on the admin socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "another lb{} runs already and has the admin socket {}: `lb stop` ends it, `lb reload` gives it another configuration; \
     a second one beside it needs a global.admin_socket, pidfile, fast_path.pin_path and fast_path.snat_ports of its own",
    .pid.map_or_else(String::new, |pid| format!(" (pid {pid})")),
    .socket.display()
)]
pub struct SecondError {
    socket: PathBuf,
    pid: Option<i32>,
}

/// Refuses to go on if somebody answers on `socket`.
///
/// # Errors
/// Somebody does.
pub(super) fn refuse(socket: &Path) -> Result<(), SecondError> {
    match UnixStream::connect(socket) {
        Ok(stream) => Err(SecondError {
            socket: socket.to_owned(),
            // Of whoever listened there first.
            pid: socket_peercred(&stream)
                .ok()
                .map(|peer| peer.pid.as_raw_nonzero().get()),
        }),
        // Nobody does; what else there is to say about it is said when it is bound.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_met_is_named() {
        let path = std::env::temp_dir().join(format!("lb-second-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(refuse(&path).is_ok(), "nobody is there");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let said = refuse(&path).unwrap_err().to_string();
        let (pid, socket) = (std::process::id(), path.display());
        assert!(said.contains(&format!("(pid {pid})")), "{said}");
        assert!(said.contains(&format!("admin socket {socket}")), "{said}");
        drop(listener);
        assert!(refuse(&path).is_ok(), "whoever was there has been killed");
        std::fs::remove_file(&path).unwrap();
    }
}
