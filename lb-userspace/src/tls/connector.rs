//! TLS towards servers.

use std::{
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use rustls::{
    ClientConfig, Error as LibraryError, RootCertStore,
    client::{Resumption, Tls12Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::ServerName as Name,
    sign::SingleCertAndKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    acceptor::{roots, versions},
    certificate::Certificate,
    error::{Remark, TlsError},
    files::{self, Overrides, Reader},
    issuers::Issuers,
    live::Live,
    options::{ServerName, ServerOptions},
    trust::{Anybody, Servers},
};

/// The TLS to one server, shared by all workers and its health check.
#[derive(Debug)]
pub struct Connector {
    options: ServerOptions,
    live: Live<ClientConfig>,
    /// When it was last told that a handshake had failed, in minutes since 1970.
    told: AtomicU64,
}

impl Connector {
    /// Reaches nobody until it is [loaded](Self::load).
    pub fn new(options: ServerOptions) -> Self {
        Self {
            options,
            live: Live::new(),
            told: AtomicU64::new(0),
        }
    }

    /// Whether it is to be told that a handshake has failed: once in a minute, for each request that fails would have it told.
    pub fn tells(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs() / 60);
        self.told.swap(now, Relaxed) != now
    }

    /// What the file says of it.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Whether it has read its files.
    pub fn is_loaded(&self) -> bool {
        self.live.current().is_some()
    }

    /// Whether it could read its files again.
    ///
    /// # Errors
    /// Why not.
    pub fn try_out(&self) -> Result<(), TlsError> {
        self.live
            .try_out(&Overrides::default(), |reader| self.config(reader))
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

    /// Reads its files again if they have changed.
    pub fn follow(&self) -> Option<Result<(), TlsError>> {
        self.live.follow(|reader| self.config(reader))
    }

    /// What it reads for one of its files now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, file: &Path) -> Result<Vec<u8>, TlsError> {
        self.live.bytes(file)
    }

    /// Whether a connection depends on the name that is said for its client.
    pub fn wants_host(&self) -> bool {
        self.options.name == ServerName::OfClient
    }

    /// The handshake with the server at `address`, by the name that the file gives, else `host`, else the address. Of the
    /// protocols that are offered it is HTTP/1 alone if that is what is wanted.
    ///
    /// # Errors
    /// It failed: the certificate is not trusted, or not that server's, or it speaks no TLS.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: IpAddr,
        host: Option<&str>,
        http_1: bool,
    ) -> io::Result<TlsStream<S>> {
        let config = self
            .live
            .current()
            .ok_or_else(|| io::Error::other("TLS to this server was not set up"))?;
        let name = match &self.options.name {
            ServerName::Fixed(name) => Some(name.as_str()),
            ServerName::OfClient => host,
            ServerName::Address => None,
        };
        let name = name
            .and_then(|name| Name::try_from(name.to_owned()).ok())
            .unwrap_or_else(|| Name::from(address));
        let asks = !config.alpn_protocols.is_empty();
        let connector = TlsConnector::from(config);
        if http_1 && asks {
            let only = connector.with_alpn(vec![b"http/1.1".to_vec()]);
            return only.connect(name, stream).await;
        }
        connector.connect(name, stream).await
    }

    fn config(&self, reader: &mut Reader<'_>) -> Result<ClientConfig, TlsError> {
        let options = &self.options;
        let library = |error: LibraryError| TlsError::Library(error.to_string());
        let provider = options.policy.provider()?;
        let verifier: Arc<dyn ServerCertVerifier> = match (options.verify, &options.ca) {
            (false, _) => Arc::new(Anybody::new(Arc::clone(&provider))),
            (true, ca) => {
                let (roots, pinned) = match ca {
                    Some(path) => {
                        let pem = reader.authorities(path)?;
                        (roots(path, &pem)?, files::chain(path, &pem)?)
                    }
                    None => (system_roots()?, Vec::new()),
                };
                let mut chains =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                let mut pinned = pinned;
                if let Some(path) = &options.crl {
                    // As OpenSSL has it, a list that should be there and is too old is no list.
                    let revoked = files::revoked(path, &reader.read(path)?)?;
                    chains = chains.with_crls(revoked).enforce_revocation_expiration();
                    pinned.clear();
                }
                let chains = chains
                    .build()
                    .map_err(|error| TlsError::Library(error.to_string()))?;
                Arc::new(Servers::new(chains, pinned, options.any_name))
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(options.min_version, options.max_version))
            .map_err(library)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.client_cert {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let certificate = Certificate::load(files, &Issuers::default(), reader)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                    certificate.certified,
                )))
            }
        };
        config.resumption = match (options.resume, options.tickets) {
            (false, _) => Resumption::disabled(),
            (true, true) => Resumption::default(),
            (true, false) => Resumption::default().tls12_resumption(Tls12Resumption::SessionIdOnly),
        };
        config.alpn_protocols = options
            .alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Ok(config)
    }
}

/// Reads what `options` names as [`Connector::load`] would, and says what else there is to say.
///
/// # Errors
/// What is wrong.
pub fn check(options: &ServerOptions) -> Result<Vec<Remark>, TlsError> {
    Connector::new(options.clone()).load()?;
    Ok(options.policy.remarks())
}

/// Whom this host trusts. What of it cannot be read is left out, as everybody does.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(Arc::new(roots)),
    }
}
