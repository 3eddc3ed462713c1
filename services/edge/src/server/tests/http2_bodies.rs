//! Requests with bodies by HTTP/2, by their octets, and what comes beside the answers to them.

use std::collections::HashMap;

use super::http2_wire::*;
use super::*;
use crate::http2::{Code, flag, frame_type};

#[tokio::test]
async fn signs_of_life_beside_content_are_no_attack() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let pings = frame(frame_type::PING, 0, 0, &[0; 8]).repeat(1_000);
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/count", &[]))).await;
    for _ in 0..3 {
        wire.send(&[pings.clone(), frame(frame_type::DATA, 0, 1, b"x")].concat()).await;
    }
    wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, &[])).await;
    assert_eq!(wire.status().await, 200);
    assert_eq!(wire.until(frame_type::DATA).await.payload, b"3");
}

#[tokio::test]
async fn content_in_single_octets_is_put_together() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &request("/echo", &[]))).await;
    let text: Vec<u8> = (0..20_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    let octets: Vec<u8> = text.iter().flat_map(|octet| frame(frame_type::DATA, 0, 1, &[*octet])).collect();
    wire.send(&[octets, frame(frame_type::DATA, flag::END_STREAM, 1, &[])].concat()).await;
    assert_eq!(wire.status().await, 200);
    let mut heard = Vec::new();
    while heard.len() < text.len() {
        heard.extend_from_slice(&wire.until(frame_type::DATA).await.payload);
    }
    assert!(heard == text);
}

#[tokio::test]
async fn what_is_on_its_way_to_streams_that_were_answered_early_is_no_fault() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let streams = (0..128_u32).map(|number| 2 * number + 1);
    for stream in streams.clone() {
        wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, stream, &request("/now", &[]))).await;
    }
    for _ in streams.clone() {
        assert_eq!(wire.until(frame_type::RST_STREAM).await.code(), Code::NO_ERROR);
    }
    let late: Vec<u8> = streams.flat_map(|stream| frame(frame_type::DATA, 0, stream, b"late")).collect();
    wire.send(&[late.repeat(2), get(301, "/now")].concat()).await;
    loop {
        let frame = wire.next().await.expect("the connection lives");
        assert_ne!(frame.head.kind, frame_type::RST_STREAM, "{frame:?}");
        if frame.head.stream == 301 {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_grpc_may_be_silent_for_longer_than_a_body_may() {
    for (kind, lives) in [("application/grpc+proto", true), ("application/octet-stream", false)] {
        let (ours, _drain, _serving) = http2_in_memory(64 * 1024);
        let mut wire = Wire::over(ours).await;
        let asks = request("/echo", &[("content-type", kind)]);
        wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &asks)).await;
        assert_eq!(wire.status().await, 200);
        for _ in 0..4 {
            tokio::time::sleep(Timeouts::DEFAULT.body_idle / 2).await;
            wire.send(&frame(frame_type::DATA, 0, 1, b"x")).await;
        }
        wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, &[])).await;
        let mut heard = 0;
        let ended = loop {
            let frame = wire.next().await.expect("the connection lives");
            match frame.head.kind {
                frame_type::DATA => heard += frame.payload.len(),
                frame_type::RST_STREAM => break false,
                _ => continue,
            }
            if frame.head.flags & flag::END_STREAM != 0 {
                break true;
            }
        };
        assert_eq!((ended, heard == 4), (lives, lives), "{kind}: {heard} octets");
    }
}

#[tokio::test]
async fn hints_come_before_the_answer() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&get(1, "/hints")).await;
    for expected in [102, 103, 200] {
        assert_eq!(wire.status().await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_little_that_is_missing_of_an_answered_request_is_read_and_thrown_away() {
    let (ours, _drain, _serving) = http2_in_memory(64 * 1024);
    let mut wire = Wire::over(ours).await;
    let announced = |bytes: &str| request("/now", &[("content-length", bytes)]);
    // It comes: there is nothing to reset.
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 1, &announced("8"))).await;
    assert_eq!(wire.status().await, 200);
    wire.send(&frame(frame_type::DATA, 0, 1, b"late")).await;
    wire.send(&frame(frame_type::DATA, flag::END_STREAM, 1, b"rest")).await;
    // It is not awaited for long, and not at all if it is much, or longer than was said.
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 3, &announced("8"))).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 5, &announced("3"))).await;
    wire.send(&frame(frame_type::HEADERS, flag::END_HEADERS, 7, &announced("1000000"))).await;
    for _ in [3, 5, 7] {
        assert_eq!(wire.status().await, 200);
    }
    wire.send(&frame(frame_type::DATA, 0, 5, b"four")).await;
    let mut ended = HashMap::new();
    while ended.len() < 3 {
        let frame = wire.until(frame_type::RST_STREAM).await;
        ended.insert(frame.head.stream, frame.code());
    }
    let expected = [(3, Code::NO_ERROR), (5, Code::PROTOCOL_ERROR), (7, Code::NO_ERROR)];
    assert_eq!(ended, expected.into());
    wire.send(&get(9, "/now")).await;
    assert_eq!(wire.status().await, 200);
}

#[tokio::test]
async fn a_stage_that_panics_ends_its_stream_and_no_other() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    wire.send(&[get(1, "/panic"), get(3, "/now")].concat()).await;
    let frame = wire.until(frame_type::RST_STREAM).await;
    assert_eq!((frame.head.stream, frame.code()), (1, Code::INTERNAL_ERROR));
    assert_eq!(wire.status().await, 200);
}

#[tokio::test]
async fn hundreds_of_cookies_are_one_field() {
    let server = Server::start().await;
    let mut wire = Wire::connect(&server).await;
    let cookies = vec![("cookie", "name=value"); 300];
    wire.send(&frame(frame_type::HEADERS, WHOLE, 1, &request("/now", &cookies))).await;
    assert_eq!(wire.status().await, 200);
    let others = vec![("x", "y"); 300];
    wire.send(&frame(frame_type::HEADERS, WHOLE, 3, &request("/now", &others))).await;
    assert_eq!(wire.status().await, 431);
}
