//! TLS on both sides: certificates from files to what rustls serves, and what a handshake has shown.
//!
//! Knows nothing of frontends, backends or the configuration's form, so that the file's reader can ask it whether a
//! certificate is good. An [`Acceptor`] belongs to a bind, a [`Connector`] to a server; both hold what was last read of
//! their files behind a pointer that is swapped when the files change, and what is bad is told and not taken.
//!
//! The cryptography is aws-lc-rs's, the protocol rustls's. What they lack on purpose (CBC, RSA key exchange, DHE,
//! versions before 1.2, encrypted keys) nothing here brings back.

mod acceptor;
mod certificate;
mod client_auth;
mod connector;
mod crt_list;
mod details;
mod error;
mod files;
mod issuers;
mod listed;
mod live;
mod ocsp;
mod options;
mod parts;
mod policy;
mod resolver;
mod revocation;
mod session;
mod tickets;
mod trust;
mod verdict;

pub use acceptor::{Accepted, Acceptor, CarriedTls, check as check_bind, try_pem};
pub use connector::{Connector, check as check_server};
pub use details::{describe, describe_each, describe_revoked};
pub use error::{Checked, Remark, TlsError};
pub use files::Overrides;
pub use listed::Shown;
pub use options::{
    BindOptions, CertificateFiles, CertificateList, Certificates, ClientAuth, ServerName,
    ServerOptions, TicketKeys, Version,
};
pub use parts::{Part, Parts};
pub use policy::{Policy, is_known as is_known_suite, names as names_of_suites};
pub use session::{ClientCertificate, Session};
pub use verdict::{Ignored, Verdict};

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
