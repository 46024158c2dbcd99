//! What the configuration says of TLS: plain data, read and compared without a file being opened.

use std::path::PathBuf;

/// `tls:` of a bind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindOptions {
    /// Where the certificates are.
    pub certificates: Certificates,
    /// Protocols offered by ALPN, the preferred ones first.
    pub alpn: Vec<String>,
    /// Oldest version taken.
    pub min_version: Version,
    /// Newest version taken.
    pub max_version: Version,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// Whose certificates of clients are taken.
    pub client_ca: Option<PathBuf>,
}

/// `certificates`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificates {
    /// These; the first one is for clients that name none of the others.
    Files(Vec<CertificateFiles>),
    /// One file with chain and key, or all in a folder, in the order of their names.
    Path(PathBuf),
}

/// A certificate's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// The chain, the server's own first.
    pub cert: PathBuf,
    /// The key; `None` if it is in the same file.
    pub key: Option<PathBuf>,
    /// An OCSP response in DER, sent along as it is.
    pub ocsp: Option<PathBuf>,
}

/// `min_version`, `max_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// `client_auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// Nobody is asked.
    None,
    /// Who shows a certificate must show a good one.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// `tls:` of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerOptions {
    /// Whether its certificate is verified.
    pub verify: bool,
    /// Who may have signed it; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// The name that it is asked for and verified by.
    pub name: ServerName,
    /// Protocols offered by ALPN.
    pub alpn: Vec<String>,
    /// The certificate that we show.
    pub client_cert: Option<CertificateFiles>,
    /// Oldest version spoken.
    pub min_version: Version,
    /// Newest version spoken.
    pub max_version: Version,
}

impl Default for ServerOptions {
    /// `tls: true`.
    fn default() -> Self {
        Self {
            verify: true,
            ca: None,
            name: ServerName::Address,
            alpn: Vec::new(),
            client_cert: None,
            min_version: Version::Tls12,
            max_version: Version::Tls13,
        }
    }
}

/// `sni` of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// Its address, which is verified but not sent.
    Address,
    /// This one.
    Fixed(String),
    /// What whoever connects says: it depends on the client.
    OfClient,
}
