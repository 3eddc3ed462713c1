//! Messages as octets.

use bytes::BytesMut;
use proxima_pipeline::ObjectListing;

use super::super::{
    body::{Coming, Unread},
    wire::{self, ANSWER_OCTETS_MAX, Answer, Asked, Malformed, QUESTION_OCTETS_MAX, Refusal, What, Which},
};
use super::*;

#[tokio::test]
async fn a_head_comes_in_pieces_behind_waits_and_what_follows_it_is_kept() {
    let answer = Answer::Refused(Refusal::Error(ObjectError::InvalidRange(7)));
    let mut all = BytesMut::new();
    for octets in [wire::wait(), wire::wait(), wire::write(&answer, ANSWER_OCTETS_MAX).unwrap()] {
        all.extend_from_slice(&octets);
    }
    all.extend_from_slice(b"what follows");
    for piece in [1, 3, all.len()] {
        let (mut sender, body) = Body::channel(1, None);
        let octets = all.clone().freeze();
        tokio::spawn(async move {
            for start in (0..octets.len()).step_by(piece) {
                sender.send(octets.slice(start..octets.len().min(start + piece))).await.unwrap();
            }
            sender.send_trailers(super::super::body::marked(None)).await.unwrap();
            sender.finish().await;
        });
        let mut coming = Coming::new(body);
        let read = coming.head::<Answer>(ANSWER_OCTETS_MAX, std::time::Duration::from_secs(60)).await;
        assert_eq!(read.as_ref(), Ok(&answer), "{piece}");
        assert_eq!(coming.rest(Some(12)).collect(100).await.unwrap(), "what follows", "{piece}");
    }
}

#[tokio::test]
async fn what_is_no_head_of_this_version_is_refused() {
    let listing = ObjectListing { prefix: "x".repeat(10), ..ObjectListing::default() };
    let bucket = World::new().await.bucket("a", "bucket").await;
    let asked = Asked::Of {
        bucket: Which::of(&bucket),
        known: proxima_ledger::Seq(1),
        what: Box::new(What::List(listing)),
    };
    let octets = wire::write(&asked, QUESTION_OCTETS_MAX).unwrap();
    let read = |octets: &[u8], max| wire::read::<Asked>(&mut BytesMut::from(octets), max);
    assert_eq!(read(&octets, octets.len() - 4), Ok(Some(asked.clone())));
    assert_eq!(read(&octets, octets.len() - 5), Err(Malformed), "beyond its bound");
    assert_eq!(wire::write(&asked, octets.len() - 5), Err(Malformed));
    for end in 0..octets.len() {
        assert_eq!(read(&octets[..end], QUESTION_OCTETS_MAX), Ok(None), "{end} octets of it");
    }
    // What a later version appends is not read; what it asks for otherwise is not understood.
    let mut later = octets.to_vec();
    later.push(7);
    later[..4].copy_from_slice(&(u32::try_from(octets.len() - 3).unwrap()).to_be_bytes());
    assert_eq!(read(&later, QUESTION_OCTETS_MAX), Ok(Some(asked)));
    assert_eq!(read(&[0, 0, 0, 1, 99], QUESTION_OCTETS_MAX), Err(Malformed));
    wire::exercise(&octets);

    let mut coming = Coming::new(Body::full(octets.slice(..10)));
    let cut = coming.head::<Asked>(QUESTION_OCTETS_MAX, std::time::Duration::from_secs(60)).await;
    assert_eq!(cut, Err(Unread::Lost));
}
