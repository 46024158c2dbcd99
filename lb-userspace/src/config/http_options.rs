//! `restrict_header_names`, `ignore_probes`, `pretend_keep_alive`: options of mode http.

use super::{
    decode::Decoder,
    model::{HeaderNames, HttpOptions, Mode},
    source::{Span, Spanned},
    table::Table,
    timeouts::Owner,
};

/// What a section says of them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct HttpOptionsDraft {
    names: Option<Spanned<HeaderNames>>,
    ignore_probes: Option<Spanned<bool>>,
    pretend_keep_alive: Option<Spanned<bool>>,
}

/// Reads those that its kind of section has.
pub(super) fn decode(d: &mut Decoder<'_>, table: &mut Table<'_>, owner: Owner) -> HttpOptionsDraft {
    let mut flag = |d: &mut Decoder<'_>, key: &'static str| {
        let e = table.take(key)?;
        let on = d.boolean(&e.value, &format!("`{key}`"))?;
        Some(Spanned::new(on, e.key_span))
    };
    let ignore_probes = match owner {
        Owner::Backend => None,
        Owner::Frontend | Owner::Defaults => flag(d, "ignore_probes"),
    };
    let pretend_keep_alive = match owner {
        Owner::Frontend => None,
        Owner::Backend | Owner::Defaults => flag(d, "pretend_keep_alive"),
    };
    let names = table.take("restrict_header_names").and_then(|e| {
        let choices = [
            ("preserve", HeaderNames::Preserve),
            ("delete", HeaderNames::Delete),
            ("reject", HeaderNames::Reject),
        ];
        let names = d.choice(&e.value, "`restrict_header_names`", &choices, &[])?;
        Some(Spanned::new(names, e.key_span))
    });
    HttpOptionsDraft {
        names,
        ignore_probes,
        pretend_keep_alive,
    }
}

impl HttpOptionsDraft {
    /// Where keys stand, all of which are about requests.
    pub(super) fn places(&self) -> impl Iterator<Item = (Span, &'static str)> {
        let names = self.names.map(|key| (key.span, "restrict_header_names"));
        let probes = self.ignore_probes.map(|key| (key.span, "ignore_probes"));
        let pretend = self.pretend_keep_alive;
        let pretend = pretend.map(|key| (key.span, "pretend_keep_alive"));
        names.into_iter().chain(probes).chain(pretend)
    }

    /// A section's own, else what `defaults` say.
    pub(super) fn resolve(&self, defaults: &Self, mode: Mode) -> HttpOptions {
        if mode != Mode::Http {
            return HttpOptions::default();
        }
        let flag = |own: Option<Spanned<bool>>, inherited: Option<Spanned<bool>>| {
            own.or(inherited).is_some_and(|on| on.value)
        };
        HttpOptions {
            names: self
                .names
                .or(defaults.names)
                .map(|names| names.value)
                .unwrap_or_default(),
            ignore_probes: flag(self.ignore_probes, defaults.ignore_probes),
            pretend_keep_alive: flag(self.pretend_keep_alive, defaults.pretend_keep_alive),
        }
    }
}
