//! What operators do to frontends and their limits.

use crate::{
    observe::stats::Sources,
    topology::{Frontend, Passage},
};
use std::sync::Arc;

/// The answer to a command about these; `None` if it is none.
pub(super) fn answer(sources: &Sources, words: &[&str]) -> Option<Result<String, String>> {
    Some(match *words {
        ["enable", "frontend", ref rest @ ..] => enable(sources, rest.first()),
        ["disable", "frontend", ref rest @ ..] => disable(sources, rest.first()),
        ["shutdown", "frontend", ref rest @ ..] => shut_down(sources, rest.first()),
        ["set", "maxconn", "frontend", ref rest @ ..] => set_maxconn(sources, rest),
        _ => return None,
    })
}

fn find(sources: &Sources, name: Option<&&str>) -> Result<Arc<Frontend>, String> {
    let name = name.ok_or("A frontend name is expected.")?;
    let topology = sources.topology();
    let found = topology.frontend(name).ok_or("No such frontend.")?;
    Ok(Arc::clone(found))
}

fn enable(sources: &Sources, name: Option<&&str>) -> Result<String, String> {
    let frontend = find(sources, name)?;
    match frontend.gate().passage() {
        Passage::Closed => Err("Frontend was previously shut down, cannot enable.".to_owned()),
        Passage::Open => Err("All sockets are already enabled.".to_owned()),
        Passage::Paused => {
            sources.topology().set_gate(&frontend, Passage::Open);
            tracing::warn!("Enabling proxy {} by the runtime socket", frontend.name);
            Ok(String::new())
        }
    }
}

fn disable(sources: &Sources, name: Option<&&str>) -> Result<String, String> {
    let frontend = find(sources, name)?;
    match frontend.gate().passage() {
        Passage::Closed => Err("Frontend was previously shut down, cannot disable.".to_owned()),
        Passage::Paused => Err("All sockets are already disabled.".to_owned()),
        Passage::Open => {
            sources.topology().set_gate(&frontend, Passage::Paused);
            tracing::warn!("Paused frontend {} by the runtime socket", frontend.name);
            Ok(String::new())
        }
    }
}

fn shut_down(sources: &Sources, name: Option<&&str>) -> Result<String, String> {
    let frontend = find(sources, name)?;
    if frontend.gate().passage() == Passage::Closed {
        return Err("Frontend was already shut down.".to_owned());
    }
    sources.topology().set_gate(&frontend, Passage::Closed);
    tracing::warn!("Stopped frontend {} by the runtime socket", frontend.name);
    Ok(String::new())
}

fn set_maxconn(sources: &Sources, words: &[&str]) -> Result<String, String> {
    let frontend = find(sources, words.first())?;
    let text = words.get(1).ok_or("Integer value expected.")?;
    let number: i64 = text.parse().map_err(|_| "Integer value expected.")?;
    let max = u32::try_from(number).map_err(|_| "Value out of range.")?;
    // 0 is what the process allows.
    frontend.set_maxconn(Some(max).filter(|&max| max > 0));
    Ok(String::new())
}
