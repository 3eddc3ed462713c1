//! What a program needs to be run: its loader and its libraries.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

/// The header of an ELF file of 64 bits (elf(5)): where the table of its segments is, and how it is laid out.
const HEADER_OCTETS: usize = 64;
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const SEGMENTS_AT: usize = 32;
const SEGMENT_OCTETS_AT: usize = 54;
const SEGMENTS_COUNT_AT: usize = 56;
/// A segment: its kind, where it is in the file, how long it is there.
const SEGMENT_OCTETS: usize = 56;
const OFFSET_AT: usize = 8;
const FILE_OCTETS_AT: usize = 32;
/// The kind that names the loader.
const PT_INTERP: u32 = 3;
/// Octets of a path (`PATH_MAX`).
const PATH_OCTETS_MAX: u64 = 4_096;
/// Loaded only when a thread ends early or a crash is told, from beside the C library.
const LATE: &str = "libgcc_s.so.1";
const C_LIBRARY: &str = "libc.so.6";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// Where the program says that it is.
    pub(crate) loader: Option<PathBuf>,
    pub(crate) libraries: Vec<PathBuf>,
}

impl Needs {
    /// Asks the program's own loader, which looks for libraries as it will when it runs it.
    pub(crate) fn of(program: &Path) -> io::Result<Self> {
        let Some(loader) = loader(program)? else { return Ok(Self::default()) };
        let listed = Command::new(&loader).arg("--list").arg(program).env_clear().output()?;
        if !listed.status.success() {
            let said = String::from_utf8_lossy(&listed.stderr).trim().to_owned();
            return Err(io::Error::other(format!("its loader {} says: {said}", loader.display())));
        }
        let mut libraries = libraries(&String::from_utf8_lossy(&listed.stdout));
        let beside =
            libraries.iter().find(|path| path.ends_with(C_LIBRARY)).map(|path| path.with_file_name(LATE));
        if let Some(late) =
            beside.filter(|late| late.exists() && !libraries.iter().any(|path| path.ends_with(LATE)))
        {
            libraries.push(late);
        }
        Ok(Self { loader: Some(loader), libraries })
    }
}

/// The lines `NAME => PATH (ADDRESS)`: all others name the loader, or what the kernel itself gives.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| Some(line.split_once(" => ")?.1.rsplit_once(" (")?.0.into());
    listed.lines().filter_map(path).collect()
}

/// The loader that an ELF file names; a static program has none.
fn loader(program: &Path) -> io::Result<Option<PathBuf>> {
    let file = File::open(program)?;
    let mut header = [0; HEADER_OCTETS];
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(MAGIC) {
        return Err(io::Error::other(
            "it is no program of this machine's kind (the npm package's `bin/workerd` may be a script: name the one in \
             `@cloudflare/workerd-linux-64/bin`)",
        ));
    }
    let short = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (at, octets, count) =
        (long(&header, SEGMENTS_AT), short(SEGMENT_OCTETS_AT), short(SEGMENTS_COUNT_AT));
    for number in 0..count {
        let mut segment = [0; SEGMENT_OCTETS];
        file.read_exact_at(&mut segment, at.saturating_add(number * octets))?;
        if u32::from_le_bytes([segment[0], segment[1], segment[2], segment[3]]) == PT_INTERP {
            let length = long(&segment, FILE_OCTETS_AT).min(PATH_OCTETS_MAX);
            let mut path = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut path, long(&segment, OFFSET_AT))?;
            let path = String::from_utf8(path).map_err(io::Error::other)?;
            return Ok(Some(path.trim_end_matches('\0').into()));
        }
    }
    Ok(None)
}

fn long(octets: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&octets[at..at + 8]);
    u64::from_le_bytes(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_what_its_loader_lists() {
        let own = std::env::current_exe().expect("this program");
        let needs = Needs::of(&own).expect("it is an ELF file");
        assert!(needs.loader.as_ref().is_some_and(|loader| loader.exists()), "{needs:?}");
        assert!(needs.libraries.iter().any(|path| path.ends_with(C_LIBRARY)), "{needs:?}");
        assert!(needs.libraries.iter().all(|path| path.exists()), "{needs:?}");
    }

    #[test]
    fn what_is_listed_is_read_as_loaders_write_it() {
        let listed = "\tlinux-vdso.so.1 (0x00007f51da2db000)\n\
                      \tlibm.so.6 => /lib/a b/libm.so.6 (0x00007f51da1e9000)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f51da2dd000)\n";
        assert_eq!(libraries(listed), [PathBuf::from("/lib/a b/libm.so.6")]);
        assert!(libraries("statically linked\n").is_empty());
    }

    #[test]
    fn what_is_no_program_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("workerd");
        std::fs::write(&script, "#!/usr/bin/env node\n".repeat(9)).expect("a file");
        assert!(Needs::of(&script).is_err_and(|error| error.to_string().contains("may be a script")));
        std::fs::write(&script, "").expect("a file");
        assert!(Needs::of(&script).is_err());
    }
}
