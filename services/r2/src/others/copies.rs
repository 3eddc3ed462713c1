//! Copies between buckets of two homes: read from the one, put at the other, through the server that was asked. Conditions of the
//! original are looked at as it is read, those of the copy as it is put.

use proxima_model::Bucket;
use proxima_pipeline::{
    ChecksumAlgorithm, ChecksumKind, Expected, OBJECT_PUT_OCTETS_MAX, ObjectAbout, ObjectConditions,
    ObjectCopy, ObjectError, ObjectGet, ObjectKey, ObjectPut, ObjectRange, Objects, PartAbout, UploadId,
};

/// Copies an object. One that was uploaded in parts is put as a whole, and has the entity tag of one that was.
pub(super) async fn object(
    objects: &impl Objects,
    (from, from_key): (&Bucket, &ObjectKey),
    (to, key): (&Bucket, &ObjectKey),
    copy: ObjectCopy,
) -> Result<ObjectAbout, ObjectError> {
    let get = ObjectGet { conditions: copy.source.clone(), range: None };
    let read = objects.get(from, from_key, get).await.map_err(of_reading)?;
    if read.about.octets > OBJECT_PUT_OCTETS_MAX {
        return Err(ObjectError::TooLarge);
    }
    let expected = expected(&read.about, copy.checksum);
    let fields = copy.fields_of(read.about.fields);
    let copied_from = Some((from.name.clone(), from_key.clone()));
    let put = ObjectPut { fields, conditions: copy.conditions, expected, copied_from };
    objects.put(to, key, put, read.body).await.map_err(of_writing)
}

/// Copies some octets of an object, or all, as a part.
pub(super) async fn part(
    objects: &impl Objects,
    (from, from_key): (&Bucket, &ObjectKey),
    (range, conditions): (Option<ObjectRange>, ObjectConditions),
    (to, key): (&Bucket, &ObjectKey),
    part: (UploadId, u16),
) -> Result<PartAbout, ObjectError> {
    let get = ObjectGet { conditions, range };
    let read = objects.get(from, from_key, get).await.map_err(of_reading)?;
    let octets = read.span.map_or(read.about.octets, |span| span.octets);
    let expected = Expected { octets: Some(octets), ..Expected::default() };
    objects.put_part(to, key, part, expected, read.body).await.map_err(of_writing)
}

/// What the copy's octets must be: what is known of the original's.
fn expected(about: &ObjectAbout, wished: Option<ChecksumAlgorithm>) -> Expected {
    let known = about.checksum.as_ref();
    let algorithm = wished.or(known.map(|known| known.algorithm));
    let value = |algorithm| {
        let is_it = known.filter(|known| known.algorithm == algorithm && known.kind == ChecksumKind::Full);
        is_it.map(|known| known.value.clone())
    };
    let md5 = about.parts.is_none().then(|| hex::decode(&about.etag).ok()?.try_into().ok());
    Expected {
        octets: Some(about.octets),
        md5: md5.flatten(),
        checksum: algorithm.map(|algorithm| (algorithm, value(algorithm))),
    }
}

fn of_reading(error: ObjectError) -> ObjectError {
    match error {
        // Nobody who copies has it already.
        ObjectError::NotModified(_) => ObjectError::PreconditionFailed,
        error => error,
    }
}

/// The client has sent nothing that could be wrong.
fn of_writing(error: ObjectError) -> ObjectError {
    match error {
        ObjectError::Body(what) => {
            ObjectError::Unreachable(format!("the original could not be read to its end: {what}"))
        }
        ObjectError::BadDigest(what) => ObjectError::Broken(format!("a copy is not what its {what} says")),
        error => error,
    }
}
