//! What is remembered of buckets.

use proxima_ledger::{
    Append, Change, EmbeddedLog, IdempotencyKey, Log as _, Replica, ReplicaOptions, Sealer,
};

use super::{outbox::everything, *};
use crate::store::Remembered;

#[tokio::test]
async fn what_changes_of_objects_need_of_a_bucket_is_read_again_only_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReplicaOptions { map_octets: 64 << 20, ..ReplicaOptions::default() };
    let log = EmbeddedLog::open(&folder.path().join("ledger"), Sealer::generate().0, options).unwrap();
    let replica: Replica = log.replica().clone();
    let append = async |number: u8, change: Change| {
        let (preconditions, idempotency_key) = (Vec::new(), IdempotencyKey(number.to_string()));
        let changes = vec![change];
        let author = "test".to_owned();
        let append = Append { changes, preconditions, idempotency_key, fingerprint: None, author };
        let appended = log.append(append).await.unwrap();
        replica.wait_for(appended.seq, std::time::Duration::from_secs(10)).await;
    };
    let remembered = Remembered::default();
    let find = |bucket: &Bucket| remembered.find(&replica.snapshot().unwrap(), bucket).unwrap();
    append(0, replica.put(&bucket())).await;
    let first = find(&bucket()).unwrap();
    let namesake = Bucket { tag: BucketTag::from_bytes([9; 16]), ..bucket() };
    assert_eq!(find(&namesake), None, "it is another one of the same name");
    append(1, replica.put(&Bucket { name: BucketName::parse("other").unwrap(), ..namesake })).await;
    assert!(Arc::ptr_eq(&first, &find(&bucket()).unwrap()));
    let told = outbox::told(&[(outbox::QUEUE, everything())]);
    append(2, replica.put(&told)).await;
    let changed = find(&bucket()).unwrap();
    assert_eq!((changed.as_ref(), changed == first), (Known::of(&told).as_ref(), false));
    assert!(Arc::ptr_eq(&changed, &find(&bucket()).unwrap()));
    append(3, Change::delete::<Bucket>(&(told.account, told.name.clone()))).await;
    assert_eq!(find(&bucket()), None);
}
