//! `global.pidfile`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::written::{self, write_over};

/// A written pidfile, removed when dropped.
#[derive(Debug)]
pub(super) struct Pidfile {
    path: PathBuf,
}

/// A pidfile that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("pidfile {}: cannot be written: {source}: {}, or name another file in global.pidfile", path.display(), mend(source))]
pub struct PidfileError {
    path: PathBuf,
    source: io::Error,
}

impl Pidfile {
    /// Writes this process's id to `path`, replacing what an earlier one left there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(path: &Path) -> Result<Self, PidfileError> {
        write_over(path, &own())
            .map(|()| Self {
                path: path.to_owned(),
            })
            .map_err(|source| PidfileError {
                path: path.to_owned(),
                source,
            })
    }
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make its directory",
        _ => written::mend(error),
    }
}

fn own() -> String {
    format!("{}\n", std::process::id())
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // Another process's is left alone. Without the right to remove ours it stays behind, and the next start
        // replaces it.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == own()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_process_unless_another_has_taken_it_over() {
        let path = std::env::temp_dir().join(format!("lb-pidfile-test-{}", std::process::id()));
        let file = Pidfile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own());
        drop(file);
        assert!(!path.exists());

        let file = Pidfile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Pidfile::write(Path::new("/nonexistent/lb.pid")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("pidfile /nonexistent/lb.pid: cannot be written: "),
            "{error}"
        );
    }
}
