//! The sockets that take runtime commands: a conversation each connection, at the socket's level.

use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixListener},
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{desk::Desk, kernel::Wire, talk};
use crate::{
    accounts,
    config::model::{self, Address, AdminLevel},
    socket_file::{Access, Identity, SocketFile, SocketFileError},
};

/// Clients served at a time; further ones wait in the kernel's backlog.
const MAX_CLIENTS: usize = 32;
/// Rest after accept failed, which is for want of a file descriptor as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 64;
/// Readable and writable for its owner alone.
const OWNER_ALONE: u32 = 0o600;

/// Why there is no runtime socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("admin socket {}: another lb answers there; stop it, or set global.admin_socket to another path", .0.display())]
    InUse(PathBuf),
    /// There is something else under this name.
    #[error("admin socket {}: there is a file that is no socket; remove it, or set global.admin_socket to another path", .0.display())]
    NotASocket(PathBuf),
    /// Nobody has the name that it is to be given to.
    #[error("admin socket {}: there is no {what} `{name}`", path.display())]
    NoOwner {
        /// Its path.
        path: PathBuf,
        /// User or group.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The system refused.
    #[error("admin socket {}: cannot {action}: {source}", path.display())]
    System {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// A bound socket. Its file goes when this is dropped, unless another daemon's has taken its place.
#[derive(Debug)]
pub struct AdminSocket {
    listener: OwnedFd,
    /// Of a path.
    file: Option<Arc<SocketFile>>,
    address: Address,
    level: AdminLevel,
    made_folder: bool,
}

/// What a socket is known by to another process.
pub fn name(address: &Address) -> PathBuf {
    match address.path() {
        Some(path) => path.to_owned(),
        None => PathBuf::from(address.to_string()),
    }
}

/// Of a socket that is served, what another process may want of it.
#[derive(Debug)]
pub struct Handle {
    address: Address,
    listener: OwnedFd,
    /// Of a path.
    file: Option<Arc<SocketFile>>,
    serving: watch::Sender<Serving>,
}

/// Whether clients are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    Yes,
    /// They wait, for another process may take them; so do those who speak, for what they want would be nobody's.
    NotNow,
    /// Another process does, and those who speak are to ask there.
    Elsewhere,
    /// The daemon is about to end.
    NoMore,
}

impl Serving {
    /// Whether nobody is to come any more.
    fn is_over(self) -> bool {
        matches!(self, Self::Elsewhere | Self::NoMore)
    }
}

impl Handle {
    /// What another process knows it by.
    pub fn name(&self) -> PathBuf {
        name(&self.address)
    }

    /// Its file.
    pub fn file(&self) -> Option<(PathBuf, Identity)> {
        self.file.as_ref()?.known()
    }

    /// The file is this process's from now on.
    pub fn own(&self) {
        if let Some(file) = &self.file {
            file.own();
            // Whoever connects is told who has listened last: the process before may be gone.
            if let Err(error) = rustix::net::listen(&self.listener, BACKLOG) {
                tracing::debug!("the admin socket is another process's by name: {error}");
            }
        }
    }

    /// A duplicate of the socket.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone()
    }

    /// Clients wait from now on, and conversations with their next command.
    pub fn pause(&self) {
        self.serving.send_replace(Serving::NotNow);
    }

    /// Clients are served again.
    pub fn resume(&self) {
        self.serving.send_replace(Serving::Yes);
    }

    /// Nobody is to come any more. Those who have come are answered.
    pub fn close(self) {
        self.serving.send_replace(Serving::NoMore);
    }

    /// Clients, and the file, are another process's from now on. What has been asked is answered.
    pub fn hand_over(self) {
        if let Some(file) = &self.file {
            file.leave();
        }
        self.serving.send_replace(Serving::Elsewhere);
    }
}

impl AdminSocket {
    /// Binds it; a file is readable and writable for its owner alone unless its permissions say otherwise. What a daemon that
    /// is gone left there is replaced, and a missing directory made.
    ///
    /// # Errors
    /// Another daemon answers there, something else has the name, or the system refuses.
    pub fn bind(socket: &model::AdminSocket) -> Result<Self, SocketError> {
        let system = |action, source| SocketError::System {
            path: name(&socket.address),
            action,
            source,
        };
        let bound = |listener, file, made_folder| Self {
            listener,
            file,
            address: socket.address.clone(),
            level: socket.level,
            made_folder,
        };
        let Some(path) = socket.address.path() else {
            // It is no name, since it was read as a bind.
            let at = socket.address.inet();
            let at = at.ok_or_else(|| system("listen", io::ErrorKind::InvalidInput.into()))?;
            let listener = TcpListener::bind(at).map_err(|source| system("listen", source))?;
            listener
                .set_nonblocking(true)
                .map_err(|source| system("listen", source))?;
            return Ok(bound(listener.into(), None, false));
        };
        let mut made_folder = false;
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            made_folder = !directory.exists();
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(|source| system("make its directory", source))?;
        }
        let access = access(&socket.permissions).map_err(|(what, name)| SocketError::NoOwner {
            path: path.to_owned(),
            what,
            name,
        })?;
        let (listener, file) = SocketFile::listen(path, access, BACKLOG).map_err(|error| {
            let path = path.to_owned();
            match error {
                SocketFileError::InUse => SocketError::InUse(path),
                SocketFileError::NotASocket => SocketError::NotASocket(path),
                SocketFileError::System { action, source } => SocketError::System {
                    path,
                    action,
                    source,
                },
            }
        })?;
        Ok(bound(listener, Some(Arc::new(file)), made_folder))
    }

    /// The socket of another process, with the file that it has, which serves it until [`Handle::own`].
    pub fn lent(
        socket: &model::AdminSocket,
        listener: OwnedFd,
        identity: Option<Identity>,
    ) -> Self {
        let path = socket.address.path();
        let file = path.map(|path| SocketFile::lent(path, identity));
        Self {
            listener,
            file: file.map(Arc::new),
            address: socket.address.clone(),
            level: socket.level,
            made_folder: false,
        }
    }

    /// What another process may want of it later.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn handle(&self) -> io::Result<Handle> {
        Ok(Handle {
            address: self.address.clone(),
            listener: self.listener.as_fd().try_clone_to_owned()?,
            file: self.file.clone(),
            serving: watch::Sender::new(Serving::Yes),
        })
    }

    /// Whether it is that of the file.
    pub fn is(&self, socket: &model::AdminSocket) -> bool {
        self.address == socket.address
    }

    /// As `show cli sockets` shows it.
    pub fn shown(&self) -> (String, AdminLevel) {
        let shown = match (self.address.path(), self.address.inet()) {
            (Some(path), _) => format!("unix@{}", path.display()),
            (None, Some(at)) if at.is_ipv4() => format!("ipv4@{at}"),
            (None, Some(at)) => format!("ipv6@{at}"),
            (None, None) => self.address.to_string(),
        };
        (shown, self.level)
    }

    /// Whether its folder was not there before.
    pub fn made_its_folder(&self) -> bool {
        self.made_folder
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The runtime cannot take the socket.
    pub fn serve(self, desk: Desk) -> impl Future<Output = io::Result<()>> + use<> {
        let (always, serving) = watch::channel(Serving::Yes);
        let served = self.served(desk, serving);
        async move {
            let _always = always;
            served.await
        }
    }

    /// Answers until dropped, or until another process has it by `handle`, and all who have come are answered.
    ///
    /// # Errors
    /// The runtime cannot take the socket.
    pub fn serve_by(
        self,
        handle: &Handle,
        desk: Desk,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let serving = handle.serving.subscribe();
        self.served(desk, serving)
    }

    async fn served(self, desk: Desk, mut serving: watch::Receiver<Serving>) -> io::Result<()> {
        let Self {
            listener,
            file,
            address,
            level,
            ..
        } = self;
        // Lives as long as the future, so that the file goes with it.
        let _file = file;
        let listener = match address.is_unix() {
            true => {
                let listener = UnixListener::from(listener);
                Accepting::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
            false => {
                let listener = TcpListener::from(listener);
                Accepting::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
        };
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut clients = JoinSet::new();
        // The semaphore is never closed, so this only ends with the future.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let now = *serving.borrow_and_update();
            let accepted = tokio::select! {
                biased;
                changed = serving.changed() => match changed {
                    Ok(()) => continue,
                    // With what it is told by goes the process.
                    Err(_) => break,
                },
                accepted = listener.accept(), if now == Serving::Yes => accepted,
                () = std::future::ready(()), if now.is_over() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (desk, serving) = (desk.clone(), serving.clone());
                    clients.spawn(async move {
                        let _place = place;
                        // A client that goes away or dawdles misses its answer; nobody else is concerned.
                        let _ = talk::serve(stream, &desk, (level, peer), serving).await;
                    });
                }
                Err(error) => {
                    tracing::warn!("admin socket cannot accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while clients.try_join_next().is_some() {}
        }
        drop(listener);
        while clients.join_next().await.is_some() {}
        Ok(())
    }
}

enum Accepting {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

impl Accepting {
    /// A connection, and the user whose it is, as far as the kernel knows.
    async fn accept(&self) -> io::Result<(Box<dyn Wire>, Option<u32>)> {
        Ok(match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred().ok().map(|peer| peer.uid());
                (Box::new(stream), peer)
            }
            Self::Tcp(listener) => (Box::new(listener.accept().await?.0), None),
        })
    }
}

/// Whose a file is to be; the error names who is not known.
fn access(permissions: &model::Permissions) -> Result<Access, (&'static str, String)> {
    let number = |name: &Option<String>, what, find: fn(&str) -> Option<u32>| {
        let Some(name) = name else { return Ok(None) };
        let found = find(name).or_else(|| name.parse().ok());
        found.map(Some).ok_or_else(|| (what, name.clone()))
    };
    let user = |name: &str| accounts::user(name).map(|(user, _)| user);
    Ok(Access {
        mode: Some(permissions.mode.unwrap_or(OWNER_ALONE)),
        user: number(&permissions.user, "user", user)?,
        group: number(&permissions.group, "group", accounts::group)?,
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::Path};

    use super::*;
    use crate::{
        admin::client,
        observe::{
            request::{FlowRow, Request},
            sessions::Sessions,
            stats::{Sources, fixture},
        },
    };

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lb-admin-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("made/admin.sock")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn bind(path: &Path) -> Result<AdminSocket, SocketError> {
        AdminSocket::bind(&own(path))
    }

    fn own(path: &Path) -> model::AdminSocket {
        model::AdminSocket {
            address: Address::Unix(path.into()),
            level: AdminLevel::Admin,
            permissions: model::Permissions::default(),
        }
    }

    /// Nobody is there who would grant a wish.
    fn desk(sources: Sources) -> Desk {
        let wishes = tokio::sync::mpsc::unbounded_channel().0;
        Desk::new(sources, wishes, Sessions::default(), Vec::new())
    }

    /// Asks while the socket is served, which ends with this.
    fn ask_served(socket: AdminSocket, path: &Path, line: &'static str) -> String {
        ask_served_of(fixture::sources(), socket, path, line)
    }

    fn ask_served_of(
        sources: Sources,
        socket: AdminSocket,
        path: &Path,
        line: &'static str,
    ) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let path = path.to_owned();
        let client = std::thread::spawn(move || client::ask(&path, line).expect("an answer"));
        runtime.block_on(async {
            let answered = async {
                while !client.is_finished() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! {
                ended = socket.serve(desk(sources)) => panic!("{ended:?}"),
                () = answered => {}
            }
        });
        client.join().expect("it did not panic")
    }

    #[test]
    fn it_answers_and_goes_with_the_daemon() {
        let directory = Directory::new("answers");
        let path = directory.socket();
        let socket = bind(&path).expect("bound");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            ask_served(socket, &path, "get weight web/w1; get weight web/x"),
            "1 (initial 1)\n\nNo such server.\n\n"
        );
        assert!(!path.exists());
    }

    /// A fast path that has two flows and denies nothing.
    fn fast_path(mut requests: tokio::sync::mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = requests.blocking_recv() {
            match request {
                Request::Flows { filter, rows } => {
                    let flow = |port: u16| FlowRow {
                        protocol: "tcp".into(),
                        client: ([192, 0, 2, 7], port).into(),
                        service: ([192, 0, 2, 1], 80).into(),
                        frontend: "fe".into(),
                        backend: filter.backend.clone().unwrap_or_default(),
                        server: "s1".into(),
                        state: "established".into(),
                        half_open: false,
                        age_ms: 1000,
                        idle_ms: 0,
                        packets_in: 1,
                        packets_out: 1,
                        bytes_in: 2,
                        bytes_out: 3,
                    };
                    for port in [1000, 1001] {
                        let _ = rows.blocking_send(vec![flow(port)]);
                    }
                }
                Request::Look(done) => drop(done.send(Ok(()))),
                Request::Deny(_, done) => drop(done.send(Ok(true))),
                Request::Allow(_, done) => drop(done.send(Ok(false))),
                Request::Denied(reply) => drop(reply.send(Vec::new())),
                Request::Trace { begun, .. } => drop(begun.send(Err("No.".into()))),
            }
        }
    }

    #[test]
    fn the_kernel_path_answers_little_by_little_and_says_if_there_is_none() {
        let directory = Directory::new("kernel");
        let path = directory.socket();
        let line = "show flows json backend be; add deny 198.51.100.0/24; del deny 192.0.2.0/24; \
                    trace client 192.0.2.7; show flows nonsense; show deny";
        let socket = bind(&path).expect("bound");
        let none = ask_served(socket, &path, "show flows; show deny");
        let words = "There is no kernel path";
        assert_eq!(none.matches(words).count(), 2, "{none}");

        let socket = bind(&path).expect("bound");
        let sources = fixture::sources();
        let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
        sources.path.take_requests(Some(sender));
        std::thread::spawn(move || fast_path(requests));
        let answer = ask_served_of(sources, socket, &path, line);
        let answers: Vec<&str> = answer.split("\n\n").collect();
        let flows: Vec<FlowRow> = answers[0]
            .lines()
            .map(|line| serde_json::from_str(line).expect("a flow"))
            .collect();
        assert_eq!(flows.len(), 2);
        assert_eq!(
            (flows[1].client.port(), flows[1].backend.as_str()),
            (1001, "be")
        );
        assert!(
            answers[1].trim().starts_with("192.0.2.0/24 is not denied"),
            "{answer}"
        );
        assert!(answer.contains("\nNo.\n"), "{answer}");
        assert!(answer.contains("'nonsense' is no option"), "{answer}");
    }

    #[test]
    fn a_live_one_is_left_alone_and_a_stale_one_replaced() {
        let directory = Directory::new("stale");
        let path = directory.socket();
        let live = bind(&path).expect("bound");
        let refused = bind(&path).expect_err("it is taken");
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        // As after SIGKILL: the file stays, nobody listens.
        std::mem::forget(live.file);
        drop(live.listener);
        assert!(path.exists());
        bind(&path).expect("the old one is replaced");
    }

    #[test]
    fn another_file_is_left_alone() {
        let directory = Directory::new("file");
        let path = directory.socket();
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(&path, "precious").expect("written");
        let refused = bind(&path).expect_err("it is no socket");
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    }
}
