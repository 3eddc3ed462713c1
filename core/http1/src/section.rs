//! Lines and fields: the part of the grammar that heads of requests, heads of responses and trailers share.
//!
//! The scan is resumable: it remembers how far it came, so that a head that trickles in octet by octet costs each
//! octet once. It looks at nothing but whole lines, in order, and checks a line's length before its content; that is
//! why every way of cutting the same input into pieces ends in the same result.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;
use smallvec::SmallVec;

use super::error::Http1Error;

/// Fields that are kept without allocating: most browsers send fewer.
const FIELDS_INLINE: usize = 24;
/// Fields that our stages add to a message: room for them is made at once, because a map that grows is built anew.
const FIELDS_ADDED: usize = 7;

/// Where a field lies in the buffer. Small, because a head's fields are moved about with it.
#[derive(Clone, Debug)]
struct FieldSpan {
    name: Range<u32>,
    value: Range<u32>,
}

/// A position in a section: [`SectionLimits::bytes_max`] keeps sections far below 4 GiB.
fn narrow(range: Range<usize>) -> Result<Range<u32>, Http1Error> {
    match (u32::try_from(range.start), u32::try_from(range.end)) {
        (Ok(start), Ok(end)) => Ok(start..end),
        _ => Err(Http1Error::HeadTooLarge),
    }
}

const fn widen(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// The bounds of one section and how their breach is named.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionLimits {
    /// Octets from the start of the buffer to the end of the section.
    pub(super) bytes_max: usize,
    pub(super) fields_max: usize,
    pub(super) too_large: Http1Error,
    pub(super) too_many: Http1Error,
}

/// Finds lines in a growing buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct LineScanner {
    /// Where the line begins that is being looked for.
    start: usize,
    /// Up to here no LF was found since `start`.
    scanned: usize,
}

impl LineScanner {
    /// The next line without its CRLF, once it is whole. `end_max` is the greatest offset at which it may end.
    pub(super) fn next(
        &mut self,
        buffer: &[u8],
        end_max: usize,
        too_long: Http1Error,
    ) -> Result<Option<Range<usize>>, Http1Error> {
        let line = self.next_unchecked(buffer, end_max, too_long)?;
        match line {
            Some(line) if memchr(b'\r', &buffer[line.clone()]).is_some() => Err(Http1Error::BareCr),
            line => Ok(line),
        }
    }

    /// The same for whoever looks at every octet of the line itself: it may have a CR in it.
    fn next_unchecked(
        &mut self,
        buffer: &[u8],
        end_max: usize,
        too_long: Http1Error,
    ) -> Result<Option<Range<usize>>, Http1Error> {
        let unseen = buffer.get(self.scanned..).unwrap_or_default();
        let Some(found) = memchr(b'\n', unseen) else {
            self.scanned = buffer.len();
            return if buffer.len() >= end_max { Err(too_long) } else { Ok(None) };
        };
        let lf = self.scanned + found;
        if lf >= end_max {
            return Err(too_long);
        }
        if lf == self.start || buffer[lf - 1] != b'\r' {
            return Err(Http1Error::BareLf);
        }
        let line = self.start..lf - 1;
        self.start = lf + 1;
        self.scanned = self.start;
        Ok(Some(line))
    }

    /// The offset after the last line that was given.
    pub(super) const fn position(&self) -> usize {
        self.start
    }
}

/// The field lines of a head or trailer section, as they are found.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldScanner {
    fields: SmallVec<[FieldSpan; FIELDS_INLINE]>,
    /// Whether there is a name with `_` in it.
    underscored: bool,
}

impl FieldScanner {
    /// Reads field lines up to the empty line. `true` once that was found; the section then ends at the position of
    /// `lines`.
    pub(super) fn scan(
        &mut self,
        lines: &mut LineScanner,
        buffer: &[u8],
        limits: &SectionLimits,
    ) -> Result<bool, Http1Error> {
        while let Some(line) = lines.next_unchecked(buffer, limits.bytes_max, limits.too_large)? {
            if line.is_empty() {
                return Ok(true);
            }
            match field(buffer, line.clone(), &mut self.underscored) {
                // First of all a line must be one.
                Err(_) if memchr(b'\r', &buffer[line]).is_some() => return Err(Http1Error::BareCr),
                _ if self.fields.len() == limits.fields_max => return Err(limits.too_many),
                field => self.fields.push(field?),
            }
        }
        Ok(false)
    }

    /// Whether there is a name with `_` in it, which others may read as `-`.
    pub(super) const fn has_underscores(&self) -> bool {
        self.underscored
    }

    /// The names and values of the fields in the section, as they came.
    pub(super) fn iter<'a>(&'a self, section: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter().map(|span| (&section[widen(&span.name)], &section[widen(&span.value)]))
    }

    /// The fields as the types of the `http` crate. Values are slices of `section`, so that nothing is copied; names
    /// that are registered cost nothing either.
    pub(super) fn into_map(self, section: &Bytes) -> Result<HeaderMap, Http1Error> {
        let mut map = HeaderMap::try_with_capacity(self.fields.len() + FIELDS_ADDED)
            .map_err(|_| Http1Error::TooManyFields)?;
        for span in self.fields {
            let name =
                HeaderName::from_bytes(&section[widen(&span.name)]).map_err(|_| Http1Error::FieldName)?;
            let value = HeaderValue::from_maybe_shared(section.slice(widen(&span.value)))
                .map_err(|_| Http1Error::FieldValue)?;
            map.try_append(name, value).map_err(|_| Http1Error::TooManyFields)?;
        }
        Ok(map)
    }
}

/// One field line (RFC 9112, 5): `field-name ":" OWS field-value OWS`. Looks at each octet once. Notes a `_` in its name.
fn field(buffer: &[u8], line: Range<usize>, underscored: &mut bool) -> Result<FieldSpan, Http1Error> {
    let text = &buffer[line.clone()];
    let mut underscore = false;
    let colon = text.iter().position(|&octet| {
        underscore |= octet == b'_';
        !is_token_octet(octet)
    });
    let colon = match colon {
        Some(colon) if colon > 0 && text[colon] == b':' => colon,
        _ => return Err(no_field(text)),
    };
    *underscored |= underscore;
    if underscore && is_mistakable(&text[..colon]) {
        return Err(Http1Error::FieldNameAmbiguous);
    }
    let value = trim(text, colon + 1..text.len());
    if !is_field_value(&text[value.clone()]) {
        return Err(Http1Error::FieldValue);
    }
    Ok(FieldSpan {
        name: narrow(line.start..line.start + colon)?,
        value: narrow(line.start + value.start..line.start + value.end)?,
    })
}

/// Why a line does not begin with a token and a colon.
fn no_field(text: &[u8]) -> Http1Error {
    if matches!(text.first(), Some(b' ' | b'\t')) {
        return Http1Error::ObsFold;
    }
    let colon = memchr(b':', text);
    match colon.map(|colon| &text[..colon]) {
        Some([.., b' ' | b'\t']) => Http1Error::SpaceBeforeColon,
        _ => Http1Error::FieldName,
    }
}

/// Names that CGI-like origins fold into those that frame or route a message, because they read `_` and `-` as one.
pub fn is_mistakable(name: &[u8]) -> bool {
    const FRAMING: [&[u8]; 2] = [b"content_length", b"transfer_encoding"];
    memchr(b'_', name).is_some()
        && FRAMING.iter().any(|framing| {
            framing.len() == name.len()
                && framing.iter().zip(name).all(|(&ours, &theirs)| {
                    let theirs = if theirs == b'-' { b'_' } else { theirs.to_ascii_lowercase() };
                    ours == theirs
                })
        })
}

/// `range` of `text` without optional white space at its ends.
fn trim(text: &[u8], mut range: Range<usize>) -> Range<usize> {
    while range.start < range.end && matches!(text[range.start], b' ' | b'\t') {
        range.start += 1;
    }
    while range.start < range.end && matches!(text[range.end - 1], b' ' | b'\t') {
        range.end -= 1;
    }
    range
}

/// Whether every octet may stand in a field value: HTAB, SP, visible ASCII and obs-text (RFC 9110, 5.5).
pub fn is_field_value(text: &[u8]) -> bool {
    // Without an early return, so that the loop becomes vector instructions.
    text.iter().fold(true, |good, &octet| good & ((octet >= 0x20 && octet != 0x7f) || octet == b'\t'))
}

/// Whether `text` is a token (RFC 9110, 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&octet| TOKEN[usize::from(octet)])
}

/// Whether a token may begin with this octet.
pub(super) fn is_token_octet(octet: u8) -> bool {
    TOKEN[usize::from(octet)]
}

/// The octets of a token.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let it = octet as u8;
        table[octet] = it.is_ascii_alphanumeric()
            || matches!(
                it,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        octet += 1;
    }
    table
};
