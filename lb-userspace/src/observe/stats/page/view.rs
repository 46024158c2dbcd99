//! What a reader of the page has asked for by its address.

use crate::topology::STATIC_WEIGHTS;

/// What the reader wants to see. The default is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// `;norefresh`: once.
    pub once: bool,
    /// `;live`: only what changes.
    pub live: bool,
    /// `;up`: no servers that are down.
    pub up: bool,
    /// `;no-maint`: no servers in maintenance.
    pub no_maint: bool,
    /// `;scope=` or `?scope=`: proxies with this in their names.
    pub scope: Option<String>,
    /// `;st=`: what has become of a change.
    pub told: Option<Told>,
}

/// What has become of a change of servers, as HAProxy says it in the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All of it was done.
    Done,
    /// Some of the servers do not exist.
    Partly,
    /// Some of the servers, or all, keep their weight, since their algorithm follows no other.
    Fixed,
    /// It was so already.
    Nothing,
    /// It was no change that could be understood.
    Unclear,
    /// It was too long.
    TooLong,
    /// Whoever asked for it may not.
    Denied,
}

impl Told {
    /// As it is written behind `;st=`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Partly => "PART",
            Self::Fixed => "FIXD",
            Self::Nothing => "NONE",
            Self::Unclear => "ERRP",
            Self::TooLong => "EXCD",
            Self::Denied => "DENY",
        }
    }

    fn of(code: &str) -> Option<Self> {
        let all = [
            Self::Done,
            Self::Partly,
            Self::Fixed,
            Self::Nothing,
            Self::Unclear,
            Self::TooLong,
            Self::Denied,
        ];
        all.into_iter().find(|told| told.code() == code)
    }

    pub(super) const fn is_good(self) -> bool {
        matches!(self, Self::Done | Self::Nothing)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Done => "Done.",
            Self::Partly => "Done for some servers; the others do not exist any more.",
            Self::Fixed => STATIC_WEIGHTS,
            Self::Nothing => "Nothing has changed: it was so already, or no server was chosen.",
            Self::Unclear => {
                "Not done: the backend is unknown, or the action or the weight is none."
            }
            Self::TooLong => "Not done: too much at a time. Choose fewer servers.",
            Self::Denied => {
                "Denied. Changes are not allowed here, or the page was out of date: look at it anew and try again."
            }
        }
    }
}

impl View {
    /// Takes an option, one of those between `;`.
    pub fn option(&mut self, option: &str) {
        match option {
            "norefresh" => self.once = true,
            "live" => self.live = true,
            "up" => self.up = true,
            "no-maint" => self.no_maint = true,
            _ => {
                if let Some(scope) = option.strip_prefix("scope=") {
                    self.set_scope(scope);
                } else if let Some(code) = option.strip_prefix("st=") {
                    self.told = Told::of(code);
                }
            }
        }
    }

    /// Takes a query.
    pub fn query(&mut self, query: &str) {
        for (name, value) in super::super::form::pairs(query.as_bytes()) {
            if name == "scope" {
                self.set_scope_text(value);
            }
        }
    }

    fn set_scope(&mut self, written: &str) {
        let pair = format!("scope={written}");
        if let Some((_, value)) = super::super::form::pairs(pair.as_bytes()).next() {
            self.set_scope_text(value);
        }
    }

    fn set_scope_text(&mut self, text: String) {
        self.scope = Some(text).filter(|text| !text.is_empty());
    }

    /// The same at `uri` with another option, without what was told once.
    pub fn link(&self, uri: &str, option: &str) -> String {
        let mut link = uri.to_owned();
        for (on, name) in [(self.up, ";up"), (self.no_maint, ";no-maint")] {
            if on {
                link.push_str(name);
            }
        }
        if let Some(scope) = &self.scope {
            link.push_str(";scope=");
            link.push_str(&super::super::form::escaped(scope));
        }
        link + option
    }

    /// Whether a proxy is wanted.
    pub(super) fn wants_proxy(&self, name: &str) -> bool {
        let name = || name.to_lowercase();
        let scope = self.scope.as_ref();
        scope.is_none_or(|scope| name().contains(&scope.to_lowercase()))
    }

    /// Whether a server in this state is wanted.
    pub(super) fn wants_server(&self, status: &str) -> bool {
        !(self.up && status.starts_with("DOWN") || self.no_maint && status.starts_with("MAINT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_kept_in_links_but_for_what_was_told() {
        let mut view = View::default();
        for option in ["up", "scope=a%26b", "st=DONE", "nonsense"] {
            view.option(option);
        }
        assert_eq!(view.told, Some(Told::Done));
        assert_eq!(view.scope.as_deref(), Some("a&b"));
        assert_eq!(view.link("/stats", ";live"), "/stats;up;scope=a%26b;live");
        assert!(view.wants_proxy("xA&By") && !view.wants_proxy("ab"));
        assert!(view.wants_server("MAINT") && !view.wants_server("DOWN 1/2"));
    }
}
