//! Small files that others read: replaced whole where that is possible, and written over where a disk is full or a folder is not
//! to be written.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Writes a file whole, in the place of the one that is there.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    // Whoever else may write there may have put a link in its place, to a file that is not theirs.
    let _ = fs::remove_file(&beside);
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside);
    created
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
}

/// Writes a file over the one that is there, which needs no room. If there was none and it cannot be written, there is none.
pub(super) fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let new = !path.exists();
    let written = || {
        let mut options = OpenOptions::new();
        // What is cut off first is lost where there is no room for the rest.
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    };
    written().inspect_err(|_| {
        if new {
            let _ = fs::remove_file(path);
        }
    })
}

/// What would help against an error.
pub(super) fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        _ => "make its directory writable for lb",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_way_leads_nowhere() {
        let folder = std::env::temp_dir().join(format!("lb-written-link-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("file"), folder.join("other"));
        fs::write(&other, "another's").unwrap();
        let beside = folder.join(format!("file.{}", std::process::id()));
        std::os::unix::fs::symlink(&other, &beside).unwrap();
        replace(&path, "ours").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "another's");
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_replaced_is_written_over() {
        let folder = std::env::temp_dir().join(format!("lb-written-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // The longest that a name may be, so that there is none for a file beside it.
        let path = folder.join("n".repeat(255));
        write_over(&path, "123456\n").unwrap();
        assert!(replace(&path, "1\n").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "123456\n");
        write_over(&path, "1\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let short = folder.join("short");
        replace(&short, "0\n").unwrap();
        assert_eq!(fs::read_to_string(&short).unwrap(), "0\n");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            2,
            "nothing is left beside them"
        );
        assert!(write_over(Path::new("/dev/full"), "1\n").is_err());
        assert!(write_over(&folder.join("none/file"), "1\n").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
