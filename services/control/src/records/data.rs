//! What a record says, as v4 has it: `content` with `priority`, or for types of several fields `data`, and both ways.
//!
//! Whatever is given becomes a presentation form, which the model parses: there is one place where data is checked.

use std::borrow::Cow;

use proxima_model::{
    Angle, CaaTag, Field, FieldKind, FieldValue, Invalid, Location, OtherType, Rdata, RecordData, RecordType,
    excerpt, quote,
};
use serde_json::{Map, Number, Value, json};

/// What a field is called that stands beside `data`.
const PRIORITY: &str = "priority";
/// What the only field of a type is called.
const CONTENT: &str = "content";

/// The parts of a record's data, as v4 shows them.
pub(super) struct Parts {
    pub(super) content: String,
    pub(super) priority: Option<u16>,
    pub(super) data: Option<Map<String, Value>>,
}

/// The parts of record data.
pub(super) fn parts(data: &RecordData) -> Parts {
    let object = |value: Value| value.as_object().cloned();
    match data {
        RecordData::Mx { priority, exchange } => {
            Parts { content: exchange.to_string(), priority: Some(*priority), data: None }
        }
        RecordData::Srv { priority, weight, port, target } => Parts {
            content: format!("{weight} {port} {target}"),
            priority: Some(*priority),
            data: object(json!({ "priority": priority, "weight": weight, "port": port, "target": target })),
        },
        RecordData::Caa { flags, tag, value } => Parts {
            content: data.content(),
            priority: None,
            data: object(json!({ "flags": flags, "tag": tag, "value": value })),
        },
        RecordData::Other(rdata) => parts_of_other(data, rdata),
        _ => Parts { content: data.content(), priority: None, data: None },
    }
}

fn parts_of_other(data: &RecordData, rdata: &Rdata) -> Parts {
    let content = data.content();
    if let Some(location) = rdata.location() {
        return Parts { content, priority: None, data: Some(show_location(&location)) };
    }
    let fields = rdata.fields().unwrap_or_default();
    let value = |value: &FieldValue| match value {
        FieldValue::Number(number) => Value::from(*number),
        FieldValue::Text(text) => Value::from(text.as_str()),
    };
    let shown = fields.iter().filter(|(field, _)| field.name != CONTENT);
    let object: Map<String, Value> =
        shown.map(|(field, held)| (field.key().to_owned(), value(held))).collect();
    let priority = fields.iter().find_map(|(field, value)| match value {
        FieldValue::Number(number) if field.name == PRIORITY => Some(*number),
        _ => None,
    });
    // As that of SRV, the content of a type whose priority stands beside it is without it.
    let content = match priority {
        Some(_) => content.split_once(' ').map_or(String::new(), |(_, rest)| rest.to_owned()),
        None => content,
    };
    Parts { content, priority, data: Some(object).filter(|object| !object.is_empty()) }
}

/// A number in JSON, whole where it is. Both parts are far below 2^53, so that the quotient is the nearest number, and
/// written by its shortest form, which is that of the decimal.
fn decimal(number: i64, places: u32) -> Value {
    let unit = 10_i64.pow(places);
    if number % unit == 0 { Value::from(number / unit) } else { Value::from(number as f64 / unit as f64) }
}

fn show_location(location: &Location) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, angle, directions) in
        [("lat", location.latitude, ["N", "S"]), ("long", location.longitude, ["E", "W"])]
    {
        let Angle { positive, degrees, minutes, milliseconds } = angle;
        object.insert(format!("{name}_degrees"), degrees.into());
        object.insert(format!("{name}_minutes"), minutes.into());
        object.insert(format!("{name}_seconds"), decimal(milliseconds.into(), 3));
        object.insert(format!("{name}_direction"), directions[usize::from(!positive)].into());
    }
    object.insert("altitude".to_owned(), decimal(location.altitude_cm, 2));
    for (name, cm) in ["size", "precision_horz", "precision_vert"].into_iter().zip(location.extents_cm) {
        object.insert(name.to_owned(), decimal(cm, 2));
    }
    object
}

/// The presentation form of a place. What is not given has the default of RFC 1876.
fn location_content(data: &Map<String, Value>) -> Result<String, Invalid> {
    let mut words = Vec::new();
    let mut part = |name: &'static str, default: Option<&str>| {
        let word = match (data.get(name.strip_prefix("data.").unwrap_or(name)), default) {
            (Some(Value::Number(number)), _) => number.to_string(),
            (Some(Value::String(text)), None) if name.ends_with("direction") => text.clone(),
            (None | Some(Value::Null), Some(default)) => default.to_owned(),
            _ => {
                return Err(Invalid::new(
                    name,
                    "it is missing, or of another kind",
                    "give a number; a direction is N, S, E or W",
                ));
            }
        };
        words.push(word);
        Ok(())
    };
    part("data.lat_degrees", None)?;
    part("data.lat_minutes", Some("0"))?;
    part("data.lat_seconds", Some("0"))?;
    part("data.lat_direction", None)?;
    part("data.long_degrees", None)?;
    part("data.long_minutes", Some("0"))?;
    part("data.long_seconds", Some("0"))?;
    part("data.long_direction", None)?;
    part("data.altitude", Some("0"))?;
    part("data.size", Some("1"))?;
    part("data.precision_horz", Some("10000"))?;
    part("data.precision_vert", Some("10"))?;
    Ok(words.join(" "))
}

/// The presentation form of the data of a type that the network does not look into, from its fields.
fn content_of_fields(
    fields: &[Field],
    data: &Map<String, Value>,
    priority: &dyn Fn() -> Result<u16, Invalid>,
) -> Result<String, Invalid> {
    let mut words: Vec<Cow<'_, str>> = Vec::with_capacity(fields.len());
    for field in fields {
        let word = match (field.kind, data.get(field.key())) {
            (FieldKind::Params, None | Some(Value::Null)) => continue,
            (_, None) if field.name == PRIORITY => priority()?.to_string().into(),
            // An algorithm may be given by its name.
            (kind, Some(Value::String(text))) if kind.is_number() => one_word(field, text)?,
            (kind, _) if kind.is_number() => number_of(data, field.name)?.to_string().into(),
            (FieldKind::Text | FieldKind::Rest, _) => quote(text_of(data, field.name)?.as_bytes()).into(),
            (FieldKind::Name, _) => one_word(field, text_of(data, field.name)?)?,
            _ => text_of(data, field.name)?.into(),
        };
        words.push(word);
    }
    Ok(words.join(" "))
}

/// A field that cannot spill into the next one.
fn one_word<'a>(field: &Field, text: &'a str) -> Result<Cow<'a, str>, Invalid> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Invalid::new(field.name, format!("{} is not one word", excerpt(text)), "give one word"));
    }
    Ok(text.into())
}

/// Record data from the parts that v4 has.
pub(super) fn assemble(
    record_type: RecordType,
    content: Option<&str>,
    data: Option<&Map<String, Value>>,
    priority: Option<&Number>,
) -> Result<RecordData, Invalid> {
    let content =
        content.map(str::trim).filter(|content| !content.is_empty() || record_type == RecordType::Txt);
    let missing = |remedy| Invalid::new("content", "it is missing", remedy);
    let priority = || match priority {
        Some(number) => whole::<u16>(number, "priority", "give 0 to 65535"),
        None => Err(Invalid::new("priority", "it is missing", "give 0 to 65535")),
    };
    match (record_type, data, content) {
        (RecordType::Srv, Some(data), _) => {
            let own = match data.get("priority") {
                Some(Value::Number(number)) => whole(number, "data.priority", "give 0 to 65535")?,
                _ => priority()?,
            };
            let (weight, port) = (number_of(data, "data.weight")?, number_of(data, "data.port")?);
            let target = text_of(data, "data.target")?;
            RecordData::parse(record_type, &format!("{own} {weight} {port} {target}"))
        }
        (RecordType::Caa, Some(data), _) => {
            let flags = u8::try_from(number_of(data, "data.flags")?)
                .map_err(|_| Invalid::new("data.flags", "it is too large", "give 0 to 255"))?;
            let tag = CaaTag::parse(text_of(data, "data.tag")?)?;
            RecordData::caa(flags, tag.as_str(), text_of(data, "data.value")?)
        }
        (RecordType::Other(OtherType::LOC), Some(data), _) => {
            RecordData::parse(record_type, &location_content(data)?)
        }
        (RecordType::Other(other), Some(data), _)
            if other.fields().iter().any(|field| field.name != CONTENT) =>
        {
            RecordData::parse(record_type, &content_of_fields(other.fields(), data, &priority)?)
        }
        (RecordType::Other(OtherType::URI), _, Some(content)) if content.split_whitespace().count() == 2 => {
            RecordData::parse(record_type, &format!("{} {content}", priority()?))
        }
        (_, _, None) => Err(missing("give the record's content")),
        (RecordType::Mx, _, Some(content)) if content.split_whitespace().count() == 1 => {
            RecordData::parse(record_type, &format!("{} {content}", priority()?))
        }
        (RecordType::Srv, _, Some(content)) if content.split_whitespace().count() == 3 => {
            RecordData::parse(record_type, &format!("{} {content}", priority()?))
        }
        (_, _, Some(content)) => RecordData::parse(record_type, content),
    }
}

fn number_of(data: &Map<String, Value>, field: &'static str) -> Result<u16, Invalid> {
    let name = field.strip_prefix("data.").unwrap_or(field);
    match data.get(name) {
        Some(Value::Number(number)) => whole(number, field, "give 0 to 65535"),
        _ => Err(Invalid::new(field, "it is missing or not a number", "give 0 to 65535")),
    }
}

fn text_of<'a>(data: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Invalid> {
    let name = field.strip_prefix("data.").unwrap_or(field);
    let text = data.get(name).and_then(Value::as_str);
    text.ok_or_else(|| Invalid::new(field, "it is missing or not a text", "give a text"))
}

/// A number that is whole, also when it is written as `10.0`.
pub(super) fn whole<T: TryFrom<u64>>(
    number: &Number,
    field: &'static str,
    remedy: &'static str,
) -> Result<T, Invalid> {
    let text = number.to_string();
    let digits = text.strip_suffix(".0").unwrap_or(&text);
    let parsed = digits.parse::<u64>().ok().and_then(|parsed| T::try_from(parsed).ok());
    parsed.ok_or_else(|| Invalid::new(field, format!("{text:.40} is out of range"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn of(kind: &str, data: Value) -> Result<RecordData, Invalid> {
        assemble(RecordType::by_name(kind)?, None, Some(&object(data)), None)
    }

    #[test]
    fn the_fields_of_v4_are_the_content_and_the_content_is_the_fields() {
        let digest = "0a".repeat(32);
        for (kind, data, content) in [
            (
                "CERT",
                json!({"type": 1, "key_tag": 2, "algorithm": 8, "certificate": "AAAA"}),
                "1 2 8 AAAA".to_owned(),
            ),
            (
                "DNSKEY",
                json!({"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "AAAA"}),
                "257 3 13 AAAA".to_owned(),
            ),
            (
                "DS",
                json!({"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": digest}),
                format!("1 13 2 {digest}"),
            ),
            (
                "HTTPS",
                json!({"priority": 1, "target": ".", "value": "alpn=\"h3,h2\" port=8443"}),
                "1 . alpn=\"h3,h2\" port=8443".to_owned(),
            ),
            (
                "SVCB",
                json!({"priority": 0, "target": "a.example.net.", "value": ""}),
                "0 a.example.net.".to_owned(),
            ),
            (
                "NAPTR",
                json!({"order": 1, "preference": 2, "flags": "u", "service": "E2U+sip", "regex": "!^(.*)$!sip:\\1 \"x\"!", "replacement": "."}),
                "1 2 \"u\" \"E2U+sip\" \"!^(.*)$!sip:\\\\1 \\\"x\\\"!\" .".to_owned(),
            ),
            (
                "SMIMEA",
                json!({"usage": 3, "selector": 1, "matching_type": 1, "certificate": digest}),
                format!("3 1 1 {digest}"),
            ),
            ("SSHFP", json!({"algorithm": 4, "type": 2, "fingerprint": digest}), format!("4 2 {digest}")),
            (
                "TLSA",
                json!({"usage": 3, "selector": 1, "matching_type": 1, "certificate": digest}),
                format!("3 1 1 {digest}"),
            ),
            (
                "URI",
                json!({"priority": 10, "weight": 1, "target": "https://a.example/"}),
                "10 1 \"https://a.example/\"".to_owned(),
            ),
            (
                "LOC",
                json!({
                    "lat_degrees": 51, "lat_minutes": 30, "lat_seconds": 12.748, "lat_direction": "N",
                    "long_degrees": 0, "long_minutes": 7, "long_seconds": 39.611, "long_direction": "W",
                    "altitude": -24.05, "size": 1, "precision_horz": 10000, "precision_vert": 10
                }),
                "51 30 12.748 N 0 7 39.611 W -24.05m 1.00m 10000.00m 10.00m".to_owned(),
            ),
        ] {
            let made = of(kind, data.clone()).unwrap_or_else(|refusal| panic!("{kind}: {refusal}"));
            assert_eq!(made.content(), content);
            assert_eq!(parts(&made).data, Some(object(data)), "{kind}");
        }
        for (kind, content) in [("PTR", "a.example.net"), ("OPENPGPKEY", "AAAA"), ("TYPE65280", "\\# 1 aa")] {
            let made = RecordData::parse(RecordType::by_name(kind).unwrap(), content).unwrap();
            let shown = parts(&made);
            assert_eq!((shown.content.as_str(), shown.data, shown.priority), (content, None, None));
        }
    }

    #[test]
    fn parts_of_a_place_that_are_not_given_are_those_of_the_rfc() {
        let data =
            json!({"lat_degrees": 1.0, "lat_direction": "s", "long_degrees": 2, "long_direction": "E"});
        let made = of("LOC", data).unwrap();
        assert_eq!(made.content(), "1 0 0.000 S 2 0 0.000 E 0.00m 1.00m 10000.00m 10.00m");
    }

    #[test]
    fn a_priority_stands_beside_the_data_of_a_uri_or_in_it() {
        let uri = RecordType::Other(OtherType::URI);
        let (priority, data) = (Number::from(7), object(json!({"weight": 1, "target": "a:b"})));
        let beside = assemble(uri, None, Some(&data), Some(&priority)).unwrap();
        assert_eq!(beside.content(), "7 1 \"a:b\"");
        let shown = parts(&beside);
        assert_eq!((shown.content.as_str(), shown.priority), ("1 \"a:b\"", Some(7)));
        assert_eq!(assemble(uri, Some(&shown.content), None, Some(&priority)).unwrap(), beside);
        assert_eq!(assemble(uri, None, Some(&data), None).unwrap_err().field, "priority");
    }

    #[test]
    fn a_field_that_is_wrong_is_named_and_spills_into_no_other() {
        for (kind, data, field) in [
            ("TLSA", json!({"usage": 3, "selector": 1, "matching_type": 1}), "data.certificate"),
            (
                "TLSA",
                json!({"usage": 256, "selector": 1, "matching_type": 1, "certificate": "aa"}),
                "data.usage",
            ),
            (
                "TLSA",
                json!({"usage": "3 1", "selector": 1, "matching_type": 1, "certificate": "aa"}),
                "data.usage",
            ),
            (
                "TLSA",
                json!({"usage": 3, "selector": 1, "matching_type": 0, "certificate": 7}),
                "data.certificate",
            ),
            ("HTTPS", json!({"priority": 1, "target": ". alpn=h2"}), "data.target"),
            ("HTTPS", json!({"priority": 1, "target": "", "value": "alpn=h2"}), "data.target"),
            ("HTTPS", json!({"target": "."}), "data.priority"),
            (
                "LOC",
                json!({"lat_degrees": 1, "lat_direction": "N", "long_degrees": 2}),
                "data.long_direction",
            ),
            (
                "LOC",
                json!({"lat_degrees": "1", "lat_direction": "N", "long_degrees": 2, "long_direction": "E"}),
                "data.lat_degrees",
            ),
            (
                "NAPTR",
                json!({"order": 1, "preference": 2, "flags": "s", "service": "", "regex": "!a!b!", "replacement": "a.b."}),
                "data.replacement",
            ),
        ] {
            assert_eq!(of(kind, data.clone()).unwrap_err().field, field, "{kind} {data}");
        }
    }
}
