//! What its owner sets of a bucket: who may ask from other sites, and what goes by itself. S3 has the same rules as R2's API, in
//! other words; they are kept in the API's.

use proxima_pipeline::{
    CorsAllowed, CorsPolicy, CorsRule, Lifecycle, LifecycleCondition, LifecycleConditions, LifecycleRule,
    LifecycleTransition, ObjectError, StorageClassTransition,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::{
    Front, convert,
    error::{not_offered, s3_error},
};

/// S3 counts ages in days.
const DAY_SECONDS: u64 = 86_400;
/// What R2's API calls the class that S3 calls `STANDARD_IA`.
const INFREQUENT: &str = "InfrequentAccess";

fn invalid(what: &str) -> S3Error {
    s3_error(ObjectError::Invalid(what.to_owned()))
}

impl Front {
    pub(super) async fn cors(
        &self,
        request: S3Request<dto::GetBucketCorsInput>,
    ) -> S3Result<S3Response<dto::GetBucketCorsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let policy = bucket.cors.as_ref().and_then(CorsPolicy::kept);
        let none =
            || S3Error::with_message(S3ErrorCode::NoSuchCORSConfiguration, "this bucket has no such rules");
        let rules = policy.ok_or_else(none)?.rules.into_iter().map(cors_told).collect();
        Ok(S3Response::new(dto::GetBucketCorsOutput { cors_rules: Some(rules) }))
    }

    pub(super) async fn set_cors(
        &self,
        request: S3Request<dto::PutBucketCorsInput>,
    ) -> S3Result<S3Response<dto::PutBucketCorsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let author = Self::caller(&request)?.author;
        let rules = request.input.cors_configuration.cors_rules.into_iter().map(cors_given);
        let policy = CorsPolicy { rules: rules.collect::<S3Result<_>>()? };
        policy.check().map_err(s3_error)?;
        let kept = policy.to_value();
        let set = self.buckets.set(&bucket, author, move |bucket| bucket.cors = Some(kept.clone()));
        set.await.map_err(s3_error)?;
        Ok(S3Response::new(dto::PutBucketCorsOutput::default()))
    }

    pub(super) async fn unset_cors(
        &self,
        request: S3Request<dto::DeleteBucketCorsInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketCorsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let author = Self::caller(&request)?.author;
        self.buckets.set(&bucket, author, |bucket| bucket.cors = None).await.map_err(s3_error)?;
        Ok(S3Response::with_status(dto::DeleteBucketCorsOutput::default(), http::StatusCode::NO_CONTENT))
    }

    pub(super) async fn lifecycle(
        &self,
        request: S3Request<dto::GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLifecycleConfigurationOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let kept = bucket.lifecycle.as_ref().map(|kept| Lifecycle::kept(Some(kept)));
        let none = || {
            let what = "this bucket has no such rules; uploads that are not completed go after seven days";
            S3Error::with_message(S3ErrorCode::NoSuchLifecycleConfiguration, what)
        };
        let rules = kept.filter(|kept| !kept.rules.is_empty()).ok_or_else(none)?.rules;
        let rules = rules.into_iter().map(rule_told).collect::<S3Result<_>>()?;
        Ok(S3Response::new(dto::GetBucketLifecycleConfigurationOutput {
            rules: Some(rules),
            ..Default::default()
        }))
    }

    pub(super) async fn set_lifecycle(
        &self,
        request: S3Request<dto::PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<dto::PutBucketLifecycleConfigurationOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let author = Self::caller(&request)?.author;
        let given = request.input.lifecycle_configuration.map(|given| given.rules).unwrap_or_default();
        if given.is_empty() {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "give at least one rule"));
        }
        let rules = Lifecycle { rules: given.into_iter().map(rule_given).collect::<S3Result<_>>()? };
        rules.check().map_err(s3_error)?;
        let kept = rules.to_value();
        let set = self.buckets.set(&bucket, author, move |bucket| bucket.lifecycle = Some(kept.clone()));
        set.await.map_err(s3_error)?;
        Ok(S3Response::new(dto::PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn unset_lifecycle(
        &self,
        request: S3Request<dto::DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketLifecycleOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let author = Self::caller(&request)?.author;
        self.buckets.set(&bucket, author, |bucket| bucket.lifecycle = None).await.map_err(s3_error)?;
        let told = dto::DeleteBucketLifecycleOutput::default();
        Ok(S3Response::with_status(told, http::StatusCode::NO_CONTENT))
    }
}

fn cors_given(rule: dto::CORSRule) -> S3Result<CorsRule> {
    let seconds = rule.max_age_seconds.map(u32::try_from).transpose();
    Ok(CorsRule {
        id: rule.id,
        allowed: CorsAllowed {
            methods: rule.allowed_methods,
            origins: rule.allowed_origins,
            headers: rule.allowed_headers.unwrap_or_default(),
        },
        expose_headers: rule.expose_headers.unwrap_or_default(),
        max_age_seconds: seconds.map_err(|_| invalid("MaxAgeSeconds: give 0 or more"))?,
    })
}

fn cors_told(rule: CorsRule) -> dto::CORSRule {
    let some = |words: Vec<String>| (!words.is_empty()).then_some(words);
    dto::CORSRule {
        id: rule.id,
        allowed_methods: rule.allowed.methods,
        allowed_origins: rule.allowed.origins,
        allowed_headers: some(rule.allowed.headers),
        expose_headers: some(rule.expose_headers),
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    }
}

fn days(days: i32, least: i32) -> S3Result<LifecycleCondition> {
    let days = u64::try_from(days).ok().filter(|_| days >= least);
    let days = days.ok_or_else(|| invalid("a number of days is positive"))?;
    Ok(LifecycleCondition::Age { max_age: days * DAY_SECONDS })
}

fn date(at: &dto::Timestamp) -> S3Result<LifecycleCondition> {
    if convert::at(at)?.as_seconds() % DAY_SECONDS.cast_signed() != 0 {
        return Err(invalid("Date: give midnight of UTC"));
    }
    let mut text = Vec::new();
    let written = at.format(dto::TimestampFormat::DateTime, &mut text);
    let date = String::from_utf8(text).ok().filter(|_| written.is_ok());
    date.map(|date| LifecycleCondition::Date { date }).ok_or_else(|| invalid("Date: it is none"))
}

/// A number of days or a date: one of them.
fn condition(
    (given_days, least): (Option<i32>, i32),
    given_date: Option<&dto::Timestamp>,
) -> S3Result<LifecycleCondition> {
    match (given_days, given_date) {
        (Some(given), None) => days(given, least),
        (None, Some(given)) => date(given),
        _ => Err(S3Error::with_message(S3ErrorCode::MalformedXML, "give Days or Date, one of them")),
    }
}

/// How the keys begin that a rule of S3 covers.
fn prefix(rule: &dto::LifecycleRule) -> S3Result<String> {
    let filter = rule.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    let by_size = |greater: &Option<_>, less: &Option<_>| greater.is_some() || less.is_some();
    let is_by_more = filter.is_some_and(|filter| {
        filter.tag.is_some() || by_size(&filter.object_size_greater_than, &filter.object_size_less_than)
    }) || and.is_some_and(|and| {
        and.tags.as_ref().is_some_and(|tags| !tags.is_empty())
            || by_size(&and.object_size_greater_than, &and.object_size_less_than)
    });
    if is_by_more {
        return Err(not_offered("a lifecycle rule by tags or sizes"));
    }
    let given = and.and_then(|and| and.prefix.clone());
    let given = given.or_else(|| filter.and_then(|filter| filter.prefix.clone()));
    Ok(given.or_else(|| rule.prefix.clone()).unwrap_or_default())
}

fn rule_given(rule: dto::LifecycleRule) -> S3Result<LifecycleRule> {
    if rule.noncurrent_version_expiration.is_some() || rule.noncurrent_version_transitions.is_some() {
        return Err(not_offered("a lifecycle rule for versions, of which there are none,"));
    }
    let prefix = prefix(&rule)?;
    let enabled = match rule.status.as_str() {
        dto::ExpirationStatus::ENABLED => true,
        dto::ExpirationStatus::DISABLED => false,
        _ => {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "Status: give Enabled or Disabled"));
        }
    };
    let transition = |condition| LifecycleTransition { condition };
    let abort = rule.abort_incomplete_multipart_upload.and_then(|abort| abort.days_after_initiation);
    let delete = rule.expiration.map(|expiration| match expiration.expired_object_delete_marker {
        Some(true) => Err(not_offered("a lifecycle rule for markers of versions, of which there are none,")),
        _ => condition((expiration.days, 1), expiration.date.as_ref()),
    });
    let classes = rule.transitions.unwrap_or_default().into_iter().map(|transition| {
        let class = transition.storage_class.as_ref().map(dto::TransitionStorageClass::as_str);
        if class != Some(dto::TransitionStorageClass::STANDARD_IA) {
            let told = "STANDARD_IA is what objects can become";
            return Err(S3Error::with_message(S3ErrorCode::InvalidStorageClass, told));
        }
        let condition = condition((transition.days, 0), transition.date.as_ref())?;
        Ok(StorageClassTransition { condition, storage_class: INFREQUENT.to_owned() })
    });
    Ok(LifecycleRule {
        // Who gives none is given one.
        id: rule.id.filter(|id| !id.is_empty()).unwrap_or_else(|| hex::encode(rand::random::<[u8; 12]>())),
        enabled,
        conditions: LifecycleConditions { prefix },
        abort_multipart_uploads_transition: abort.map(|given| days(given, 1)).transpose()?.map(transition),
        delete_objects_transition: delete.transpose()?.map(transition),
        storage_class_transitions: classes.collect::<S3Result<_>>()?,
    })
}

/// An age in whole days, or a date.
fn condition_told(condition: LifecycleCondition) -> S3Result<(Option<i32>, Option<dto::Timestamp>)> {
    match condition {
        LifecycleCondition::Age { max_age } => {
            Ok((Some(i32::try_from(max_age.div_ceil(DAY_SECONDS)).unwrap_or(i32::MAX)), None))
        }
        LifecycleCondition::Date { date } => {
            let parsed = dto::Timestamp::parse(dto::TimestampFormat::DateTime, &date);
            Ok((None, Some(parsed.map_err(|_| invalid("a rule's date is none"))?)))
        }
    }
}

fn rule_told(rule: LifecycleRule) -> S3Result<dto::LifecycleRule> {
    let status = if rule.enabled { dto::ExpirationStatus::ENABLED } else { dto::ExpirationStatus::DISABLED };
    let abort = rule.abort_multipart_uploads_transition.map(|abort| condition_told(abort.condition));
    let expiration = rule.delete_objects_transition.map(|delete| {
        let (days, date) = condition_told(delete.condition)?;
        Ok::<_, S3Error>(dto::LifecycleExpiration { days, date, expired_object_delete_marker: None })
    });
    let classes = rule.storage_class_transitions.into_iter().map(|class| {
        let (days, date) = condition_told(class.condition)?;
        let class = dto::TransitionStorageClass::from_static(dto::TransitionStorageClass::STANDARD_IA);
        Ok(dto::Transition { days, date, storage_class: Some(class) })
    });
    let classes = classes.collect::<S3Result<Vec<_>>>()?;
    Ok(dto::LifecycleRule {
        abort_incomplete_multipart_upload: abort
            .transpose()?
            .map(|(days, _)| dto::AbortIncompleteMultipartUpload { days_after_initiation: days }),
        expiration: expiration.transpose()?,
        filter: Some(dto::LifecycleRuleFilter {
            prefix: Some(rule.conditions.prefix),
            ..dto::LifecycleRuleFilter::default()
        }),
        id: Some(rule.id),
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: None,
        status: dto::ExpirationStatus::from_static(status),
        transitions: (!classes.is_empty()).then_some(classes),
    })
}
