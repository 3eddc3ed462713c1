//! Places on Earth (RFC 1876).

use std::fmt::Write as _;

use crate::{Invalid, excerpt};

/// Octets of a place on the wire, of version 0.
pub(super) const OCTETS: usize = 16;
/// Thousandths of a second of arc in a degree.
const DEGREE: u32 = 3_600_000;
/// The equator and the prime meridian on the wire.
const ZERO: u32 = 1 << 31;
/// The height from which heights are counted on the wire, 100 km below the reference spheroid, in centimetres.
const DEPTH_CM: i64 = 10_000_000;
/// The largest size and precision, in centimetres.
const EXTENT_CM_MAX: i64 = 9_000_000_000;
/// Size, horizontal and vertical precision where they are not given, in centimetres (RFC 1876, 3).
const EXTENTS_CM: [i64; 3] = [100, 1_000_000, 1_000];

/// A place, as people and the API say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// North is positive.
    pub latitude: Angle,
    /// East is positive.
    pub longitude: Angle,
    /// Above the reference spheroid, in centimetres.
    pub altitude_cm: i64,
    /// Its size, and how precise it is horizontally and vertically, in centimetres.
    pub extents_cm: [i64; 3],
}

/// An angle from the equator or the prime meridian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Angle {
    /// Whether it goes north, or east.
    pub positive: bool,
    /// Whole degrees.
    pub degrees: u32,
    /// Whole minutes.
    pub minutes: u32,
    /// Thousandths of a second.
    pub milliseconds: u32,
}

fn refuse(problem: impl Into<String>, remedy: &'static str) -> Invalid {
    Invalid::new("content", problem, remedy)
}

/// A decimal number in units of its last place that counts.
fn decimal(text: &str, places: usize) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    // Zeros behind the last place say nothing; other digits there would be lost.
    let part = part.trim_end_matches('0');
    if whole.is_empty() || whole.len() > 12 || part.len() > places || !all_digits(whole) || !all_digits(part)
    {
        return None;
    }
    format!("{whole}{part:0<places$}").parse::<i64>().ok().map(|number| sign * number)
}

/// Reads degrees, and minutes and seconds if they are given, up to one of two directions.
fn arc<'w>(
    words: &mut impl Iterator<Item = &'w str>,
    directions: [&str; 2],
    degrees_max: u32,
) -> Result<u32, Invalid> {
    let remedy =
        "give degrees, minutes, seconds with at most 3 decimals, and N, S, E or W, such as 51 30 12.748 N";
    let wrong = |word: &str| refuse(format!("{} is not a part of an angle", excerpt(word)), remedy);
    let mut total = 0;
    for (unit, places, limit) in [(DEGREE, 0, degrees_max), (60_000, 0, 59), (1, 3, 59_999), (0, 0, 0)] {
        let word = words.next().ok_or_else(|| refuse("the place ends before its angles do", remedy))?;
        let is = |direction: &str| word.eq_ignore_ascii_case(direction);
        if unit < DEGREE
            && let Some(at) = directions.into_iter().position(is)
        {
            if total > degrees_max * DEGREE {
                return Err(refuse(format!("an angle has more than {degrees_max} degrees"), remedy));
            }
            return Ok(if at == 0 { ZERO + total } else { ZERO - total });
        }
        let number = decimal(word, places).and_then(|number| u32::try_from(number).ok());
        total += number.filter(|number| unit > 0 && *number <= limit).ok_or_else(|| wrong(word))? * unit;
    }
    Err(refuse("an angle has no direction", remedy))
}

/// Reads a place.
pub(super) fn parse(words: &[&str]) -> Result<[u8; OCTETS], Invalid> {
    let mut words = words.iter().copied();
    let latitude = arc(&mut words, ["N", "S"], 90)?;
    let longitude = arc(&mut words, ["E", "W"], 180)?;
    let mut metres = |range: std::ops::RangeInclusive<i64>, default: Option<i64>| {
        let remedy = "give metres with at most 2 decimals: an altitude of -100000m to 42849672.95m, and sizes up to 90000000m";
        let Some(word) = words.next() else {
            return default.ok_or_else(|| refuse("the place ends before its altitude", remedy));
        };
        let digits = word.strip_suffix(['m', 'M']).unwrap_or(word);
        let number =
            decimal(digits.strip_prefix('+').filter(|rest| !rest.starts_with('-')).unwrap_or(digits), 2);
        let within = number.filter(|number| range.contains(number));
        within.ok_or_else(|| refuse(format!("{} is not a length that fits", excerpt(word)), remedy))
    };
    let altitude = metres(-DEPTH_CM..=i64::from(u32::MAX) - DEPTH_CM, None)?;
    let mut octets = [0; OCTETS];
    for (place, default) in octets[1..4].iter_mut().zip(EXTENTS_CM) {
        *place = extent(metres(0..=EXTENT_CM_MAX, Some(default))?);
    }
    if let Some(word) = words.next() {
        return Err(refuse(format!("{} stands behind a whole place", excerpt(word)), "leave it out"));
    }
    octets[4..8].copy_from_slice(&latitude.to_be_bytes());
    octets[8..12].copy_from_slice(&longitude.to_be_bytes());
    let height = u32::try_from(altitude + DEPTH_CM).expect("the range was checked");
    octets[12..].copy_from_slice(&height.to_be_bytes());
    Ok(octets)
}

/// A length as its first digit and the number of those that follow; what they are is lost (RFC 1876, 2).
fn extent(mut cm: i64) -> u8 {
    let mut exponent = 0;
    while cm >= 10 {
        cm /= 10;
        exponent += 1;
    }
    u8::try_from(cm << 4).expect("one digit") | exponent
}

impl Location {
    /// Reads a place off the wire; `None` if it is none.
    pub(super) fn of_octets(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; OCTETS] = octets.try_into().ok()?;
        let word =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let arc = |octets: u32, degrees_max: u32| {
            let total = octets.abs_diff(ZERO);
            (total <= degrees_max * DEGREE).then_some(Angle {
                positive: octets >= ZERO,
                degrees: total / DEGREE,
                minutes: total % DEGREE / 60_000,
                milliseconds: total % 60_000,
            })
        };
        let extent = |octet: u8| {
            let (digit, exponent) = (octet >> 4, octet & 0xf);
            (digit <= 9 && exponent <= 9).then(|| i64::from(digit) * 10_i64.pow(exponent.into()))
        };
        let [a, b, c] = [octets[1], octets[2], octets[3]].map(extent);
        (octets[0] == 0).then_some(())?;
        Some(Self {
            latitude: arc(word(4), 90)?,
            longitude: arc(word(8), 180)?,
            altitude_cm: i64::from(word(12)) - DEPTH_CM,
            extents_cm: [a?, b?, c?],
        })
    }

    /// Writes a place.
    pub(super) fn print(&self) -> String {
        let mut text = String::new();
        for (arc, directions) in [(self.latitude, ["N", "S"]), (self.longitude, ["E", "W"])] {
            let Angle { positive, degrees, minutes, milliseconds } = arc;
            let (seconds, rest) = (milliseconds / 1_000, milliseconds % 1_000);
            let direction = directions[usize::from(!positive)];
            write!(text, "{degrees} {minutes} {seconds}.{rest:03} {direction} ")
                .expect("writing to a String does not fail");
        }
        let metres = |cm: i64| {
            let sign = if cm < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}m", cm.abs() / 100, cm.abs() % 100)
        };
        let lengths = [self.altitude_cm].into_iter().chain(self.extents_cm).map(metres);
        text.push_str(&lengths.collect::<Vec<_>>().join(" "));
        text
    }
}
