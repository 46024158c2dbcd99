//! Unix sockets that are listened on: what a process that is gone has left is replaced, one that is answered is not, and
//! the file goes with whoever made it.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    /// Somebody answers there.
    #[error("another process answers there")]
    InUse,
    /// There is something else under this name.
    #[error("there is a file that is no socket")]
    NotASocket,
    /// The system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl SocketFileError {
    /// The system's reason for not letting us do `action`.
    pub fn system(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Whose the file is to be, and who may connect; what is not said stays as the system makes it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access {
    /// Its permissions.
    pub mode: Option<u32>,
    /// Its owner.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

/// Device and inode.
pub type Identity = (u64, u64);

/// The name of a socket. It goes when this is dropped, unless another's has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// `None`: it was gone when this process was told of it, and whatever has the name by now is another's.
    identity: Option<Identity>,
    /// Whether it goes with this, and not with another process.
    ours: AtomicBool,
}

impl SocketFile {
    /// Listens on `path`, without blocking.
    ///
    /// # Errors
    /// See [`SocketFileError`].
    pub fn listen(
        path: &Path,
        access: Access,
        backlog: i32,
    ) -> Result<(OwnedFd, Self), SocketFileError> {
        clear_stale(path)?;
        let on = SocketFileError::system("listen");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(|error| on(error.into()))?;
        if access.mode.is_some() {
            // Before it has a name: unix(7)'s bind gives the file the socket's own mode, less the umask, so that there is
            // no moment in which others could connect.
            fchmod(socket.as_fd(), Mode::RUSR | Mode::WUSR).map_err(|error| on(error.into()))?;
        }
        let address = SocketAddrUnix::new(path).map_err(|error| on(error.into()))?;
        bind(&socket, &address).map_err(|error| on(error.into()))?;
        let metadata = fs::symlink_metadata(path).map_err(SocketFileError::system("look at it"))?;
        // From here on it is removed if anything goes wrong.
        let file = Self {
            path: path.to_owned(),
            identity: Some((metadata.dev(), metadata.ino())),
            ours: AtomicBool::new(true),
        };
        give(path, access)?;
        listen(&socket, backlog).map_err(|error| on(error.into()))?;
        Ok((socket, file))
    }

    /// The name of a socket that another process listens on and has lent, with the file that it has made, as far as it
    /// knows. It stays the other's until [`SocketFile::own`].
    pub fn lent(path: &Path, identity: Option<Identity>) -> Self {
        Self {
            path: path.to_owned(),
            identity,
            ours: AtomicBool::new(false),
        }
    }

    /// Its path, and which file it is there.
    pub fn known(&self) -> Option<(PathBuf, Identity)> {
        Some((self.path.clone(), self.identity?))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path leads to the socket: nobody has removed the file, or put another in its place.
    pub fn is_reached(&self) -> bool {
        self.is(fs::metadata(&self.path))
    }

    fn is(&self, found: io::Result<fs::Metadata>) -> bool {
        let found = found.ok().map(|found| (found.dev(), found.ino()));
        self.identity.is_some() && self.identity == found
    }

    /// From now on it goes with this.
    pub fn own(&self) {
        self.ours.store(true, Relaxed);
    }

    /// Another process listens from now on, and the file is its own.
    pub fn leave(&self) {
        self.ours.store(false, Relaxed);
    }
}

/// Gives the file to whom `access` says.
///
/// # Errors
/// The system's.
pub fn give(path: &Path, access: Access) -> Result<(), SocketFileError> {
    if access.user.is_some() || access.group.is_some() {
        std::os::unix::fs::chown(path, access.user, access.group)
            .map_err(SocketFileError::system("give it to its owner"))?;
    }
    if let Some(mode) = access.mode {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).map_err(SocketFileError::system("set its permissions"))?;
    }
    Ok(())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours.load(Relaxed) && self.is(fs::symlink_metadata(&self.path)) {
            // A file that stays behind is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn clear_stale(path: &Path) -> Result<(), SocketFileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketFileError::system("look at it")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketFileError::NotASocket);
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketFileError::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(SocketFileError::system("remove the old one"))
        }
        // Its backlog is full: somebody is there.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketFileError::InUse),
        Err(error) => Err(SocketFileError::system("see whether anybody answers there")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_goes_only_if_it_is_that_file() {
        let path = std::env::temp_dir().join(format!("lb-socket-file-test-{}", std::process::id()));
        let listen = || SocketFile::listen(&path, Access::default(), 1).unwrap();
        let (_first, theirs) = listen();
        let known = theirs.known().unwrap();
        assert_eq!(known.0, path);
        // Another has the name by now, or nobody.
        fs::rename(&path, path.with_extension("old")).unwrap();
        let gone = SocketFile::lent(&path, None);
        let (_second, others) = listen();
        let lent = SocketFile::lent(&path, Some(known.1));
        for file in [gone, lent] {
            file.own();
            drop(file);
            assert!(path.exists());
        }
        let lent = SocketFile::lent(&path, others.known().map(|(_, identity)| identity));
        others.leave();
        lent.own();
        drop(lent);
        assert!(!path.exists());
        fs::remove_file(path.with_extension("old")).unwrap();
    }
}
