//! Lists of names, as large as block lists are: a million names in eight MiB, and a lookup of some dozen steps for each label.
//!
//! ```text
//!  a line ─▶ name, and what it stands for ─▶ keyed hash of the name, with two bits ─▶ sorted, each name once
//!             name             itself and all below it
//!             *.name           all below it
//!             ||name^          itself and all below it (a list of a blocker in browsers)
//!             0.0.0.0 name …   itself (a hosts file)
//!             # ! ;            nothing: a comment, at the line's begin or behind a space
//! ```
//!
//! What else the lists of blockers in browsers have (`example.com##.banner`, `@@||name^`, `||name^$image`) says something of
//! pages and not of names: such lines are not understood, and left out. A line that is too long is one, to its end.
//!
//! A name is found by its hash alone: of a million names, one of a hundred million million others is found by mistake. The key
//! is the process's own, so that nobody makes such a name.
//!
//! Invariant: memory is eight octets for each name, whatever the names are. Limits: [`NAMES_MAX`], [`FILE_BYTES_MAX`],
//! [`LINE_OCTETS_MAX`].

use std::{
    fs::File,
    hash::Hasher as _,
    io::{self, BufRead, BufReader, Read as _},
    net::IpAddr,
    path::Path,
    str::FromStr as _,
    sync::LazyLock,
};

use proxima_resolver::Name;
use siphasher::sip::SipHasher13;

/// Names of one set: the largest lists that are published have two million.
const NAMES_MAX: usize = 4_000_000;
/// Octets of one file.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Octets of one line: a hosts file has several names on a line at times.
const LINE_OCTETS_MAX: u64 = 4_096;
/// What a name stands for, in the lowest bits of its hash.
const ITSELF: u64 = 1;
const BELOW: u64 = 2;
const BITS: u64 = ITSELF | BELOW;

/// What names are hashed with.
static SECRET: LazyLock<[u8; 16]> = LazyLock::new(proxima_chassis::random_id);

/// A set of names.
#[derive(Debug, Default)]
pub(crate) struct NameSet {
    /// Sorted; each name once.
    hashes: Box<[u64]>,
}

/// A set in the making.
#[derive(Debug, Default)]
pub(crate) struct NameSetBuilder {
    hashes: Vec<u64>,
    /// Lines that are neither names nor comments.
    pub(crate) strange: usize,
}

impl NameSet {
    /// How many names it has.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether a name, on the wire and in lower case, is in it, by itself or by one above it.
    pub(crate) fn has(&self, wire: &[u8]) -> bool {
        if self.hashes.is_empty() {
            return false;
        }
        let (mut rest, mut wanted) = (wire, ITSELF);
        loop {
            if self.bits(hash(rest)) & wanted != 0 {
                return true;
            }
            wanted = BELOW;
            match rest.first() {
                Some(length @ 1..) if rest.len() > usize::from(*length) => {
                    rest = &rest[usize::from(*length) + 1..]
                }
                _ => return false,
            }
        }
    }

    fn bits(&self, hash: u64) -> u64 {
        let at = self.hashes.partition_point(|known| known & !BITS < hash);
        self.hashes.get(at).filter(|known| **known & !BITS == hash).map_or(0, |known| known & BITS)
    }
}

impl NameSetBuilder {
    /// Reads a file's lines.
    ///
    /// # Errors
    /// It cannot be read, is too large, or has no name in it.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        if file.metadata()?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("it has more than 256 MiB"));
        }
        self.lines(BufReader::new(file.take(FILE_BYTES_MAX)))
    }

    /// Reads lines.
    ///
    /// # Errors
    /// They cannot be read, are too many, or have no name in them.
    pub(crate) fn lines(&mut self, mut lines: impl BufRead) -> io::Result<()> {
        let before = self.hashes.len();
        let mut line = Vec::new();
        while lines.by_ref().take(LINE_OCTETS_MAX).read_until(b'\n', &mut line)? > 0 {
            let is_whole =
                line.len() < LINE_OCTETS_MAX.try_into().unwrap_or(usize::MAX) || line.ends_with(b"\n");
            if is_whole {
                self.line(&line);
            } else {
                self.strange += 1;
                lines.skip_until(b'\n')?;
            }
            if self.hashes.len() > NAMES_MAX {
                return Err(io::Error::other(
                    "it has more than 4,000,000 names, with those of the other lists",
                ));
            }
            line.clear();
        }
        if self.hashes.len() == before { Err(io::Error::other("it has no name in it")) } else { Ok(()) }
    }

    /// Takes what a line says.
    pub(crate) fn line(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            self.strange += 1;
            return;
        };
        let is_comment = |word: &&str| word.starts_with(['#', '!', ';']);
        // Files from Windows begin with a mark of their own.
        let mut words =
            line.trim_start_matches('\u{feff}').split_whitespace().take_while(|word| !is_comment(word));
        let Some(first) = words.next() else { return };
        if first.parse::<IpAddr>().is_ok() {
            // Names of this host stand there, too: they have one label.
            words.filter(|name| name.contains('.')).for_each(|name| self.name(name, ITSELF));
            return;
        }
        let anchored = first.strip_prefix("||").and_then(|rest| rest.strip_suffix('^'));
        match (first.strip_prefix("*."), words.next()) {
            (Some(name), None) => self.name(name, BELOW),
            (None, None) => self.name(anchored.unwrap_or(first), ITSELF | BELOW),
            (_, Some(_)) => self.strange += 1,
        }
    }

    fn name(&mut self, name: &str, bits: u64) {
        // An address that stands for an address, as hosts files have it.
        if name.parse::<IpAddr>().is_ok() {
            return;
        }
        // A page that says that there is no list is none.
        let is_host = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        match Name::from_str(name) {
            // The root would be everything.
            Ok(name) if is_host && name.wire().len() > 1 => self.hashes.push(hash(name.wire()) | bits),
            _ => self.strange += 1,
        }
    }

    /// The set of what was taken.
    pub(crate) fn build(self) -> NameSet {
        let mut hashes = self.hashes;
        hashes.sort_unstable();
        hashes.dedup_by(|next, kept| {
            let same = *next & !BITS == *kept & !BITS;
            *kept |= if same { *next & BITS } else { 0 };
            same
        });
        NameSet { hashes: hashes.into() }
    }
}

/// Reads octets as a list: what a fuzz target calls. Nothing here may panic but by what it asserts.
pub(crate) fn exercise(octets: &[u8]) {
    let mut whole = NameSetBuilder::default();
    let has_names = whole.lines(octets).is_ok();
    assert_eq!(has_names, !whole.hashes.is_empty());
    let (strange, set) = (whole.strange, whole.build());
    assert!(set.hashes.is_sorted_by(|one, next| one & !BITS < next & !BITS));
    // A line says what it says, wherever it stands.
    let (mut names, mut strange_alone) = (0, 0);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let mut alone = NameSetBuilder::default();
        alone.lines(line).ok();
        strange_alone += alone.strange;
        for hash in alone.hashes {
            names += 1;
            assert_eq!(set.bits(hash & !BITS) & hash & BITS, hash & BITS);
        }
    }
    assert_eq!(strange, strange_alone);
    assert!(set.len() <= names);
    // As a name on the wire, which is whatever it is.
    set.has(octets);
}

fn hash(wire: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&SECRET);
    hasher.write(wire);
    hasher.finish() & !BITS
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn set(lines: &[&str]) -> (NameSet, usize) {
        let mut builder = NameSetBuilder::default();
        lines.iter().for_each(|line| builder.line(line.as_bytes()));
        let strange = builder.strange;
        (builder.build(), strange)
    }

    fn has(set: &NameSet, name: &str) -> bool {
        set.has(name.parse::<Name>().unwrap().wire())
    }

    #[test]
    fn each_form_of_a_line_stands_for_what_it_says() {
        let (set, strange) = set(&[
            "# a list",
            "",
            "! another comment",
            "ads.example",
            "  Tracker.Example.  # with a dot at the end",
            "*.wild.example",
            "0.0.0.0 exact.example also.example",
            "127.0.0.1 localhost",
            "::1 ip6-localhost",
            "0.0.0.0 0.0.0.0",
            "two words",
            "not..a.name",
            "<html>",
            "a.example ; comment",
            "\u{feff}first.example",
            "||anchored.example^",
            "news.example##.banner",
            "@@||never.example^",
            "||pages.example^$image",
            "shop.example#comment",
        ]);
        assert_eq!(strange, 7);
        for (name, expected) in [
            ("ads.example", true),
            ("www.ads.example", true),
            ("xads.example", false),
            ("example", false),
            (".", false),
            ("tracker.example", true),
            ("wild.example", false),
            ("x.wild.example", true),
            ("y.x.wild.example", true),
            ("exact.example", true),
            ("also.example", true),
            ("www.exact.example", false),
            ("localhost", false),
            ("a.example", true),
            ("first.example", true),
            ("www.anchored.example", true),
            ("news.example", false),
            ("never.example", false),
            ("pages.example", false),
            ("shop.example", false),
        ] {
            assert_eq!(has(&set, name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_said_twice_counts_once_and_for_both() {
        let (set, _) = set(&["0.0.0.0 a.example", "*.a.example", "0.0.0.0 a.example"]);
        assert_eq!(set.len(), 1);
        assert!(has(&set, "a.example") && has(&set, "b.a.example"));
    }

    /// How long this thread has been on a core: others' work does not count. Not every kernel tells.
    fn on_cpu() -> Option<Duration> {
        let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(Duration::from_nanos(told.split(' ').next()?.parse().ok()?))
    }

    /// How much longer that is than it was.
    fn on_cpu_since(begun: Option<Duration>) -> Option<Duration> {
        on_cpu()?.checked_sub(begun?)
    }

    #[test]
    fn a_million_names_take_eight_mebibytes_and_each_is_found() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut text = io::BufWriter::new(file.as_file_mut());
        for number in 0..1_000_000 {
            writeln!(text, "host-{number}.list-{}.example", number % 1_000).unwrap();
        }
        text.flush().unwrap();
        drop(text);
        let begun = on_cpu();
        let mut builder = NameSetBuilder::default();
        builder.read(file.path()).unwrap();
        let set = builder.build();
        let read = on_cpu_since(begun);
        assert_eq!((set.len(), size_of_val(&*set.hashes)), (1_000_000, 8_000_000));
        for number in (0..1_000_000).step_by(997) {
            let name = format!("host-{number}.list-{}.example", number % 1_000);
            assert!(has(&set, &name) && has(&set, &format!("www.{name}")), "{name}");
            assert!(!has(&set, &format!("host-{number}.list-{}.example", (number + 1) % 1_000)));
            assert!(!has(&set, &format!("x{name}")));
        }
        // What docs/measurements.md tells: nothing here depends on it.
        let names: Vec<Name> = (0..100_000)
            .map(|number| {
                format!("a.b.host-{}.list-{}.example", number * 17, number % 1_000).parse().unwrap()
            })
            .collect();
        let begun = on_cpu();
        let found = names.iter().filter(|name| set.has(name.wire())).count();
        let each = on_cpu_since(begun).map(|all| all / u32::try_from(names.len()).unwrap());
        eprintln!(
            "a million names: read in {read:?}; a lookup of a name of five labels takes {each:?}, {found} found"
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_none_to_its_end() {
        let long = "x".repeat(LINE_OCTETS_MAX.try_into().unwrap());
        // The rest of it would be a name.
        let text =
            format!("a.example\n# {long}\n{long}rest.example\n{}b.example\nc.example\n", " ".repeat(4_085));
        let mut builder = NameSetBuilder::default();
        builder.lines(text.as_bytes()).unwrap();
        assert_eq!(builder.strange, 2);
        let set = builder.build();
        assert_eq!(set.len(), 3);
        assert!(["a.example", "b.example", "c.example"].iter().all(|name| has(&set, name)));
        assert!(!has(&set, "rest.example"));
    }

    #[test]
    fn a_file_without_a_name_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"<html>\n# nothing here\n").unwrap();
        let refused = NameSetBuilder::default().read(file.path()).unwrap_err();
        assert!(refused.to_string().contains("no name"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..100)) {
            NameSetBuilder::default().line(&line);
        }

        #[test]
        fn no_name_makes_a_lookup_panic(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            set(&["a.example"]).0.has(&octets);
        }
    }
}
