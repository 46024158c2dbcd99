//! `cookie:` of a backend.

use std::{fmt::Write, time::Duration};

/// `cookie:` of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cookie {
    /// The cookie's name.
    pub name: String,
    /// Who sets it.
    pub mode: CookieMode,
    /// Not shown to the server, and the server's own is not shown to the client.
    pub indirect: bool,
    /// Adds `Cache-Control: private` where a cache might keep the answer.
    pub nocache: bool,
    /// The server may set or remove it itself.
    pub preserve: bool,
    /// `HttpOnly`
    pub httponly: bool,
    /// `Secure`
    pub secure: bool,
    /// `SameSite`
    pub same_site: Option<SameSite>,
    /// Further attributes, as they stand in the field.
    pub attributes: Vec<String>,
    /// Only who sends a POST gets one.
    pub postonly: bool,
    /// `domain`, each as often as it is named.
    pub domains: Vec<String>,
    /// A cookie that was not used for so long is not looked at.
    pub maxidle: Option<Duration>,
    /// A cookie that was first set so long ago is not looked at.
    pub maxlife: Option<Duration>,
    /// Servers without a value of their own get one that is computed of this.
    pub dynamic_key: Option<String>,
    /// The key that operators may have that computed of.
    pub unused_key: Option<String>,
}

impl Cookie {
    /// Whether its value carries dates.
    pub fn is_dated(&self) -> bool {
        self.maxidle.is_some() || self.maxlife.is_some()
    }

    /// What follows `path=/` in a Set-Cookie, in HAProxy's order.
    pub fn attributes(&self) -> String {
        let mut text = String::new();
        for domain in &self.domains {
            // A String takes everything.
            let _ = write!(text, "; domain={domain}");
        }
        if self.httponly {
            text.push_str("; HttpOnly");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(same_site) = self.same_site {
            let _ = write!(text, "; SameSite={}", same_site.name());
        }
        for attribute in &self.attributes {
            let _ = write!(text, "; {attribute}");
        }
        text
    }
}

/// `mode` of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CookieMode {
    /// The balancer sets it.
    #[default]
    Insert,
    /// The server sets it, and the balancer replaces the value.
    Rewrite,
    /// The server sets it to what `cookie` of a server says, and the balancer only reads it.
    Passive,
    /// The server sets it, and the balancer puts its own value and `~` before the server's.
    Prefix,
}

/// `same_site`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Sent from other sites too; browsers want `Secure` with it.
    None,
    /// Sent when a link of another site is followed.
    Lax,
    /// Not sent from other sites.
    Strict,
}

impl SameSite {
    /// As browsers read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Lax => "Lax",
            Self::Strict => "Strict",
        }
    }
}
