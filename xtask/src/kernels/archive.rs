//! Writes an initramfs: a cpio archive in the "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive being written, its folders made as files need them.
pub(super) struct Archive<W: Write> {
    to: W,
    folders: BTreeSet<String>,
    number: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            folders: BTreeSet::new(),
            number: 0,
        }
    }

    /// An empty folder, and those that it is in.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let name = &path[..end];
            if !name.is_empty() && self.folders.insert(name.to_owned()) {
                self.entry(name, FOLDER, &[])?;
            }
        }
        Ok(())
    }

    /// A file that may be executed.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = path.trim_matches('/');
        if let Some(folder) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(folder)?;
        }
        self.entry(path, PROGRAM, content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.number += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // Inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum (none).
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        write!(self.to, "070701")?;
        for field in fields {
            write!(self.to, "{field:08x}")?;
        }
        // The header is 110 bytes long; name and content each end at a multiple of four.
        self.to.write_all(name.as_bytes())?;
        self.pad(110 + name.len(), 1)?;
        self.to.write_all(content)?;
        self.pad(content.len(), 0)
    }

    /// Zeroes after `written` bytes up to a multiple of four, but `least` at least.
    fn pad(&mut self, written: usize, least: usize) -> io::Result<()> {
        let end = (written + least).next_multiple_of(4);
        self.to.write_all(&[0; 4][..end - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/one", b"1").unwrap();
        archive.file("a/b/two", b"22222").unwrap();
        archive.folder("/a").unwrap();
        let bytes = archive.finish().unwrap();
        assert!(bytes.len().is_multiple_of(4));
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let header = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
            let number = |field: usize| {
                let from = 6 + 8 * field;
                usize::from_str_radix(&header[from..from + 8], 16).unwrap()
            };
            assert!(header.starts_with("070701"));
            let name = &bytes[at + 110..at + 110 + number(11) - 1];
            names.push(String::from_utf8(name.to_vec()).unwrap());
            at = (at + 110 + number(11)).next_multiple_of(4);
            at = (at + number(6)).next_multiple_of(4);
        }
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
    }
}
