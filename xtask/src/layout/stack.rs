//! The program header that says what may be done with a program's stack.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A program header that leads to notes.
const PT_NOTE: u32 = 4;

/// A program header that says what may be done with the stack.
const PT_GNU_STACK: u32 = 0x6474_e551;

/// Says in the program's headers again that its stack holds no code; whether there is a header for it.
///
/// BOLT takes the header that says so for its new code. Without one, threads' stacks may be executed, which systemd's
/// `MemoryDenyWriteExecute=` refuses. The one that leads debuggers of a running lb to its notes is taken instead: the
/// notes are still found in the file. (elf(5))
pub(super) fn header(program: &File) -> io::Result<bool> {
    let mut head = [0; 64];
    program.read_exact_at(&mut head, 0)?;
    let (first, length, number) = program_headers(&head);
    let mut kind = [0; 4];
    let mut notes = None;
    for index in 0..u64::from(number) {
        let at = first.saturating_add(index * u64::from(length));
        program.read_exact_at(&mut kind, at)?;
        match u32::from_le_bytes(kind) {
            PT_GNU_STACK => return Ok(true),
            PT_NOTE => notes = Some(at),
            _ => {}
        }
    }
    let Some(at) = notes else {
        return Ok(false);
    };
    // All but its kind and its flags, read and write, is nought.
    let mut header = [0; 56];
    header[..4].copy_from_slice(&PT_GNU_STACK.to_le_bytes());
    header[4..8].copy_from_slice(&6u32.to_le_bytes());
    program.write_all_at(&header, at)?;
    Ok(true)
}

/// Where the program headers of a 64-bit little-endian ELF begin, how long each is, and how many there are.
fn program_headers(head: &[u8; 64]) -> (u64, u16, u16) {
    let (mut first, mut length, mut number) = ([0; 8], [0; 2], [0; 2]);
    first.copy_from_slice(&head[32..40]);
    length.copy_from_slice(&head[54..56]);
    number.copy_from_slice(&head[56..58]);
    (
        u64::from_le_bytes(first),
        u16::from_le_bytes(length),
        u16::from_le_bytes(number),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_without_a_header_gets_that_of_the_notes() {
        let headers = |kinds: [u32; 2]| {
            let mut elf = vec![0; 64];
            elf[32] = 64;
            elf[54] = 56;
            elf[56] = 2;
            for kind in kinds {
                elf.extend(kind.to_le_bytes());
                elf.extend([7; 52]);
            }
            elf
        };
        let file = |kinds| {
            let memory = rustix::fs::memfd_create("elf", rustix::fs::MemfdFlags::CLOEXEC);
            let file = File::from(memory.expect("memory"));
            file.write_all_at(&headers(kinds), 0).expect("written");
            file
        };
        let content = |file: &File| {
            let mut content = [0; 176];
            file.read_exact_at(&mut content, 0).expect("read");
            content
        };
        let program = file([1, PT_NOTE]);
        assert!(header(&program).expect("read"));
        let now = content(&program);
        assert_eq!(now[..120], headers([1, PT_NOTE])[..120]);
        assert_eq!(now[120..124], PT_GNU_STACK.to_le_bytes());
        assert_eq!(now[124], 6);
        assert_eq!(now[125..], [0; 51]);
        for (kinds, is_there) in [([1, PT_GNU_STACK], true), ([1, 1], false)] {
            let program = file(kinds);
            assert_eq!(header(&program).expect("read"), is_there);
            assert_eq!(content(&program)[..], headers(kinds)[..]);
        }
    }
}
