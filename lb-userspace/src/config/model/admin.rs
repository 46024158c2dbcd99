//! Where the daemon is spoken to, and where it says how it is: `global.admin_socket` and `global.health_file`.

use std::{path::PathBuf, time::Duration};

use super::{Address, Permissions};

/// What whoever speaks to an admin socket may do: HAProxy's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminLevel {
    /// See what is not sensitive.
    User,
    /// See everything, and change what is not sensitive.
    Operator,
    /// Do everything.
    Admin,
}

/// Where runtime commands are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    /// A path, or an address.
    pub address: Address,
    /// What whoever connects may do.
    pub level: AdminLevel,
    /// Of a file: the owner's alone unless it is said.
    pub permissions: Permissions,
}

/// `global.health_file:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFile {
    /// The file.
    pub path: PathBuf,
    /// Backends that must have a server up.
    pub backends: Vec<String>,
    /// How long a graceful stop lets nobody new in before the file says that it has failed: until what is short has ended.
    pub drain: Duration,
    /// How long a graceful stop goes on accepting after the file says that it has failed: until the address has left.
    pub linger: Duration,
}
