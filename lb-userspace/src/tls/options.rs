//! What the configuration says of TLS: plain data, read and compared without a file being opened.

use std::path::PathBuf;

use super::{policy::Policy, verdict::Ignored};

/// `tls:` of a bind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BindOptions {
    /// Where the certificates are.
    pub certificates: Certificates,
    /// Lists of further certificates, each line with names that it is for and options of its own.
    pub lists: Vec<CertificateList>,
    /// Who asks for a name that no certificate has, or for none, is refused.
    pub strict_sni: bool,
    /// A folder of chains for certificates that come without one.
    pub issuers: Option<PathBuf>,
    /// CAs that have signed themselves are not sent along.
    pub skip_self_issued: bool,
    /// Protocols offered by ALPN, the preferred ones first.
    pub alpn: Vec<String>,
    /// Suites and curves.
    pub policy: Policy,
    /// Among suites that both know the client chooses, whatever their order here.
    pub client_order: bool,
    /// What clients go on with their sessions by.
    pub tickets: TicketKeys,
    /// Oldest version taken; `None`: TLS 1.2.
    pub min_version: Option<Version>,
    /// Newest version taken; `None`: TLS 1.3.
    pub max_version: Option<Version>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// Whose certificates of clients are taken.
    pub client_ca: Option<PathBuf>,
    /// Whose are taken besides, which clients are not told.
    pub client_ca_verify: Option<PathBuf>,
    /// Clients are not told whose are taken.
    pub no_ca_names: bool,
    /// Certificates that are taken no more.
    pub client_crl: Option<PathBuf>,
    /// What may be wrong with a client's certificate, and with those above it.
    pub ignored: [Ignored; 2],
}

/// `crt_list`: a file of HAProxy's, a certificate a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateList {
    /// The file.
    pub file: PathBuf,
    /// Where certificates are whose names in it do not begin with `/`; `None`: beside it.
    pub base: Option<PathBuf>,
    /// Where CAs and revocation lists are, likewise.
    pub ca_base: Option<PathBuf>,
}

/// `certificates`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Certificates {
    /// These; the first one is for clients that name none of the others.
    Files(Vec<CertificateFiles>),
    /// One file with chain and key, or all in a folder, in the order of their names.
    Path(PathBuf),
}

impl Default for Certificates {
    /// None.
    fn default() -> Self {
        Self::Files(Vec::new())
    }
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

impl Version {
    /// `TLSv1.2`, `TLSv1.3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// `tickets`, `ticket_keys`
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum TicketKeys {
    /// Keys that nobody else has.
    #[default]
    Own,
    /// Keys of a file, so that others have them, too.
    File(PathBuf),
    /// Sessions are kept here, and clients have their names alone.
    None,
}

/// `client_auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientAuth {
    /// Nobody is asked.
    #[default]
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
    /// Whatever name that is for.
    pub any_name: bool,
    /// Who may have signed it; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Certificates that are taken no more.
    pub crl: Option<PathBuf>,
    /// The name that it is asked for and verified by.
    pub name: ServerName,
    /// Protocols offered by ALPN.
    pub alpn: Vec<String>,
    /// Suites and curves.
    pub policy: Policy,
    /// Sessions are gone on with.
    pub resume: bool,
    /// By tickets, too, where TLS 1.2 has sessions without.
    pub tickets: bool,
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
            any_name: false,
            ca: None,
            crl: None,
            name: ServerName::Address,
            alpn: Vec::new(),
            policy: Policy::default(),
            resume: true,
            tickets: true,
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
