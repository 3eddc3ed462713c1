use futures_util::FutureExt as _;

use super::*;

const MAX: u64 = 1024;

fn content(announced: Option<u64>) -> Arc<Content> {
    Content::new(announced, MAX, Arc::new(Budget::new(1 << 20)))
}

async fn next(body: &mut Body) -> Option<Result<Bytes, BodyError>> {
    body.next_frame().await.map(|frame| frame.map(|frame| frame.into_data().expect("data only")))
}

#[tokio::test]
async fn readers_get_the_first_octets_before_the_last_are_here() {
    let content = content(None);
    let mut early = content.body(0, None).expect("shareable");
    assert!(next(&mut early).now_or_never().is_none());
    content.push(Bytes::from_static(b"abc")).await.expect("taken");
    let late = content.body(0, None).expect("shareable");
    assert_eq!(next(&mut early).await, Some(Ok(Bytes::from_static(b"abc"))));
    content.push(Bytes::from_static(b"de")).await.expect("taken");
    assert_eq!(content.finish().await, Ok(true));
    assert_eq!(next(&mut early).await, Some(Ok(Bytes::from_static(b"de"))));
    assert_eq!(next(&mut early).await, None);
    assert_eq!(late.collect(10).await, Ok(Bytes::from_static(b"abcde")));
    assert_eq!(content.length(), Some(5));
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_a_push_and_by_the_end() {
    let content = content(None);
    let body = content.body(0, None).expect("shareable");
    let reading = tokio::spawn(body.collect(100));
    tokio::task::yield_now().await;
    content.push(Bytes::from_static(b"x")).await.expect("taken");
    tokio::task::yield_now().await;
    content.finish().await.expect("no length announced");
    assert_eq!(reading.await.expect("no panic"), Ok(Bytes::from_static(b"x")));
}

#[tokio::test]
async fn content_shorter_or_longer_than_announced_is_an_error_for_all() {
    for octets in [&b"abc"[..], b"abcdefgh"] {
        let content = content(Some(5));
        let body = content.body(0, None).expect("shareable");
        content.push(Bytes::copy_from_slice(octets)).await.expect("taken");
        assert_eq!(content.finish().await, Err(BodyError::WrongLength));
        assert!(!content.is_whole());
        assert!(!content.is_shareable());
        let read = body.collect(100).await;
        // A reader never hands out more than was announced; of less, it tells.
        assert_eq!(
            read,
            if octets.len() < 5 { Err(BodyError::WrongLength) } else { Ok(Bytes::from_static(b"abcde")) }
        );
    }
}

#[tokio::test]
async fn ranges_are_read_before_and_after_the_end() {
    let content = content(Some(10));
    let early = content.body(3, Some(6)).expect("shareable");
    assert_eq!(early.length(), Some(3));
    content.push(Bytes::from_static(b"0123")).await.expect("taken");
    content.push(Bytes::from_static(b"456789")).await.expect("taken");
    content.finish().await.expect("as announced");
    assert_eq!(early.collect(10).await, Ok(Bytes::from_static(b"345")));
    let late = content.body(8, None).expect("whole");
    assert_eq!(late.collect(10).await, Ok(Bytes::from_static(b"89")));
}

#[tokio::test]
async fn large_content_is_packed_into_segments_and_read_across_them() {
    let octets: Vec<u8> = (0..=250_u8).cycle().take(SEGMENT_OCTETS * 2 + 100).collect();
    let budget = Arc::new(Budget::new(1 << 30));
    let content = Content::new(None, 1 << 30, budget.clone());
    for piece in octets.chunks(10_007) {
        content.push(Bytes::copy_from_slice(piece)).await.expect("taken");
    }
    let pieces = octets.len().div_ceil(10_007) as u64;
    assert_eq!(budget.taken(), octets.len() as u64 + pieces * PIECE_OVERHEAD_OCTETS);
    assert_eq!(content.finish().await, Ok(true));
    assert_eq!(budget.taken(), 0);
    let all = content.body(0, None).expect("whole").collect(1 << 30).await.expect("whole");
    assert!(all == octets);
    let (first, end) = (SEGMENT_OCTETS as u64 - 3, SEGMENT_OCTETS as u64 + 3);
    let part = content.body(first, Some(end)).expect("whole").collect(10).await.expect("whole");
    assert_eq!(part, &octets[SEGMENT_OCTETS - 3..SEGMENT_OCTETS + 3]);
}

#[tokio::test]
async fn content_that_grows_too_large_passes_to_its_readers_and_is_not_kept() {
    let content = content(None);
    let mut reader = content.body(0, None).expect("shareable");
    content.push(Bytes::from(vec![1; 1000])).await.expect("kept");
    assert!(content.is_shareable());
    content.push(Bytes::from(vec![2; 1000])).await.expect("passed");
    assert!(!content.is_shareable());
    assert!(content.body(0, None).is_none());
    assert_eq!(next(&mut reader).await.map(|piece| piece.map(|piece| piece.len())), Some(Ok(1000)));
    assert_eq!(content.finish().await, Ok(false));
    assert_eq!(next(&mut reader).await.map(|piece| piece.map(|piece| piece.len())), Some(Ok(1000)));
    assert_eq!(next(&mut reader).await, None);
}

#[tokio::test]
async fn the_writer_of_passing_content_waits_for_its_reader_and_stops_when_it_leaves() {
    let content = content(None);
    let mut reader = content.body(0, None).expect("shareable");
    let large = Bytes::from(vec![0; usize::try_from(WINDOW_OCTETS).expect("small") + 1]);
    let mut push = Box::pin(content.push(large));
    assert!(push.as_mut().now_or_never().is_none());
    assert!(next(&mut reader).await.is_some());
    assert_eq!(push.await, Ok(()));
    drop(reader);
    assert_eq!(content.push(Bytes::from_static(b"x")).await, Err(NobodyReads));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_is_cut_off_when_others_wait_behind_it() {
    let content = content(None);
    let mut still = content.body(0, None).expect("shareable");
    let mut moving = content.body(0, None).expect("shareable");
    let large = Bytes::from(vec![0; usize::try_from(WINDOW_OCTETS).expect("small") + 1]);
    let writer = {
        let (content, large) = (content.clone(), large.clone());
        tokio::spawn(async move { content.push(large).await })
    };
    assert!(next(&mut moving).await.is_some());
    // Time is paused: it advances as soon as everybody waits.
    assert_eq!(writer.await.expect("no panic"), Ok(()));
    content.push(Bytes::from_static(b"x")).await.expect("the moving one reads");
    assert_eq!(next(&mut moving).await, Some(Ok(Bytes::from_static(b"x"))));
    content.push(Bytes::from_static(b"y")).await.expect("the moving one reads");
    assert_eq!(next(&mut still).await, Some(Err(BodyError::TimedOut)));
    assert_eq!(next(&mut moving).await, Some(Ok(Bytes::from_static(b"y"))));
}

#[tokio::test]
async fn what_all_fetches_hold_together_is_bounded() {
    let budget = Arc::new(Budget::new(10 + PIECE_OVERHEAD_OCTETS));
    let (one, other) = (Content::new(None, MAX, budget.clone()), Content::new(None, MAX, budget.clone()));
    let _readers = (one.body(0, None), other.body(0, None));
    one.push(Bytes::from(vec![0; 8])).await.expect("kept");
    other.push(Bytes::from(vec![0; 8])).await.expect("passed");
    assert!(one.is_shareable() && !other.is_shareable());
    assert_eq!(budget.taken(), 8 + PIECE_OVERHEAD_OCTETS);
    drop((one, other));
    assert_eq!(budget.taken(), 8 + PIECE_OVERHEAD_OCTETS);
    drop(_readers);
    assert_eq!(budget.taken(), 0);
}

#[tokio::test]
async fn an_aborted_fetch_tells_readers_after_what_is_here() {
    let content = content(None);
    let mut reader = content.body(0, None).expect("shareable");
    content.push(Bytes::from_static(b"abc")).await.expect("taken");
    content.fail(BodyError::Aborted);
    assert_eq!(next(&mut reader).await, Some(Ok(Bytes::from_static(b"abc"))));
    assert_eq!(next(&mut reader).await, Some(Err(BodyError::Aborted)));
    assert_eq!(next(&mut reader).await, None);
}

#[tokio::test]
async fn small_pieces_do_not_keep_the_buffers_alive_of_which_they_are_slices() {
    let content = content(None);
    let buffer = Bytes::from(vec![0; 64 * 1024]);
    content.push(buffer.slice(..1)).await.expect("kept");
    assert!(buffer.is_unique());
}
