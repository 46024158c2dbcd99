//! Backends that are named, and those that nobody names.

use std::collections::HashSet;

use super::{
    diagnostic::{Diagnostic, Severity},
    draft::{Draft, RuleDraft},
};
use crate::rules::{End, action::Target, suggest};

/// Backends that are named exist; those that exist are named.
pub(super) fn check(draft: &Draft, broken: bool, found: &mut Vec<Diagnostic>) {
    let names: HashSet<&str> = draft
        .backends
        .iter()
        .map(|b| b.name.value.as_str())
        .collect();
    let watched = draft
        .global
        .health_file
        .iter()
        .flat_map(|file| &file.backends);
    for (name, span) in watched.zip(&draft.places.health_backends) {
        if !broken && !names.contains(name.as_str()) {
            let mend = match suggest::nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name one that is below `backends`".to_owned(),
            };
            found
                .push(Diagnostic::error(*span, format!("there is no backend `{name}`")).mend(mend));
        }
    }
    let mut used = HashSet::new();
    for frontend in &draft.frontends {
        let rules = frontend
            .rules
            .iter()
            .filter_map(|rule| rule.use_backend.as_ref());
        for name in rules.chain(&frontend.default_backend) {
            used.insert(name.value.as_str());
            if names.contains(name.value.as_str()) {
                continue;
            }
            let mend = match suggest::nearest(&name.value, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "add it below `backends`: `{}: {{ servers: [ … ] }}`",
                    name.value
                ),
            };
            found.push(
                Diagnostic::error(name.span, format!("there is no backend `{}`", name.value))
                    .mend(mend),
            );
        }
        if !frontend.routes && frontend.stats.is_none() {
            found.push(
                Diagnostic::error(
                    frontend.name.span,
                    format!("frontend `{}` leads to no backend", frontend.name.value),
                )
                .mend("write `default_backend: NAME`"),
            );
        }
        if let Some((index, always)) = frontend.rules.iter().enumerate().find(|(_, rule)| {
            rule.rule.condition.is_none() && rule.rule.end.as_ref().is_some_and(End::is_for_all)
        }) && let Some(next) = frontend.rules.get(index + 1)
        {
            found.push(
                Diagnostic::warning(
                    next.span,
                    "no request comes to this rule: one above it always holds",
                )
                .also(always.span, "this one has no `if`")
                .mend("move the rule without `if` to the end, or write `default_backend` instead"),
            );
        }
    }
    if broken
        || found
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        // Who is not named may be meant by a name that is wrong.
        return;
    }
    let computes =
        |rule: &RuleDraft| matches!(rule.rule.end, Some(End::Backend(Target::Computed(_))));
    if draft
        .frontends
        .iter()
        .any(|frontend| frontend.rules.iter().any(computes))
    {
        return;
    }
    // One may be there for its checks alone.
    for backend in &draft.backends {
        let tracks = backend.servers.iter().filter_map(|s| s.track.as_ref());
        used.extend(tracks.filter_map(|track| Some(track.value.split_once('/')?.0)));
    }
    for backend in draft
        .backends
        .iter()
        .filter(|b| !used.contains(b.name.value.as_str()))
    {
        found.push(
            Diagnostic::warning(
                backend.name.span,
                format!("no frontend uses the backend `{}`", backend.name.value),
            )
            .mend("name it in a `default_backend` or a rule, or remove it"),
        );
    }
}
