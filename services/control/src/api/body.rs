//! Bodies: JSON within bounds, with errors that say where.

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request, multipart::MultipartError},
    http::header,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use proxima_model::excerpt;
use serde::de::DeserializeOwned;

use super::objects::Objects;
use crate::{
    error::{ApiError, Code},
    limits,
};

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        json(request, false).await.map(Self)
    }
}

/// A JSON body that may be called text: `fetch` of JavaScript calls a string so of which nothing is said, and wrangler leaves it at
/// that for some endpoints.
pub(crate) struct TextJsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for TextJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        json(request, true).await.map(Self)
    }
}

async fn json<T: DeserializeOwned>(request: Request, may_be_text: bool) -> Result<T, ApiError> {
    let content_type = content_type(&request);
    let may_be = match &*content_type {
        "" | "application/json" => true,
        "text/plain" => may_be_text,
        other => other.ends_with("+json"),
    };
    if !may_be {
        return Err(ApiError::new(
            Code::ContentType,
            format!("the body's content type is {}; send application/json", excerpt(&content_type)),
        ));
    }
    let octets = read(request, limits::JSON_BODY_OCTETS_MAX).await?;
    parse(&octets)
}

/// The media type of a request's body, without parameters, lower case.
pub(crate) fn content_type(request: &Request) -> String {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a body that may have this many octets. One that is somewhat longer is read to its end and thrown away, since
/// many clients read the answer only when they have sent everything.
pub(crate) async fn read(request: Request, octets_max: usize) -> Result<Bytes, ApiError> {
    let too_long = || ApiError::new(Code::TooLong, format!("the body is longer than {octets_max} octets"));
    let bound = octets_max + limits::DISCARDED_OCTETS_MAX;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > bound as u64) {
        return Err(too_long());
    }
    let mut chunks = request.into_body().into_data_stream();
    let (mut octets, mut length) = (BytesMut::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::new(Code::BodyInvalid, "the body broke off"))?;
        length = length.saturating_add(chunk.len());
        if length > bound {
            break;
        }
        if length > octets_max {
            octets = BytesMut::new();
        } else {
            octets.extend_from_slice(&chunk);
        }
    }
    if length > octets_max { Err(too_long()) } else { Ok(octets.freeze()) }
}

/// Reads a form that may have this many octets in all.
pub(crate) async fn form(request: Request, octets_max: usize) -> Result<Multipart, ApiError> {
    // With the bound of the whole API among its extensions: without, a form's is lower than ours.
    let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
    let octets = read(request, octets_max).await?;
    let mut whole = Request::new(Body::from(octets));
    *whole.headers_mut() = headers;
    *whole.extensions_mut() = extensions;
    Multipart::from_request(whole, &())
        .await
        .map_err(|_| ApiError::new(Code::ContentType, "the form has no boundary"))
}

/// A form that is not one.
pub(crate) fn broken_form(error: MultipartError) -> ApiError {
    ApiError::new(Code::BodyInvalid, format!("the form cannot be read: {}", error.body_text()))
}

/// Parses JSON; an error says where in it.
pub(crate) fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    let value = serde_path_to_error::deserialize(Objects(&mut deserializer)).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        let refusal = ApiError::new(Code::BodyInvalid, format!("the body is not what it should be: {inner}"));
        if pointer.is_empty() { refusal } else { refusal.at(pointer) }
    })?;
    deserializer
        .end()
        .map_err(|_| ApiError::new(Code::BodyInvalid, "the body has something after its JSON value"))?;
    Ok(value)
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

/// A field that may be absent, null or given: what a patch tells apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// Not in the body: stays as it is.
    #[default]
    Absent,
    /// `null`: is taken away.
    Null,
    /// A value.
    Value(T),
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Given<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[serde(rename = "posts")]
        _posts: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Inner {
        #[serde(rename = "ttl")]
        _ttl: u32,
    }

    #[test]
    fn an_error_in_a_body_says_where() {
        let refusal = parse::<Outer>(br#"{"posts":[{"ttl":1},{"ttl":"x"}]}"#).unwrap_err();
        assert_eq!(refusal.problems[0].pointer.as_deref(), Some("/posts/1/ttl"));
        assert!(refusal.to_string().contains("invalid type: string"), "{refusal}");
    }

    #[test]
    fn a_list_in_an_objects_place_is_refused_with_its_place() {
        let refusal = parse::<Outer>(br#"{"posts":[{"ttl":1},[1]]}"#).unwrap_err();
        assert_eq!(refusal.problems[0].pointer.as_deref(), Some("/posts/1"));
        assert!(refusal.to_string().contains("expected an object"), "{refusal}");
        assert!(parse::<Outer>(b"[[]]").unwrap_err().to_string().contains("expected an object"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in ["", "{", "[]", "{\"posts\":[]} x", "\u{0}"] {
            assert_eq!(parse::<Outer>(body.as_bytes()).unwrap_err().code(), Code::BodyInvalid, "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        let deep = format!("{{\"posts\":{}", "[".repeat(1_000_000));
        assert_eq!(parse::<Outer>(deep.as_bytes()).unwrap_err().code(), Code::BodyInvalid);
    }
}
