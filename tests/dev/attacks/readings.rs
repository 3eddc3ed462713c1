//! Three ways in which origins find where a request ends. Where they differ, an attacker has room.

/// A request as one reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a reader makes of what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A request, and how many octets it has.
    Whole(Request, usize),
    /// More must come.
    Part,
    /// No request.
    Bad(&'static str),
}

/// How a reader takes what is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// As RFC 9112 has it; every doubt is an error.
    Strict,
    /// Lines end in LF, `_` is `-`, spaces are nothing, and whatever has `chunked` in it is chunked.
    ChunkedFirst,
    /// The same, but the first `Content-Length` is believed before anything else.
    LengthFirst,
}

pub(super) const READERS: [Reader; 3] = [Reader::Strict, Reader::ChunkedFirst, Reader::LengthFirst];

/// All requests of a connection. Octets of one that did not come to its end are an error unless it may be cut off.
pub(super) fn all(octets: &[u8], reader: Reader) -> Result<(Vec<Request>, bool), String> {
    let (mut requests, mut at) = (Vec::new(), 0);
    while at < octets.len() {
        match one(&octets[at..], reader) {
            Read::Whole(request, length) => {
                requests.push(request);
                at += length;
            }
            Read::Part => return Ok((requests, true)),
            Read::Bad(why) => {
                return Err(format!("{reader:?}: {why}: {:?}", String::from_utf8_lossy(&octets[at..])));
            }
        }
    }
    Ok((requests, false))
}

/// The request at the front.
pub(super) fn one(octets: &[u8], reader: Reader) -> Read {
    let mut at = 0;
    let first = match line(octets, &mut at, reader) {
        Ok(Some(line)) => line,
        Ok(None) => return Read::Part,
        Err(why) => return Read::Bad(why),
    };
    let mut fields = Vec::new();
    loop {
        match line(octets, &mut at, reader) {
            Ok(Some("")) => break,
            Ok(Some(line)) => match field(line, reader) {
                Ok(field) => fields.push(field),
                Err(why) => return Read::Bad(why),
            },
            Ok(None) => return Read::Part,
            Err(why) => return Read::Bad(why),
        }
    }
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Read::Bad("the request line") };
    let body = match body(octets, &mut at, &fields, reader) {
        Ok(Some(body)) => body,
        Ok(None) => return Read::Part,
        Err(why) => return Read::Bad(why),
    };
    Read::Whole(Request { method: method.to_owned(), target: target.to_owned(), fields, body }, at)
}

fn line<'a>(octets: &'a [u8], at: &mut usize, reader: Reader) -> Result<Option<&'a str>, &'static str> {
    let Some(length) = octets[*at..].iter().position(|&octet| octet == b'\n') else { return Ok(None) };
    let mut line = &octets[*at..*at + length];
    *at += length + 1;
    match line {
        [rest @ .., b'\r'] => line = rest,
        _ if reader == Reader::Strict => return Err("a bare LF"),
        _ => {}
    }
    if line.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t') && reader == Reader::Strict {
        return Err("a control octet");
    }
    std::str::from_utf8(line).map(Some).map_err(|_| "octets beyond UTF-8")
}

fn field(line: &str, reader: Reader) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(':').ok_or("a line without colon")?;
    if reader == Reader::Strict {
        let token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
        if name.is_empty() || !name.bytes().all(token) {
            return Err("a field's name");
        }
        return Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn body(
    octets: &[u8],
    at: &mut usize,
    fields: &[(String, String)],
    reader: Reader,
) -> Result<Option<Vec<u8>>, &'static str> {
    let reads_as =
        |name: &str| if reader == Reader::Strict { name.to_owned() } else { name.replace('_', "-") };
    let of = |wanted: &str| fields.iter().filter(|(name, _)| reads_as(name) == wanted).collect::<Vec<_>>();
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    let length = match (reader, &lengths[..]) {
        (_, []) => None,
        (Reader::Strict, [(_, one)]) if one.bytes().all(|octet| octet.is_ascii_digit()) => {
            Some(one.parse().map_err(|_| "a length")?)
        }
        (Reader::Strict, _) => return Err("several lengths, or none that is a number"),
        (_, [(_, first), ..]) => first.split(',').next().and_then(|text| text.trim().parse().ok()),
    };
    let chunked = match (reader, &codings[..]) {
        (_, []) => false,
        (Reader::Strict, [(_, one)]) if one == "chunked" && length.is_none() => true,
        (Reader::Strict, _) => return Err("a doubtful coding"),
        (Reader::ChunkedFirst, all) => {
            all.iter().any(|(_, value)| value.to_ascii_lowercase().contains("chunked"))
        }
        (Reader::LengthFirst, all) => length.is_none() && all.iter().any(|(_, value)| value == "chunked"),
    };
    if chunked {
        return chunks(octets, at, reader);
    }
    let length: usize = length.unwrap_or(0);
    let Some(body) = octets.get(*at..at.saturating_add(length)) else { return Ok(None) };
    *at += length;
    Ok(Some(body.to_vec()))
}

fn chunks(octets: &[u8], at: &mut usize, reader: Reader) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(octets, at, reader)? else { return Ok(None) };
        // Nothing here reads an extension: none should come through.
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk's size")?;
        if size == 0 {
            loop {
                match line(octets, at, reader)? {
                    Some("") => return Ok(Some(body)),
                    Some(trailer) => drop(field(trailer, reader)?),
                    None => return Ok(None),
                }
            }
        }
        let Some(data) = octets.get(*at..at.saturating_add(size)) else { return Ok(None) };
        body.extend_from_slice(data);
        *at += size;
        match line(octets, at, reader)? {
            Some("") => {}
            Some(_) => return Err("a chunk's end"),
            None => return Ok(None),
        }
    }
}
