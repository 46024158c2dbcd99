//! `show env`, `show backend`, `show pools` and the like: what the process itself is asked for.

use std::{env, fmt::Write};

use crate::observe::stats::{self, Sources};

/// The answer to one of these; `None` if it is none.
pub(super) fn answer(sources: &Sources, words: &[&str]) -> Option<Result<String, String>> {
    Some(match *words {
        ["show", "version", ..] => Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        ["show", "backend", ..] => {
            let topology = sources.topology();
            let names = topology
                .backends
                .iter()
                .map(|backend| format!("{}\n", backend.name));
            Ok(format!("# name\n{}", names.collect::<String>()))
        }
        ["show", "env", ref rest @ ..] => environment(rest.first()),
        ["show", "pools", ..] => Ok(pools()),
        ["show", "startup-logs", ..] => Ok("\n".to_owned()),
        _ => return None,
    })
}

fn environment(name: Option<&&str>) -> Result<String, String> {
    let Some(name) = name else {
        let mut out = String::new();
        for (name, value) in env::vars_os() {
            // A String takes everything.
            let _ = writeln!(
                out,
                "{}={}",
                name.to_string_lossy(),
                value.to_string_lossy()
            );
        }
        return Ok(out);
    };
    // A name with `=` or a zero byte would be none.
    let found = Some(*name).filter(|name| !name.contains(['=', '\0']));
    let value = found.and_then(env::var_os).ok_or("Variable not found")?;
    Ok(format!("{name}={}\n", value.to_string_lossy()))
}

/// There are no pools: memory is the allocator's.
fn pools() -> String {
    let bytes = stats::resident();
    format!(
        "Dumping pools usage. Use SIGQUIT to flush them.\n\
         Total: 0 pools, {bytes} bytes allocated, {bytes} used (~0 by thread caches).\n"
    )
}
