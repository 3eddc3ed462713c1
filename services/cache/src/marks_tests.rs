use http::HeaderValue;

use super::*;

fn zone(n: u32) -> ZoneId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    ZoneId::from_bytes(bytes)
}

fn key(zone_number: u32, url: &str) -> PrimaryKey {
    PrimaryKey::of_url(zone(zone_number), url).expect("absolute")
}

fn tag(text: &str) -> Mark {
    Mark::tag(&CacheTag::parse(text).expect("a tag"))
}

fn host(text: &str) -> Mark {
    Mark::host(&DnsName::parse(text).expect("a host"))
}

fn prefix(text: &str) -> Mark {
    Mark::prefix(&UrlPrefix::parse(text).expect("a prefix"))
}

/// The tags of a response with these lines.
fn tags(lines: &[&str]) -> Tags {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CACHE_TAG, HeaderValue::from_str(line).expect("a value"));
    }
    let tags = Tags::take(&mut headers).expect("there are some");
    assert!(headers.is_empty());
    tags
}

/// Whether `mark` names an untagged response of this URL.
fn names(mark: Mark, url: &str) -> bool {
    let marks = Marks::default();
    let birth = marks.begin(zone(1));
    marks.purge_names(zone(1), &[mark]);
    !marks.is_current(&key(1, url), &birth, &Tags::default())
}

#[test]
fn a_prefix_names_whole_segments_in_both_schemes_at_all_ports_and_with_any_query() {
    for (given, url, expected) in [
        ("a.test", "http://a.test/", true),
        ("a.test", "https://a.test:8443/x/y?z", true),
        ("a.test", "http://www.a.test/", false),
        ("www.a.test", "http://a.test/", false),
        ("a.test/", "http://a.test/x", true),
        ("a.test/foo", "http://a.test/foo", true),
        ("a.test/foo", "https://A.test/foo?good=bad", true),
        ("a.test/foo", "http://a.test/foo/", true),
        ("a.test/foo", "http://a.test/foo/bar/baz.jpg", true),
        ("a.test/foo", "http://a.test/foobar", false),
        ("a.test/foo", "http://a.test/Foo", false),
        ("a.test/foo", "http://a.test/x/foo", false),
        ("a.test/foo", "http://a.test/?/foo", false),
        ("a.test/foo/", "http://a.test/foo", false),
        ("a.test/foo/", "http://a.test/foo/bar", true),
        ("a.test/foo//bar", "http://a.test/foo/bar", false),
        ("a.test/foo/bar", "http://a.test/foo", false),
    ] {
        assert_eq!(names(prefix(given), url), expected, "{given} and {url}");
    }
    assert!(names(host("A.test"), "http://a.test/x") && !names(host("b.test"), "http://a.test/x"));
    let deep = "/a".repeat(URL_PREFIX_SEPARATORS_MAX);
    assert!(names(prefix(&format!("a.test{deep}")), &format!("http://a.test{deep}/b/c")));
}

#[test]
fn tags_are_read_as_they_are_documented() {
    let marks = Marks::default();
    let at = key(1, "http://a.test/");
    for (lines, named) in [
        (vec!["one"], "one"),
        (vec!["One, TWO"], "two"),
        (vec!["one,,two,"], "two"),
        (vec!["one", " two"], "two"),
        (vec!["b d, two"], "two"),
    ] {
        let (birth, tags) = (marks.begin(zone(1)), tags(&lines));
        assert!(!tags.others);
        marks.purge_names(zone(1), &[tag("three"), tag("b"), host("two"), prefix("two/one")]);
        assert!(marks.is_current(&at, &birth, &tags), "{lines:?}");
        marks.purge_names(zone(1), &[tag(named)]);
        assert!(!marks.is_current(&at, &birth, &tags), "{lines:?}");
    }
    assert!(Tags::take(&mut HeaderMap::new()).is_none());
}

#[test]
fn a_response_with_more_tags_than_are_kept_is_named_by_any() {
    let many: Vec<_> = (0..=TAGS_MAX).map(|n| n.to_string()).collect();
    let long = "a".repeat(TAGS_OCTETS_MAX + 1);
    for line in [many.join(","), long] {
        let marks = Marks::default();
        let (birth, tags) = (marks.begin(zone(1)), tags(&[&line]));
        assert!(tags.hashes.len() <= TAGS_MAX);
        marks.purge_names(zone(1), &[host("b.test")]);
        assert!(marks.is_current(&key(1, "http://a.test/"), &birth, &tags));
        marks.purge_names(zone(1), &[tag("other")]);
        assert!(!marks.is_current(&key(1, "http://a.test/"), &birth, &tags));
    }
    let most = many[..TAGS_MAX].join(",");
    assert!(!tags(&[&most]).others);
}

#[test]
fn a_mark_names_what_began_before_it_in_its_own_zone() {
    let marks = Marks::default();
    let at = |zone_number| key(zone_number, "http://a.test/");
    let (before, elsewhere) = (marks.begin(zone(1)), marks.begin(zone(2)));
    marks.purge_names(zone(1), &[tag("a")]);
    let after = marks.begin(zone(1));
    assert!(!marks.is_current(&at(1), &before, &tags(&["a"])));
    assert!(marks.is_current(&at(1), &before, &tags(&["b"])));
    assert!(marks.is_current(&at(2), &elsewhere, &tags(&["a"])));
    assert!(marks.is_current(&at(1), &after, &tags(&["a"])));
    assert!(!marks.is_current(&at(1), &before, &Tags::unknown()), "it may have that tag");
    assert!(marks.is_current(&at(1), &after, &Tags::unknown()));
}

#[test]
fn what_was_compared_once_is_compared_again_after_the_next_purge() {
    let marks = Marks::default();
    let (at, birth, tags) = (key(1, "http://a.test/"), marks.begin(zone(1)), tags(&["a"]));
    marks.purge_names(zone(1), &[tag("b")]);
    let latest = birth.zone.latest.load(Ordering::Relaxed);
    assert!(marks.is_current(&at, &birth, &tags));
    assert_eq!(tags.compared.load(Ordering::Relaxed), latest);
    assert!(marks.is_current(&at, &birth, &tags));
    marks.purge_names(zone(1), &[tag("a")]);
    assert!(!marks.is_current(&at, &birth, &tags));
}

#[test]
fn marks_beyond_the_bound_give_way_and_forget_too_much_but_never_too_little() {
    const PER_ZONE: usize = 16;
    let marks = Marks::new(PER_ZONE, 1_000);
    let at = key(1, "http://a.test/");
    let mut objects = Vec::new();
    for n in 0..200 {
        let own = format!("tag-{n}");
        objects.push((marks.begin(zone(1)), tags(&[&own])));
        if n % 3 == 0 {
            marks.purge_names(zone(1), &[tag(&own)]);
        }
        for (n, (birth, tags)) in objects.iter().enumerate() {
            assert!(n % 3 != 0 || !marks.is_current(&at, birth, tags), "{n} was purged");
        }
        let (birth, tags) = objects.last().expect("one");
        assert_eq!(marks.is_current(&at, birth, tags), n % 3 != 0, "the latest is not forgotten with others");
        let kept = birth.zone.len();
        assert!(kept <= PER_ZONE && kept == marks.zones.lock().expect("no panic").names, "{kept}");
    }
}

#[test]
fn marks_of_all_zones_are_bounded_and_a_purge_beyond_takes_its_whole_zone() {
    let marks = Marks::new(100, 10);
    let (first, second) = (marks.begin(zone(1)), marks.begin(zone(2)));
    for n in 0..10 {
        marks.purge_names(zone(1), &[tag(&n.to_string())]);
    }
    marks.purge_names(zone(2), &[tag("a")]);
    assert!(!marks.is_current(&key(2, "http://b.test/"), &second, &tags(&["b"])));
    assert!(marks.is_current(&key(1, "http://a.test/"), &first, &tags(&["b"])));
    assert_eq!(marks.zones.lock().expect("no panic").names, 10);
    marks.purge_zone(zone(1));
    assert_eq!(marks.zones.lock().expect("no panic").names, 0);
    assert!(!marks.is_current(&key(1, "http://a.test/"), &first, &Tags::default()));
}

#[test]
fn marks_of_zones_without_objects_are_let_go() {
    let marks = Marks::default();
    let held: Vec<Birth> = (0..10_u32).map(|n| marks.begin(zone(n))).collect();
    for n in 10..100_000_u32 {
        marks.begin(zone(n));
        marks.purge_names(zone(n), &[tag("a")]);
    }
    let zones = marks.zones.lock().expect("no panic");
    assert!(zones.marks.len() <= ZONES_KEPT_MIN && zones.names <= ZONES_KEPT_MIN, "{}", zones.names);
    drop(zones);
    marks.purge_zone(zone(3));
    let is_current =
        |n: u32| marks.is_current(&key(n, "http://a.test/"), &held[n as usize], &Tags::default());
    assert!(!is_current(3) && is_current(4));
    marks.purge_everything();
    assert!(!is_current(4));
    assert_eq!(marks.zones.lock().expect("no panic").names, 0);
}

#[test]
fn what_entered_before_a_purge_is_hidden_by_it_whether_its_zone_had_marks_or_not() {
    let marks = Marks::default();
    let (at, tags) = (key(1, "http://a.test/"), Tags::default());
    let early = marks.moment();
    let current = |moment| marks.is_current(&at, &marks.begin_at(zone(1), moment), &tags);
    assert!(current(early));
    let held = marks.begin(zone(1));
    let waiting = marks.moment();
    marks.purge_zone(zone(2));
    assert!(current(waiting), "what was purged elsewhere is no matter where there are marks");
    assert!(
        !marks.is_current(&key(3, "http://a.test/"), &marks.begin_at(zone(3), waiting), &tags),
        "else it may be"
    );
    marks.purge_names(zone(1), &[host("a.test")]);
    assert!(!current(waiting) && current(marks.moment()));
    let waiting = marks.moment();
    marks.purge_zone(zone(1));
    assert!(!current(early) && !current(waiting) && current(marks.moment()));
    drop(held);

    // No marks when it is purged, and marks afterwards.
    let waiting = marks.moment();
    marks.purge_names(zone(9), &[tag("a")]);
    let _other = marks.begin(zone(9));
    let (at, tags) = (key(9, "http://a.test/"), Tags::default());
    assert!(!marks.is_current(&at, &marks.begin_at(zone(9), waiting), &tags));
    assert!(marks.is_current(&at, &marks.begin_at(zone(9), marks.moment()), &tags));
}
