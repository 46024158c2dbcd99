//! Whole files, right and wrong.

use std::path::{Path, PathBuf};

use super::*;

fn no_environment(_: &str) -> Option<String> {
    None
}

/// Every file of `conf/`.
fn examples() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn every_example_passes_without_a_warning() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for (path, _) in examples {
        match load(&path, &no_environment) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{}", loaded.warnings),
            Err(found) => panic!("{found}"),
        }
    }
}
