//! Content codings, as `curl` asks for them and takes them apart.

use crate::{
    HOST,
    dev::Dev,
    origin::{Origin, TEXT},
    with_site,
};

/// The head and the content, decoded by curl; the content is the origin's, whatever the coding.
fn head(dev: &Dev, accepted: Option<&str>, more: &[&str]) -> String {
    let (url, field) =
        (dev.https_url(HOST, "/text"), accepted.map(|codings| format!("accept-encoding: {codings}")));
    let mut args = vec!["-sSi", &url];
    if let Some(field) = &field {
        // In this order curl decodes what comes, and asks for what is said here.
        args.extend(["--compressed", "-H", field]);
    }
    let answer = dev.curl(&[&args, more].concat());
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    if head.contains(" 200") {
        assert_eq!(content, TEXT.repeat(1_000), "{head}");
    }
    head.to_lowercase()
}

#[test]
fn a_client_gets_the_coding_that_it_accepts_and_the_cache_encodes_once() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let miss = head(&dev, Some("br"), &["--http1.1"]);
    assert!(miss.contains("cf-cache-status: miss") && miss.contains("content-encoding: br"), "{miss}");
    assert!(miss.contains("etag: w/\"1\"") && miss.contains("vary: accept-encoding"), "{miss}");
    for coding in ["br", "gzip", "zstd"] {
        for version in ["--http1.1", "--http2"] {
            let hit = head(&dev, Some(coding), &[version]);
            assert!(hit.contains("cf-cache-status: hit"), "{hit}");
            assert!(hit.contains(&format!("content-encoding: {coding}")), "{hit}");
        }
        // The form was there when the hits before had been read.
        let hit = head(&dev, Some(coding), &[]);
        assert!(hit.contains("content-length: ") && hit.contains("etag: w/\"1\""), "{hit}");
        let same = head(&dev, Some(coding), &["-H", "if-none-match: W/\"1\""]);
        assert!(same.contains(" 304") && same.contains("etag: w/\"1\""), "{same}");
    }
    let plain = head(&dev, None, &[]);
    assert!(!plain.contains("content-encoding") && plain.contains("etag: \"1\""), "{plain}");
    assert!(plain.contains(&format!("content-length: {}", TEXT.len() * 1_000)), "{plain}");
    let part = dev.curl(&["-sS", "-r", "0-3", "-H", "accept-encoding: br", &dev.https_url(HOST, "/text")]);
    assert_eq!(part, &TEXT[..4]);
    assert_eq!(origin.requests("/text"), 1);

    dev.set("example.com", "brotli", "off");
    while head(&dev, Some("br, gzip;q=0.5"), &[]).contains("content-encoding: br") {}
    assert!(head(&dev, Some("br, gzip;q=0.5"), &[]).contains("content-encoding: gzip"));
}
