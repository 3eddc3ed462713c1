//! HTTP/2 by hand: frames and sections that no client library would send.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame (RFC 9113, 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields with literal names, never indexed (RFC 7541, 6.2.3).
pub(super) fn section(fields: &[(String, String)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127, "a length of one octet: {text}");
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat()).collect()
}

/// The fields of a request; those with a colon in front replace its own, and `^` is its path.
pub(super) fn fields(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "www.example.com")];
    let replaced = |name: &str| more.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let pseudo = own.iter().map(|(name, value)| (*name, replaced(name).unwrap_or(value)));
    let others = more.iter().filter(|(name, _)| !own.iter().any(|(known, _)| known == name)).copied();
    pseudo.chain(others).map(|(name, value)| (name.to_owned(), value.replace('^', path))).collect()
}
