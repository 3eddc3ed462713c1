//! Seeds and what becomes of them: the part of fuzzing that needs no nightly toolchain, and that every run of the tests
//! does.
//!
//! Which inputs there are is decided by a target's name and the number of the round alone, so that what fails once fails
//! again. How many there are is bounded by number and by time: targets differ a thousandfold in what one input costs.
//! `PROXIMA_FUZZ_SECONDS=60` gives each target a minute.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A test for each target, by its name.
macro_rules! tests {
    ($($name:ident,)*) => {
        const TARGETS: &[&str] = &[$(stringify!($name),)*];

        $(#[test]
        fn $name() {
            run(stringify!($name), proxima_fuzz::$name::run);
        })*
    };
}

proxima_fuzz::each_target!(tests);

/// Inputs of one target, its seeds not counted.
const ROUNDS: u64 = 20_000;
/// For how long one target is given inputs.
const WITHIN: Duration = Duration::from_millis(1_500);
/// Gives each target so many seconds instead, and as many inputs as that takes.
const SECONDS: &str = "PROXIMA_FUZZ_SECONDS";
/// Octets of an input, about.
const OCTETS_MAX: usize = 4_096;
/// Changes to one input.
const CHANGES_MAX: usize = 8;
/// Octets that mean something to many a parser.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xc0\xff \t\r\n,;:=\"'\\%/?&*.-_[]{}()09AZaz";

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    fn octet(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A range within so many octets, often a short one.
    fn range(&mut self, octets: usize) -> std::ops::Range<usize> {
        let begin = self.below(octets + 1);
        let most = if self.below(4) == 0 { octets } else { 16 };
        begin..octets.min(begin + self.below(most + 1))
    }

    /// Changes an input once.
    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = self.below(input.len() + 1);
        match self.below(9) {
            0 | 1 if place < input.len() => input[place] ^= 1 << self.below(8),
            2 if place < input.len() => input[place] = TELLING[self.below(TELLING.len())],
            3 if place < input.len() => input[place] = self.octet(),
            4 => drop(input.drain(self.range(input.len()))),
            5 => {
                let again = input[self.range(input.len())].to_vec();
                input.splice(place..place, again);
            }
            6 if !seeds.is_empty() => {
                let other = &seeds[self.below(seeds.len())];
                let piece = other[self.range(other.len())].to_vec();
                let over = place..input.len().min(place + self.below(piece.len() + 1));
                input.splice(over, piece);
            }
            7 => input.truncate(place),
            _ => {
                let more: Vec<u8> = (0..=self.below(8)).map(|_| self.octet()).collect();
                input.splice(place..place, more);
            }
        }
        input.truncate(OCTETS_MAX);
    }
}

/// Tells which input it was, if the test ends by a panic.
struct Tried<'a>(&'a str, &'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: the input was b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::read_dir(root().join("seeds").join(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("a folder can be read").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed can be read")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a target over its seeds and what becomes of them.
fn run(target: &str, with: fn(&[u8])) {
    let seeds = seeds(target);
    let once = |input: &[u8]| {
        let _tried = Tried(target, input);
        with(input);
    };
    once(b"");
    seeds.iter().for_each(|seed| once(seed));
    let asked_for = std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    let within = asked_for.map_or(WITHIN, Duration::from_secs);
    let begun = Instant::now();
    let name = target.bytes().fold(0, |name: u64, octet| name.wrapping_mul(31).wrapping_add(octet.into()));
    for round in 0..asked_for.map_or(ROUNDS, |_| u64::MAX) {
        let mut chance = Chance(name ^ round << 32);
        let mut input = match chance.below(seeds.len() + 1).checked_sub(1) {
            Some(seed) => seeds[seed].clone(),
            None => (0..chance.below(256)).map(|_| chance.octet()).collect(),
        };
        for _ in 0..=chance.below(CHANGES_MAX) {
            chance.change(&mut input, &seeds);
        }
        once(&input);
        if begun.elapsed() > within {
            break;
        }
    }
}

#[test]
fn every_target_is_one_of_libfuzzers_and_every_folder_of_seeds_is_a_targets() {
    let manifest = fs::read_to_string(root().join("libfuzzer/Cargo.toml")).expect("it is in git");
    let bins = manifest.split("[[bin]]").skip(1).map(|bin| {
        let name = bin.split('"').nth(1).expect("a target has a name");
        let file = format!("libfuzzer/fuzz_targets/{name}.rs");
        let main = fs::read_to_string(root().join(file)).expect("a target has a main");
        assert!(main.contains(&format!("proxima_fuzz::{name}::run")), "{name}");
        name
    });
    assert_eq!(bins.collect::<Vec<_>>(), TARGETS);
    for folder in fs::read_dir(root().join("seeds")).expect("it is in git") {
        let name = folder.expect("a folder can be read").file_name();
        assert!(TARGETS.iter().any(|target| *name == **target), "{}", name.display());
    }
}
