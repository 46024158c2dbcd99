//! TLS towards clients: what a bind serves them with.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    certificate::Certificate,
    error::{Remark, TlsError},
    files::{self, Overrides, Reader},
    listed::{CarriedList, Changes},
    live::Live,
    options::{BindOptions, CertificateFiles, ClientAuth, Version},
    resolver::Resolver,
    tickets::{CarriedKeys, Secret, Tickets},
    trust::Clients,
};
use crate::watched::Stamp;

/// The TLS of one bind, shared by all workers.
#[derive(Debug)]
pub struct Acceptor {
    options: BindOptions,
    live: Live<Loaded>,
    tickets: Mutex<Option<Ticketer>>,
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
    config: Arc<ServerConfig>,
    expiries: Expiries,
}

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
            tickets: Mutex::new(None),
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
        self.live.follow(|reader| self.config(reader))
    }

    /// Whether `path` is one of its files.
    pub fn uses(&self, path: &Path) -> bool {
        self.live.uses(path)
    }

    /// The files of its certificates.
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        let files = self.listed(&mut Reader::default());
        let files = files.unwrap_or_default().into_iter();
        files.map(|files| files.cert).collect()
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

    /// What stands for which file if `pem` is to stand for the certificate in `file`: a key that comes along takes the
    /// place of the old one wherever that is, and without one the old key stays.
    pub fn stage(&self, file: &Path, pem: &[u8]) -> Overrides {
        let separate = self
            .listed(&mut Reader::default())
            .unwrap_or_default()
            .into_iter()
            .find(|files| files.cert == file)
            .and_then(|files| files.key);
        let mut bytes = pem.to_vec();
        let has_key = !matches!(files::key(file, pem), Ok(None));
        let mut staged = Overrides::new();
        match separate {
            Some(key) if has_key => drop(staged.insert(key, bytes.clone())),
            None if !has_key => {
                if let Some(key) = self
                    .live
                    .bytes(file)
                    .ok()
                    .as_deref()
                    .and_then(files::key_text)
                {
                    bytes.push(b'\n');
                    bytes.extend_from_slice(key);
                }
            }
            _ => {}
        }
        staged.insert(file.to_owned(), bytes);
        staged
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
        self.live.replace(files, |reader| self.config(reader))
    }

    /// The handshake with a client.
    ///
    /// # Errors
    /// It failed, or the client left.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let loaded = self
            .live
            .current()
            .ok_or_else(|| io::Error::other("no certificate was loaded"))?;
        TlsAcceptor::from(Arc::clone(&loaded.config))
            .accept(stream)
            .await
    }

    fn config(&self, reader: &mut Reader<'_>) -> Result<Loaded, TlsError> {
        let (certificates, expiries) = certificates(self.listed(reader)?, reader)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut client_ca = Vec::new();
        let verifier = match (&self.options.client_ca, self.options.client_auth) {
            (Some(path), auth @ (ClientAuth::Optional | ClientAuth::Required)) => {
                client_ca = reader.read(path)?;
                let builder = WebPkiClientVerifier::builder_with_provider(
                    roots(path, &client_ca)?,
                    Arc::clone(&provider),
                );
                let builder = match auth {
                    ClientAuth::Required => builder,
                    _ => builder.allow_unauthenticated(),
                };
                let chains = builder
                    .build()
                    .map_err(|error| TlsError::Library(error.to_string()))?;
                Arc::new(Clients::new(chains, files::chain(path, &client_ca)?))
            }
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = builder(&self.options, provider)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver::new(&certificates)));
        config.alpn_protocols = self
            .options
            .alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        // Tickets alone: a cache would be a lock that all workers share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.ticketer(client_ca)?;
        Ok(Loaded {
            config: Arc::new(config),
            expiries,
        })
    }

    fn ticketer(&self, client_ca: Vec<u8>) -> Result<Arc<Tickets>, TlsError> {
        let mut ticketer = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticketer) = ticketer.as_ref().filter(|t| t.client_ca == client_ca) {
            return Ok(Arc::clone(&ticketer.tickets));
        }
        let none = || TlsError::Library("there are no random numbers to be had".to_owned());
        let tickets = Arc::new(Tickets::new().ok_or_else(none)?);
        *ticketer = Some(Ticketer {
            client_ca,
            tickets: Arc::clone(&tickets),
        });
        Ok(tickets)
    }

    /// What of it the files do not say.
    pub fn carried(&self) -> CarriedTls {
        let ticketer = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let ticketer = ticketer.as_ref();
        let exchanged = self.live.exchanged().into_iter();
        CarriedTls {
            options: format!("{:?}", self.options),
            exchanged: exchanged
                .map(|(path, stamp, bytes)| (path, stamp, Secret(bytes)))
                .collect(),
            tickets: ticketer.map(|t| (t.client_ca.clone(), t.tickets.carried())),
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
        let ticketer = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(ticketer), Some((client_ca, keys))) = (&*ticketer, &carried.tickets)
            && ticketer.client_ca == *client_ca
            && carried.options == format!("{:?}", self.options)
        {
            ticketer.tickets.take(keys);
        }
        Ok(())
    }
}

/// Reads what `options` names as [`Acceptor::load`] would, and says what else there is to say.
///
/// # Errors
/// What is wrong.
pub fn check(options: &BindOptions) -> Result<Vec<Remark>, TlsError> {
    let mut reader = Reader::default();
    let now = SystemTime::now();
    let mut remarks = Vec::new();
    for files in reader.certificates(&options.certificates)? {
        let certificate = Certificate::load(&files, &mut reader)?;
        remarks.extend(certificate.remark(&files.cert, now));
    }
    Acceptor::new(options.clone()).load()?;
    Ok(remarks)
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
    Certificate::load(&files, &mut reader).map(drop)
}

fn certificates(
    files: Vec<CertificateFiles>,
    reader: &mut Reader<'_>,
) -> Result<(Vec<Certificate>, Expiries), TlsError> {
    let loaded = files.iter().map(|files| Certificate::load(files, reader));
    let loaded: Vec<Certificate> = loaded.collect::<Result<_, _>>()?;
    let names = files.iter().map(|files| files.cert.clone());
    let expiries = names.zip(loaded.iter().map(Certificate::expires)).collect();
    Ok((loaded, expiries))
}

fn builder(
    options: &BindOptions,
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError> {
    let versions: Vec<_> = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (options.min_version..=options.max_version).contains(version))
        .map(|(_, version)| version)
        .collect();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::Library(error.to_string()))
}

/// The CAs in a file.
pub(super) fn roots(path: &Path, pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in files::chain(path, pem)? {
        roots.add(certificate).map_err(|error| TlsError::Broken {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(Arc::new(roots))
}
