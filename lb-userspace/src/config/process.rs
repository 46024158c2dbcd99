//! `global.set_var`: what variables of the process are before any connection comes.

use super::{decode::Decoder, source::Span, tree::Entry};
use crate::rules::{Template, Var};

/// `{ proc.NAME: VALUE }`, set in the order of the file.
pub(super) fn decode(d: &mut Decoder<'_>, entry: &Entry) {
    let Some(vars) = d.table(&entry.value, entry.key_span, "`set_var`") else {
        return;
    };
    for var in vars.entries() {
        let Some(value) = d.template(&var.value, "the variable") else {
            continue;
        };
        is_of_process(d, &value, var.value.span);
        match d.registry.var(&var.key) {
            Ok(named @ Var::Process(_)) => d.registry.set_first(named, value),
            Ok(Var::Own(_)) => {
                let message = format!(
                    "`{}` belongs to a connection, of which there is none yet",
                    var.key
                );
                d.error(
                    var.key_span,
                    message,
                    "write `proc.` before its name, or set it by a rule",
                );
            }
            Err(problem) => d.wrong(var.key_span, problem),
        }
    }
}

fn is_of_process(d: &mut Decoder<'_>, value: &Template, span: Span) {
    if !value.expressions().all(|expr| expr.is_of_process()) {
        let message = "this asks for a connection or a request, of which there is none yet";
        d.error(span, message, "write a constant, `env(…)` or `var(proc.…)`");
    }
}
