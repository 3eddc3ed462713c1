//! What a record is beyond DNS, in the comment behind it: `COMMENT cf_tags=cf-proxied:true,cf-flatten-cname,TAG,TAG`.

use std::fmt::Write as _;

/// Marks a comment that was written by an export; any other is its reader's own and stays in the file.
const MARK: &str = "cf_tags=";
const PROXIED: &str = "cf-proxied:";
const FLATTEN: &str = "cf-flatten-cname";

/// What a comment says of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) proxied: Option<bool>,
    pub(super) flatten: bool,
    pub(super) comment: Option<String>,
    pub(super) tags: Vec<String>,
}

/// Reads a comment; `None` if it is not one of an export.
pub(super) fn parse(comment: &str) -> Option<Attributes> {
    let (text, tags) = match comment.rsplit_once(' ') {
        Some((text, last)) if last.starts_with(MARK) => (text, last),
        _ => ("", comment),
    };
    let tags = tags.strip_prefix(MARK)?;
    let comment = unescape(text.trim()).filter(|text| !text.is_empty());
    let mut attributes = Attributes { comment, ..Attributes::default() };
    for tag in tags.split(',').filter(|tag| !tag.is_empty()) {
        if tag == FLATTEN {
            attributes.flatten = true;
            continue;
        }
        match tag.strip_prefix(PROXIED) {
            Some("true") => attributes.proxied = Some(true),
            Some("false") => attributes.proxied = Some(false),
            _ => attributes
                .tags
                .push(percent_encoding::percent_decode_str(tag).decode_utf8_lossy().into_owned()),
        }
    }
    Some(attributes)
}

/// Writes a comment that reads as these attributes.
pub(super) fn write(attributes: &Attributes) -> String {
    let mut text = String::new();
    if let Some(comment) = &attributes.comment {
        text.push_str(&escape(comment));
        text.push(' ');
    }
    let proxied = attributes.proxied.map(|proxied| format!("{PROXIED}{proxied}"));
    let tags = attributes.tags.iter().map(|tag| {
        percent_encoding::utf8_percent_encode(tag, percent_encoding::NON_ALPHANUMERIC).to_string()
    });
    let flatten = attributes.flatten.then(|| FLATTEN.to_owned());
    let tags: Vec<String> = proxied.into_iter().chain(flatten).chain(tags).collect();
    text.push_str(MARK);
    text.push_str(&tags.join(","));
    text
}

/// A text on one line: backslashes, controls and blanks at its ends as `\DDD`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (position, letter) in text.chars().enumerate() {
        let at_end = position == 0 || position == last;
        let special =
            letter == '\\' || letter.is_control() || (letter.is_whitespace() && (at_end || letter != ' '));
        if special {
            let mut octets = [0; 4];
            for octet in letter.encode_utf8(&mut octets).bytes() {
                write!(escaped, "\\{octet:03}").expect("writing to a String does not fail");
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'\\' {
            let digits = [rest.next()?, rest.next()?, rest.next()?];
            octets.push(std::str::from_utf8(&digits).ok()?.parse().ok()?);
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_of_others_say_nothing() {
        for comment in ["", "the old server", "see cf_tags for more", "cf_tags"] {
            assert_eq!(parse(comment), None, "{comment}");
        }
    }

    #[test]
    fn what_a_v4_export_writes_is_read() {
        let attributes = parse("main site cf_tags=cf-proxied:true,owner:dns").unwrap();
        assert_eq!(attributes.proxied, Some(true));
        assert_eq!(attributes.comment.as_deref(), Some("main site"));
        assert_eq!(attributes.tags, ["owner:dns"]);
        assert_eq!(parse("cf_tags=cf-proxied:false").unwrap().proxied, Some(false));
    }

    #[test]
    fn odd_texts_come_back_as_they_were() {
        for comment in [" ", "a\nb", "\\", "ends cf_tags=x", "; \"(", " ä\u{a0}", "\u{2028}"] {
            let attributes = Attributes {
                proxied: Some(true),
                flatten: true,
                comment: Some(comment.to_owned()),
                tags: vec!["a b,c:%".to_owned()],
            };
            let text = write(&attributes);
            assert!(!text.contains('\n'));
            assert_eq!(parse(&text), Some(attributes), "{text}");
        }
    }
}
