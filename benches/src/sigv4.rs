//! AWS Signature Version 4, as a client of S3 signs a request: its head, and not its body, which then costs a load nothing.

use std::fmt::Write as _;
use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use proxima_model::Timestamp;

/// The region of all that is measured here; the name that R2 has for its own.
pub(crate) const REGION: &str = "auto";
const SERVICE: &str = "s3";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Says that the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) access: String,
    pub(crate) secret: String,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    /// Of letters that need no encoding.
    pub(crate) path: &'a str,
    /// Its parts encoded, and in their order.
    pub(crate) query: &'a str,
}

impl Keys {
    /// The lines of a head that sign it.
    pub(crate) fn fields(&self, asked: &Asked<'_>, now: Timestamp) -> String {
        let Asked { method, host, path, query } = asked;
        let at = date_and_time(now);
        let date = &at[..8];
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{UNSIGNED}\nx-amz-date:{at}\n\n{signed}\n{UNSIGNED}"
        );
        let scope = format!("{date}/{REGION}/{SERVICE}/aws4_request");
        let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("{ALGORITHM}\n{at}\n{scope}\n{hash}");
        let signature = hex(&keyed(&key(&self.secret, date, REGION, SERVICE), text.as_bytes()));
        format!(
            "Authorization: {ALGORITHM} Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\
             x-amz-content-sha256: {UNSIGNED}\r\nx-amz-date: {at}\r\n",
            self.access
        )
    }
}

/// The key of a day, a region and a service.
fn key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    [date, region, service, "aws4_request"].iter().fold(first, |key, part| keyed(&key, part.as_bytes()))
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// `20261129T213204Z`.
fn date_and_time(now: Timestamp) -> String {
    let shown = now.to_string();
    let whole = shown.split(['.', 'Z']).next().unwrap_or_default();
    whole.chars().filter(|letter| !"-:".contains(*letter)).chain(['Z']).collect()
}

/// The time by this machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a signature says what time it is, and there is no node here whose clock it is"
)]
pub(crate) fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("reading the clock")?;
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis()).context("the clock is far ahead")?))
}

/// In lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_derived_as_the_documentations_example_has_it() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let key = key(secret, "20120215", "us-east-1", "iam");
        assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn the_time_is_written_without_what_parts_it() {
        assert_eq!(date_and_time(Timestamp::from_millis(1_790_000_000_123)), "20260921T141320Z");
    }
}
