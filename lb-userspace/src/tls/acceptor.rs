//! TLS towards clients: what a bind serves them with.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{
        NoServerSessionStorage, ProducesTickets, ResolvesServerCertUsingSni,
        ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    version::{TLS12, TLS13},
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    certificate::Certificate,
    client_auth::clients,
    error::{Checked, Remark, TlsError, kept},
    files::{Overrides, Reader},
    issuers::Issuers,
    listed::{CarriedList, Changes},
    live::Live,
    options::{BindOptions, CertificateFiles, Certificates, ClientAuth, TicketKeys, Version},
    resolver::{Entry, Resolver},
    session::{ClientCertificate, Session},
    tickets::{CarriedKeys, Given, Secret, Tickets},
    trust::Clients,
};
use crate::watched::Stamp;

/// The TLS of one bind, shared by all workers.
#[derive(Debug)]
pub struct Acceptor {
    options: BindOptions,
    live: Live<Loaded>,
    tickets: Mutex<Vec<Ticketer>>,
    /// What operators have made of the list of its certificates.
    pub(super) changes: Mutex<Changes>,
}

/// What of it the files do not say, for the process that takes this one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedTls {
    /// What the file says of it, as text.
    options: String,
    /// What stands for files, which were like this.
    exchanged: Vec<(PathBuf, Stamp, Secret)>,
    /// Keys of tickets, and whose certificates of clients those stand for.
    tickets: Option<(Vec<u8>, CarriedKeys)>,
    /// Those of certificates with other options.
    #[serde(default)]
    more_tickets: Vec<(Vec<u8>, CarriedKeys)>,
    /// What was made of the list of certificates; the oldest versions do not say it.
    #[serde(default)]
    list: CarriedList,
}

impl CarriedTls {
    /// Files that something else stands for.
    pub fn exchanged(&self) -> impl Iterator<Item = &Path> {
        self.exchanged.iter().map(|(path, ..)| path.as_path())
    }
}

/// What was made of its files.
#[derive(Debug)]
struct Loaded {
    certificates: Resolver,
    expiries: Expiries,
    /// What is to be said of them.
    remarks: Vec<Remark>,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The connection.
    pub stream: TlsStream<S>,
    /// The certificate that was served, which a resumed session has not asked for again.
    ours: Option<Arc<ClientCertificate>>,
    /// Whose certificates were taken.
    clients: Option<Arc<Clients>>,
}

impl<S> Accepted<S> {
    /// What is known of it.
    pub fn session(&self) -> Session {
        let connection = self.stream.get_ref().1;
        let chain = connection.peer_certificates().unwrap_or_default();
        let verdict = self.clients.as_ref().map(|clients| clients.verdict(chain));
        Session::of(connection, verdict.unwrap_or_default(), self.ours.clone())
    }
}

/// Sessions that are kept without tickets: HAProxy's `tune.ssl.cachesize`.
const KEPT_SESSIONS: usize = 20_000;

/// What a client is told that asks for a name which no certificate has: `unrecognized_name` (RFC 6066, section 3), a record of
/// an alert. rustls has other words for it.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What certificates with the same options are served by, and whose certificates of clients are taken with them.
type Terms = (ServerConfig, Option<Arc<Clients>>);

/// Files of certificates, and the seconds since 1970 after which they are valid no more.
type Expiries = Vec<(PathBuf, i64)>;

/// The keys of session tickets: one set for all workers of a bind, exchanged every six hours. A ticket stands for a
/// client's certificate too, so it holds at no other bind, and not after the CA has changed.
#[derive(Debug, Clone)]
struct Ticketer {
    client_ca: Vec<u8>,
    tickets: Arc<Tickets>,
}

impl Acceptor {
    /// Refuses everybody until it is [loaded](Self::load).
    pub fn new(options: BindOptions) -> Self {
        Self {
            options,
            live: Live::new(),
            tickets: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    pub(super) fn options(&self) -> &BindOptions {
        &self.options
    }

    /// Whether it has read its files.
    pub fn is_loaded(&self) -> bool {
        self.live.current().is_some()
    }

    /// Reads its files again if they are not as they were.
    ///
    /// # Errors
    /// What is wrong with them; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.live.reload(|reader| self.config(reader))
    }

    /// Reads its files.
    ///
    /// # Errors
    /// What is wrong with them; what was read before stays in use.
    pub fn load(&self) -> Result<(), TlsError> {
        self.live.load(|reader| self.config(reader))
    }

    /// Reads its files again if they have changed and are not being changed just now: to be called every second or so.
    pub fn follow(&self) -> Option<Result<(), TlsError>> {
        let followed = self.live.follow(|reader| self.config(reader))?;
        Some(followed.inspect(|()| self.tell()))
    }

    /// Whether `path` is one of its files.
    pub fn uses(&self, path: &Path) -> bool {
        self.live.uses(path)
    }

    /// Its files that there are.
    pub fn files(&self) -> Vec<PathBuf> {
        self.live.files()
    }

    /// The files of its certificates.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        let files = self.listed(&mut Reader::default());
        let files = files.unwrap_or_default().into_iter();
        files.map(|listed| listed.files.cert).collect()
    }

    /// What it reads for one of its files now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, file: &Path) -> Result<Vec<u8>, TlsError> {
        self.live.bytes(file)
    }

    /// When each of the certificates that it serves expires, in seconds since 1970.
    pub fn expiries(&self) -> Vec<(PathBuf, i64)> {
        let loaded = self.live.current();
        loaded.map_or_else(Vec::new, |loaded| loaded.expiries.clone())
    }

    /// Whether it could use `files` instead of what is on the disk.
    ///
    /// # Errors
    /// Why not.
    pub fn try_out(&self, files: &Overrides) -> Result<(), TlsError> {
        self.live.try_out(files, |reader| self.config(reader))
    }

    /// Uses `files` instead of what is on the disk, until that changes.
    ///
    /// # Errors
    /// What is wrong with them; nothing has changed then.
    pub fn replace(&self, files: &Overrides) -> Result<(), TlsError> {
        self.live.replace(files, |reader| self.config(reader))?;
        self.tell();
        Ok(())
    }

    /// Says what there is to say of what is in use now. At a start and a reload, [`check`] has.
    fn tell(&self) {
        let Some(loaded) = self.live.current() else {
            return;
        };
        for remark in &loaded.remarks {
            tracing::warn!("{}; {}", remark.message, remark.mend);
        }
    }

    /// The handshake with a client.
    ///
    /// # Errors
    /// It failed, or the client left.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let loaded = self
            .live
            .current()
            .ok_or_else(|| io::Error::other("no certificate was loaded"))?;
        let mut start = LazyConfigAcceptor::new(Default::default(), stream).await?;
        let Some(entry) = loaded.certificates.for_hello(&start.client_hello()) else {
            // Whether it arrives changes nothing.
            let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
            let _ = start.io.shutdown().await;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no certificate has the name that is asked for",
            ));
        };
        let ours = entry.known.clone();
        let clients = entry.clients.clone();
        let stream = start.into_stream(Arc::clone(&entry.config)).await?;
        Ok(Accepted {
            stream,
            ours,
            clients,
        })
    }

    fn config(&self, reader: &mut Reader<'_>) -> Result<Loaded, TlsError> {
        let mut wrong = Vec::new();
        let loaded = self.made(reader, &mut wrong);
        match wrong.into_iter().next() {
            None => Ok(loaded),
            Some(first) => Err(first),
        }
    }

    /// What is made of its files. Goes on after what is `wrong`, and is of no use then.
    fn made(&self, reader: &mut Reader<'_>, wrong: &mut Vec<TlsError>) -> Loaded {
        let mut entries = Vec::new();
        let mut expiries = Expiries::new();
        let mut remarks = Vec::new();
        // Options that certificates have in common are made once.
        let mut kinds: Vec<(BindOptions, Option<Terms>)> = Vec::new();
        let mut trusts = Vec::new();
        // Which options are the same is no matter of where certificates are.
        let bind = BindOptions {
            certificates: Certificates::default(),
            lists: Vec::new(),
            ..self.options.clone()
        };
        let issuers = Issuers::read(bind.issuers.as_deref(), bind.skip_self_issued, reader);
        let issuers = kept(issuers, wrong).unwrap_or_default();
        let listed = kept(self.listed(reader), wrong).unwrap_or_default();
        for listed in listed {
            let options = listed.options(&bind);
            let terms = match kinds.iter().position(|(known, _)| *known == options) {
                Some(at) => at,
                None => {
                    let made = self.terms(&options, reader, &mut trusts, wrong);
                    kinds.push((options, made));
                    kinds.len() - 1
                }
            };
            let certificate = Certificate::load(&listed.files, &issuers, reader);
            let Some(certificate) = kept(certificate, wrong) else {
                continue;
            };
            let Some((config, clients)) = &kinds[terms].1 else {
                continue;
            };
            expiries.push((listed.files.cert.clone(), certificate.expires()));
            let mut config = config.clone();
            config.cert_resolver = certificate.served();
            let Certificate {
                certified,
                names,
                remarks: of_it,
                ..
            } = certificate;
            remarks.extend(of_it);
            let filters = listed.line.map(|(_, line)| line.filters);
            let filters = filters.filter(|filters| !filters.is_empty());
            let filters = filters.map(|filters| {
                let lower = filters.iter().map(|name| name.to_ascii_lowercase());
                lower.collect()
            });
            entries.push(Entry {
                known: ClientCertificate::read(&certified.cert).map(Arc::new),
                certified,
                config: Arc::new(config),
                clients: clients.clone(),
                names: filters.unwrap_or(names),
                terms,
            });
        }
        if wrong.is_empty() {
            self.forget_tickets(&trusts);
        }
        Loaded {
            certificates: Resolver::new(entries, self.options.strict_sni),
            expiries,
            remarks,
        }
    }

    /// What certificates with these options are served by, and whose certificates of clients are taken then. Notes the files
    /// of those. `None` if something is wrong.
    fn terms(
        &self,
        options: &BindOptions,
        reader: &mut Reader<'_>,
        trusts: &mut Vec<Vec<u8>>,
        wrong: &mut Vec<TlsError>,
    ) -> Option<Terms> {
        let provider = kept(options.policy.provider(), wrong)?;
        let mut trust = Vec::new();
        let clients = match options.client_auth {
            ClientAuth::None => Some(None),
            ClientAuth::Optional | ClientAuth::Required => {
                clients(options, reader, &provider, &mut trust, wrong).map(Some)
            }
        };
        let ticketer: Option<Option<Arc<dyn ProducesTickets>>> = match &options.tickets {
            TicketKeys::Own => {
                // Before the CA's file can be read it is not known whose they are.
                let keys = clients.as_ref().map(|_| self.ticketer(trust.clone()));
                keys.and_then(|keys| kept(keys, wrong))
                    .map(|keys| Some(keys as _))
            }
            TicketKeys::File(path) => {
                let given = reader.read(path).and_then(|text| {
                    let given = Given::read(&String::from_utf8_lossy(&text), &trust);
                    given.map_err(|why| TlsError::TicketKeys {
                        path: path.clone(),
                        why,
                    })
                });
                kept(given, wrong).map(|given| Some(Arc::new(given) as _))
            }
            TicketKeys::None => Some(None),
        };
        let (clients, ticketer) = (clients?, ticketer?);
        let verifier: Arc<dyn ClientCertVerifier> = match &clients {
            Some(clients) => Arc::clone(clients) as _,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = kept(builder(options, provider), wrong)?
            .with_client_cert_verifier(verifier)
            // Each certificate brings its own.
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        config.alpn_protocols = options
            .alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        config.ignore_client_order = options.policy.orders() && !options.client_order;
        config.session_storage = match &ticketer {
            // Tickets alone: a cache is a lock that all workers share.
            Some(_) => Arc::new(NoServerSessionStorage {}),
            None => ServerSessionMemoryCache::new(KEPT_SESSIONS),
        };
        if let Some(ticketer) = ticketer {
            config.ticketer = ticketer;
        }
        if options.tickets == TicketKeys::Own {
            trusts.push(trust);
        }
        Some((config, clients))
    }

    /// The keys of tickets of those whose clients are trusted for this.
    fn ticketer(&self, client_ca: Vec<u8>) -> Result<Arc<Tickets>, TlsError> {
        let mut all = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticketer) = all.iter().find(|t| t.client_ca == client_ca) {
            return Ok(Arc::clone(&ticketer.tickets));
        }
        let none = || TlsError::Library("there are no random numbers to be had".to_owned());
        let tickets = Arc::new(Tickets::new().ok_or_else(none)?);
        all.push(Ticketer {
            client_ca,
            tickets: Arc::clone(&tickets),
        });
        Ok(tickets)
    }

    /// Those of whom nobody is of these are forgotten.
    fn forget_tickets(&self, trusts: &[Vec<u8>]) {
        let mut all = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|ticketer| trusts.contains(&ticketer.client_ca));
    }

    /// What of it the files do not say.
    pub fn carried(&self) -> CarriedTls {
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tickets = tickets
            .iter()
            .map(|t| (t.client_ca.clone(), t.tickets.carried()));
        let exchanged = self.live.exchanged().into_iter();
        CarriedTls {
            options: format!("{:?}", self.options),
            exchanged: exchanged
                .map(|(path, stamp, bytes)| (path, stamp, Secret(bytes)))
                .collect(),
            tickets: tickets.next(),
            more_tickets: tickets.collect(),
            list: self.listed_otherwise(),
        }
    }

    /// Goes on as the process did whose place this one takes: by its tickets, if they say the same here, and with what was
    /// exchanged, of files that have not changed since.
    ///
    /// # Errors
    /// What cannot be used any more.
    pub fn take(&self, carried: &CarriedTls) -> Result<(), TlsError> {
        let mut files = Overrides::new();
        for (path, stamp, bytes) in &carried.exchanged {
            let is_added = carried.list.added.contains(path) && Stamp::of(path) == *stamp;
            if is_added || self.live.is_as(path, *stamp) {
                files.insert(path.clone(), bytes.0.clone());
            } else {
                tracing::warn!(
                    "what was exchanged for {} over the admin socket is left out: the file has changed, or is used no more",
                    path.display()
                );
            }
        }
        if carried.list != self.listed_otherwise() {
            self.list_as(&carried.list, &files)?;
        } else if !files.is_empty() && self.live.differs(&files) {
            self.replace(&files)?;
        }
        if carried.options != format!("{:?}", self.options) {
            return Ok(());
        }
        let tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        for (client_ca, keys) in carried.tickets.iter().chain(&carried.more_tickets) {
            if let Some(known) = tickets.iter().find(|t| t.client_ca == *client_ca) {
                known.tickets.take(keys);
            }
        }
        Ok(())
    }
}

/// Reads what `options` names as [`Acceptor::load`] would, and says all that is wrong, and what else there is to say.
pub fn check(options: &BindOptions) -> Checked {
    let mut reader = Reader::default();
    let mut errors = Vec::new();
    let acceptor = Acceptor::new(options.clone());
    let loaded = acceptor.made(&mut reader, &mut errors);
    let mut remarks = options.policy.remarks();
    remarks.extend(loaded.remarks);
    Checked { remarks, errors }
}

/// Whether `pem` is a certificate with its key, which could be served.
///
/// # Errors
/// Why not.
pub fn try_pem(path: &Path, pem: &[u8]) -> Result<(), TlsError> {
    let overrides = Overrides::from([(path.to_owned(), pem.to_vec())]);
    let mut reader = Reader {
        overrides: Some(&overrides),
        seen: Vec::new(),
    };
    let files = CertificateFiles {
        cert: path.to_owned(),
        key: None,
        ocsp: None,
    };
    Certificate::load(&files, &Issuers::default(), &mut reader).map(drop)
}

/// The library's versions from one to another.
pub(super) fn versions(min: Version, max: Version) -> Vec<&'static SupportedProtocolVersion> {
    [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, version)| version)
        .collect()
}

fn builder(
    options: &BindOptions,
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError> {
    let versions = versions(
        options.min_version.unwrap_or(Version::Tls12),
        options.max_version.unwrap_or(Version::Tls13),
    );
    if versions.is_empty() {
        return Err(TlsError::NoVersion);
    }
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::Library(error.to_string()))
}
