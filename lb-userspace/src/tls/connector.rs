//! TLS towards servers.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use rustls::{
    ClientConfig, Error as LibraryError, RootCertStore,
    client::{Resumption, Tls12Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName as Name},
    sign::SingleCertAndKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    acceptor::versions,
    certificate::Certificate,
    client_auth::roots,
    error::{Checked, TlsError, kept},
    files::{self, Overrides, Reader},
    issuers::Issuers,
    live::Live,
    options::{ServerName, ServerOptions},
    revocation::Revocations,
    trust::{Anybody, Plain, Servers},
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

    /// Its files that there are.
    pub fn files(&self) -> Vec<PathBuf> {
        self.live.files()
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
        let mut wrong = Vec::new();
        let made = self.made(reader, &mut wrong);
        let first = wrong.into_iter().next();
        // There is none only if something is wrong.
        made.ok_or_else(|| first.unwrap_or(TlsError::NoVersion))
    }

    /// What is made of its files; `None` if something is `wrong`.
    fn made(&self, reader: &mut Reader<'_>, wrong: &mut Vec<TlsError>) -> Option<ClientConfig> {
        let options = &self.options;
        let library = |error: LibraryError| TlsError::Library(error.to_string());
        let provider = kept(options.policy.provider(), wrong)?;
        let verifier: Option<Arc<dyn ServerCertVerifier>> = match options.verify {
            false => Some(Arc::new(Anybody::new(Arc::clone(&provider)))),
            true => {
                servers(options, reader, &provider, wrong).map(|servers| Arc::new(servers) as _)
            }
        };
        let shown = options.client_cert.as_ref().map(|files| {
            let certificate = Certificate::load(files, &Issuers::default(), reader);
            kept(certificate, wrong)
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(options.min_version, options.max_version))
            .map_err(library);
        let builder = kept(builder, wrong)?
            .dangerous()
            .with_custom_certificate_verifier(verifier?);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                SingleCertAndKey::from(certificate?.certified),
            )),
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
        Some(config)
    }
}

/// Reads what `options` names as [`Connector::load`] would, and says all that is wrong, and what else there is to say.
pub fn check(options: &ServerOptions) -> Checked {
    let mut errors = Vec::new();
    let connector = Connector::new(options.clone());
    connector.made(&mut Reader::default(), &mut errors);
    Checked {
        remarks: options.policy.remarks(),
        errors,
    }
}

/// Whose certificates are taken; `None` if something is wrong.
fn servers(
    options: &ServerOptions,
    reader: &mut Reader<'_>,
    provider: &Arc<CryptoProvider>,
    wrong: &mut Vec<TlsError>,
) -> Option<Servers> {
    let trusted = match &options.ca {
        Some(path) => reader.authorities(path).and_then(|pem| {
            let roots = roots(path, &pem)?;
            Ok((roots, files::chain(path, &pem)?))
        }),
        None => system_roots(),
    };
    let trusted = kept(trusted, wrong);
    let revoked = options.crl.as_ref().map(|path| {
        let read = reader.read(path);
        let read = read.and_then(|pem| Revocations::read(path, &pem, provider));
        kept(read, wrong)
    });
    let (roots, trusted) = trusted?;
    let mut chains = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
    let mut plain = None;
    let mut pinned = match options.ca {
        Some(_) => trusted.clone(),
        None => Vec::new(),
    };
    if let Some(revoked) = revoked {
        let revoked = revoked?;
        match revoked.of_profile() {
            // As OpenSSL has it, a list that should be there and is too old is no list.
            Some(lists) => chains = chains.with_crls(lists).enforce_revocation_expiration(),
            None => {
                plain = Some(Plain {
                    trusted,
                    lists: revoked.lists(),
                    provider: Arc::clone(provider),
                });
            }
        }
        pinned.clear();
    }
    let chains = chains
        .build()
        .map_err(|error| TlsError::Library(error.to_string()));
    let chains = kept(chains, wrong)?;
    Some(Servers::new(chains, pinned, options.any_name, plain))
}

/// Whom this host trusts. What of it cannot be read is left out, as everybody does.
fn system_roots() -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), TlsError> {
    let mut roots = RootCertStore::empty();
    let all = rustls_native_certs::load_native_certs().certs;
    roots.add_parsable_certificates(all.iter().cloned());
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok((Arc::new(roots), all)),
    }
}
