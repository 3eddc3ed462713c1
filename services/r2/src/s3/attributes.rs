//! `GetObjectAttributes`: what is known of an object, and of the parts that it was uploaded in.

use bytes::Bytes;
use http::Response;
use proxima_pipeline::PartKept;
use s3s::{Body, S3Request, S3Response, S3Result, dto};

use super::{
    Front,
    convert::{self, tell_checksums},
    error::s3_error,
    lists,
    objects::check_version,
};

/// Marks an answer in which the entity tag is to stand bare, as S3 has it in this one alone: `s3s` writes quotes wherever one stands.
#[derive(Clone, Copy)]
struct BareTag;

/// An answer as S3 writes it.
pub(super) fn with_bare_tag(mut response: Response<Body>) -> Response<Body> {
    if response.extensions_mut().remove::<BareTag>().is_some() {
        let body = response.body_mut();
        let text = body.take_bytes().map(|text| bare_tag(&text));
        *body = text.map_or_else(|| std::mem::take(body), Body::from);
    }
    response
}

/// No other element of the text is somebody's own words.
fn bare_tag(text: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(text);
    text.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>").into()
}

fn part(kept: &PartKept) -> dto::ObjectPart {
    let mut told = dto::ObjectPart {
        part_number: Some(i32::from(kept.number)),
        size: i64::try_from(kept.octets).ok(),
        ..dto::ObjectPart::default()
    };
    tell_checksums!(told, (kept.checksum.as_ref(), None));
    told
}

impl Front {
    pub(super) async fn attributes(
        &self,
        request: S3Request<dto::GetObjectAttributesInput>,
    ) -> S3Result<S3Response<dto::GetObjectAttributesOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = &request.input;
        let key = convert::key(&asked.key)?;
        check_version(asked.version_id.as_deref())?;
        // Several of them stand in one field.
        let words = asked.object_attributes.iter().flat_map(|asked| asked.as_str().split(','));
        let words: Vec<_> = words.map(str::trim).collect();
        let wants = |word: &str| words.contains(&word);
        let limit = lists::limit(asked.max_parts)?;
        let after = convert::part_number(asked.part_number_marker.unwrap_or_default())?;
        let page = self.objects.parts_of(&bucket, &key, (after, limit)).await.map_err(s3_error)?;
        let about = page.about;
        let mut checksum = dto::Checksum::default();
        tell_checksums!(checksum, (about.checksum.as_ref(), about.parts));
        checksum.checksum_type =
            about.checksum.as_ref().map(|checksum| convert::checksum_type(checksum.kind));
        let parts = about.parts.map(|total| dto::GetObjectAttributesParts {
            is_truncated: Some(page.has_more),
            max_parts: Some(lists::count(limit)),
            next_part_number_marker: page.parts.last().map(|part| i32::from(part.number)),
            part_number_marker: Some(i32::from(after)),
            parts: Some(page.parts.iter().map(part).collect()),
            total_parts_count: Some(i32::from(total)),
        });
        let class = convert::storage_class(about.fields.class_in(&bucket));
        let mut response = S3Response::new(dto::GetObjectAttributesOutput {
            checksum: wants("Checksum").then_some(checksum).filter(|_| about.checksum.is_some()),
            e_tag: wants("ETag").then(|| convert::etag(&about.etag)),
            last_modified: Some(convert::time(about.modified)),
            object_parts: parts.filter(|_| wants("ObjectParts")),
            object_size: i64::try_from(about.octets).ok().filter(|_| wants("ObjectSize")),
            storage_class: wants("StorageClass").then(|| dto::StorageClass::from_static(class)),
            ..dto::GetObjectAttributesOutput::default()
        });
        response.extensions.insert(BareTag);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_marked_answer_stands_bare_and_all_others_in_quotes() {
        let text = "<a><ETag>\"0123-2\"</ETag><b>\"x\"</b></a>";
        let mut marked = Response::new(Body::from(text.to_owned()));
        let written = |response| with_bare_tag(response).body().bytes().expect("it is here");
        let unmarked = Response::new(Body::from(text.to_owned()));
        assert_eq!(written(unmarked), text);
        marked.extensions_mut().insert(BareTag);
        assert_eq!(written(marked), "<a><ETag>0123-2</ETag><b>\"x\"</b></a>");
    }
}
