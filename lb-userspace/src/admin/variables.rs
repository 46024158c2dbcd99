//! HAProxy's runtime commands about variables of the process.

use std::net::IpAddr;

use super::level::DENIED;
use crate::{
    rules::{Expr, Registry, Template, Value, Var, out_of_nowhere},
    topology::Topology,
};

/// The answer to a command about variables; `None` if it is none.
pub(super) fn answer(
    topology: &Topology,
    words: &[&str],
    experimental: bool,
) -> Option<Result<String, String>> {
    match *words {
        ["get", "var", ref rest @ ..] => Some(get(topology, rest)),
        ["set", "var", ..] if !experimental => Some(Err(RESTRICTED.to_owned())),
        ["set", "var", ref rest @ ..] => Some(set(topology, rest)),
        _ => None,
    }
}

/// Whether HAProxy ends an answer with its line alone: a value, and why there is none.
pub(super) fn is_bare(words: &[&str], said: &str) -> bool {
    match words {
        ["get", "var", ..] => said.starts_with("proc."),
        ["set", "var", ..] => {
            !said.is_empty() && !said.starts_with(MISSING) && ![RESTRICTED, DENIED].contains(&said)
        }
        _ => false,
    }
}

const MISSING: &str = "Missing ";
const RESTRICTED: &str = "This command is restricted to experimental mode only.";

/// Where no variable is named.
const UNNAMED: &str = "Missing process-wide variable identifier.";

/// `get var proc.NAME`
fn get(topology: &Topology, words: &[&str]) -> Result<String, String> {
    let name = words.first().ok_or(UNNAMED)?;
    let value = name
        .strip_prefix("proc.")
        .and_then(|name| topology.variables.get(name))
        .ok_or("Variable not found.")?;
    let kind = match &value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "sint",
        Value::Ip(IpAddr::V4(_)) => "ipv4",
        Value::Ip(IpAddr::V6(_)) => "ipv6",
        Value::Str(_) => "str",
        Value::Bin(_) => "bin",
    };
    let text = value.into_text();
    let text = String::from_utf8_lossy(&text);
    Ok(format!("{name}: type={kind} value=<{text}>\n"))
}

/// `set var proc.NAME [expr] EXPRESSION`, `set var proc.NAME fmt FORMAT`
fn set(topology: &Topology, words: &[&str]) -> Result<String, String> {
    let (name, rest) = words.split_first().ok_or(UNNAMED)?;
    let mut registry = Registry::without_files();
    let told = |problem: crate::rules::Problem| problem.message;
    let text = match *rest {
        [] => return Err("Missing either 'expr', 'fmt' or expression.".to_owned()),
        [expression] | ["expr", expression, ..] => {
            Template::of(Expr::parse(expression, &mut registry).map_err(told)?)
        }
        ["fmt", format, ..] => Template::parse(format, &mut registry).map_err(told)?,
        [other, ..] => {
            return Err(format!(
                "'set var': arg type must be either 'expr' or 'fmt' but got '{other}'."
            ));
        }
    };
    if !text.expressions().all(Expr::is_of_process) {
        return Err("it asks for a connection, of which there is none here".to_owned());
    }
    let Var::Process(_) = registry.var(name).map_err(told)? else {
        return Err(format!(
            "'set var': cannot set variable '{name}', only scope 'proc' is permitted here."
        ));
    };
    topology.variables.bind(&registry.process().named);
    if let (Some(value), Some((_, name))) = (out_of_nowhere(&text), name.split_once('.')) {
        topology.variables.set(name, value);
    }
    Ok(String::new())
}
