//! The runtime socket: a line in, the answer out, then it closes (as HAProxy's without `prompt`).

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    certificates::Transactions,
    command, kernel, maps,
    reload::{self, Wishes},
    tables, upgrade,
};
use crate::{
    observe::stats::Sources,
    socket_file::{Access, SocketFile, SocketFileError},
};

/// Clients served at a time; further ones wait in the kernel's backlog.
const MAX_CLIENTS: usize = 32;
/// A client has this long to send its line, and this long to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A line may be this long; HAProxy's buffers hold as much.
const MAX_LINE: usize = 16 * 1024;
/// A certificate with its chain and key is far shorter.
const MAX_PAYLOAD: usize = 256 * 1024;
/// Rest after accept failed, which is for want of a file descriptor as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 64;
/// Readable and writable for its owner alone.
const OWNER_ALONE: Access = Access {
    mode: Some(0o600),
    user: None,
    group: None,
};

/// Why there is no runtime socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("admin socket {}: another lb answers there; stop it, or set global.admin_socket to another path", .0.display())]
    InUse(PathBuf),
    /// There is something else under this name.
    #[error("admin socket {}: there is a file that is no socket; remove it, or set global.admin_socket to another path", .0.display())]
    NotASocket(PathBuf),
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

/// The bound socket. Its file goes when this is dropped, unless another daemon's has taken its place.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: Arc<SocketFile>,
    made_folder: bool,
}

/// Of a socket that is served, what another process may want of it.
#[derive(Debug)]
pub struct Handle {
    listener: OwnedFd,
    file: Arc<SocketFile>,
    serving: watch::Sender<Serving>,
}

/// Whether clients are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    Yes,
    /// They wait: another process may take them.
    NotNow,
    /// Another process does.
    NoMore,
}

impl Handle {
    /// A duplicate of the socket.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone()
    }

    /// Clients wait from now on.
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

    /// Clients, and the file, are another process's from now on. Those who have come are answered.
    pub fn hand_over(self) {
        self.file.leave();
        self.serving.send_replace(Serving::NoMore);
    }
}

impl AdminSocket {
    /// Binds `path`, readable and writable for its owner alone. What a daemon that is gone left there is replaced, and a
    /// missing directory made.
    ///
    /// # Errors
    /// Another daemon answers there, something else has the name, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |action, source| SocketError::System {
            path: path.to_owned(),
            action,
            source,
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
        let (listener, file) = SocketFile::listen(path, OWNER_ALONE, BACKLOG).map_err(|error| {
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
        Ok(Self {
            listener: listener.into(),
            file: Arc::new(file),
            made_folder,
        })
    }

    /// The socket of another process, which serves it until [`AdminSocket::own`].
    ///
    /// # Errors
    /// Its file is there no longer.
    pub fn lent(path: &Path, listener: OwnedFd) -> Result<Self, SocketError> {
        let file = SocketFile::lent(path).map_err(|source| SocketError::System {
            path: path.to_owned(),
            action: "look at it",
            source,
        })?;
        Ok(Self {
            listener: listener.into(),
            file: Arc::new(file),
            made_folder: false,
        })
    }

    /// The file is this process's from now on.
    pub fn own(&self) {
        self.file.own();
    }

    /// What another process may want of it later.
    ///
    /// # Errors
    /// There is no descriptor to be had.
    pub fn handle(&self) -> io::Result<Handle> {
        Ok(Handle {
            listener: self.listener.as_fd().try_clone_to_owned()?,
            file: Arc::clone(&self.file),
            serving: watch::Sender::new(Serving::Yes),
        })
    }

    /// Whether its folder was not there before.
    pub fn made_its_folder(&self) -> bool {
        self.made_folder
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The runtime cannot take the socket.
    pub fn serve(
        self,
        sources: Sources,
        wishes: Wishes,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let (always, serving) = watch::channel(Serving::Yes);
        let served = self.served(sources, wishes, serving);
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
        sources: Sources,
        wishes: Wishes,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let serving = handle.serving.subscribe();
        self.served(sources, wishes, serving)
    }

    async fn served(
        self,
        sources: Sources,
        wishes: Wishes,
        mut serving: watch::Receiver<Serving>,
    ) -> io::Result<()> {
        let Self { listener, file, .. } = self;
        // Lives as long as the future, so that the file goes with it.
        let _file = file;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        let transactions = Arc::new(Transactions::default());
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
                () = std::future::ready(()), if now == Serving::NoMore => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (sources, wishes) = (sources.clone(), wishes.clone());
                    let transactions = Arc::clone(&transactions);
                    clients.spawn(async move {
                        let _place = place;
                        // A client that goes away or dawdles misses its answer; nobody else is concerned.
                        let _ = serve_client(stream, &sources, &transactions, &wishes).await;
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

async fn serve_client(
    mut stream: tokio::net::UnixStream,
    sources: &Sources,
    transactions: &Transactions,
    wishes: &Wishes,
) -> io::Result<()> {
    let (line, rest) = timeout(CLIENT_TIMEOUT, read_line(&mut stream)).await??;
    let (line, payload) = match line.trim_end().strip_suffix("<<") {
        None => (line.as_str(), None),
        Some(line) => {
            let payload = timeout(CLIENT_TIMEOUT, read_payload(&mut stream, rest)).await??;
            (line, Some(payload))
        }
    };
    for command in command::split(line) {
        let words = command::words(&command);
        if words.is_empty() {
            continue;
        }
        let by_root = || stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
        let wish = match upgrade::answer(wishes, &words, by_root()).await {
            None => reload::answer(wishes, &words).await,
            answer => answer,
        };
        if let Some(answer) = wish {
            timeout(CLIENT_TIMEOUT, stream.write_all(answer.as_bytes())).await??;
            continue;
        }
        let topology = sources.topology();
        let answer = transactions
            .answer(&topology, &words, payload.as_deref())
            .or_else(|| maps::answer(&topology, &words, payload.as_deref()))
            .or_else(|| tables::answer(&topology, &words));
        if let Some(answer) = answer {
            let answer = answer.unwrap_or_else(|complaint| complaint + "\n") + "\n";
            timeout(CLIENT_TIMEOUT, stream.write_all(answer.as_bytes())).await??;
            continue;
        }
        let answer = match kernel::parse(&words) {
            None => command::answer_one(sources, &words),
            Some(Err(complaint)) => complaint + "\n\n",
            Some(Ok(command)) => {
                kernel::answer(&sources.path, command, &mut stream).await?;
                "\n".into()
            }
        };
        timeout(CLIENT_TIMEOUT, stream.write_all(answer.as_bytes())).await??;
    }
    timeout(CLIENT_TIMEOUT, stream.shutdown()).await?
}

/// What follows a line that ends in `<<`, up to an empty line or the end.
async fn read_payload(
    stream: &mut tokio::net::UnixStream,
    mut payload: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let ends = |payload: &[u8]| payload.windows(2).position(|pair| pair == b"\n\n");
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = ends(&payload) {
            payload.truncate(end + 1);
            return Ok(payload);
        }
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(payload);
        }
        if payload.len() + length > MAX_PAYLOAD {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        payload.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
}

/// One line without its end, and what has come after it.
async fn read_line(stream: &mut tokio::net::UnixStream) -> io::Result<(String, Vec<u8>)> {
    let mut line = Vec::new();
    let mut rest = Vec::new();
    let mut buffer = [0; 1024];
    while line.len() < MAX_LINE {
        let length = stream.read(&mut buffer).await?;
        let read = buffer.get(..length).unwrap_or_default();
        if let Some(end) = read.iter().position(|&byte| byte == b'\n') {
            line.extend_from_slice(read.get(..end).unwrap_or_default());
            rest.extend_from_slice(read.get(end + 1..).unwrap_or_default());
            break;
        }
        line.extend_from_slice(read);
        if length == 0 {
            break;
        }
    }
    Ok((String::from_utf8_lossy(&line).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{
        admin::client,
        observe::{
            request::{FlowRow, Request},
            stats::fixture,
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

    /// Nobody who would grant a wish.
    fn nobody() -> Wishes {
        tokio::sync::mpsc::unbounded_channel().0
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
                ended = socket.serve(sources, nobody()) => panic!("{ended:?}"),
                () = answered => {}
            }
        });
        client.join().expect("it did not panic")
    }

    #[test]
    fn it_answers_and_goes_with_the_daemon() {
        let directory = Directory::new("answers");
        let path = directory.socket();
        let socket = AdminSocket::bind(&path).expect("bound");
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
        let socket = AdminSocket::bind(&path).expect("bound");
        let none = ask_served(socket, &path, "show flows; show deny");
        let words = "There is no kernel path";
        assert_eq!(none.matches(words).count(), 2, "{none}");

        let socket = AdminSocket::bind(&path).expect("bound");
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
        let live = AdminSocket::bind(&path).expect("bound");
        let refused = AdminSocket::bind(&path).expect_err("it is taken");
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        // As after SIGKILL: the file stays, nobody listens.
        std::mem::forget(live.file);
        drop(live.listener);
        assert!(path.exists());
        AdminSocket::bind(&path).expect("the old one is replaced");
    }

    #[test]
    fn another_file_is_left_alone() {
        let directory = Directory::new("file");
        let path = directory.socket();
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(&path, "precious").expect("written");
        let refused = AdminSocket::bind(&path).expect_err("it is no socket");
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    }
}
