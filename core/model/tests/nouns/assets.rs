//! Static assets: paths, hashes, manifests and their bounds, and how they lie in logs.

use proxima_model::{
    AccountId, AssetConfig, AssetFile, AssetHash, AssetManifest, AssetPath, ContentHash, ContentRef, Entity,
    FirstPaths, HtmlHandling, NotFoundHandling, Timestamp, WorkerAsset, WorkerAssetSession, WorkerAssets,
    WorkerFirst, WorkerUsage, limits,
};
use serde_json::json;

const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

fn file(path: &str, octets: u32) -> AssetFile {
    AssetFile { path: AssetPath::parse(path).unwrap(), hash: AssetHash::from_bytes([2; 16]), octets }
}

#[test]
fn a_files_path_begins_with_a_slash_and_can_be_printed() {
    let longest = format!("/{}", "a".repeat(1_023));
    for good in ["/a", "/index.html", "/a/b c/ü.css", "/../x", "//x", &longest] {
        assert_eq!(AssetPath::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "/", "a", "/a\nb", "/\0", &format!("{longest}a")] {
        assert_eq!(AssetPath::parse(bad).expect_err(bad).field, "manifest", "{bad:?}");
    }
}

#[test]
fn a_files_hash_is_32_digits() {
    let good = "0123456789abcdef0123456789abcdef";
    assert_eq!(good.parse::<AssetHash>().unwrap().to_string(), good);
    for bad in ["", &good[1..], &good.to_uppercase(), &good.replace('0', "g"), &format!("{good}00")] {
        bad.parse::<AssetHash>().expect_err(bad);
    }
}

#[test]
fn a_manifest_is_in_the_order_of_its_paths_and_reads_back() {
    let manifest = AssetManifest::try_from(vec![file("/b", 1), file("/a", 2)]).unwrap();
    let octets = manifest.to_octets();
    let hash = "02".repeat(16);
    assert_eq!(
        String::from_utf8(octets.clone()).unwrap(),
        format!(r#"[["/a","{hash}",2],["/b","{hash}",1]]"#)
    );
    assert_eq!(AssetManifest::parse(&octets), Some(manifest));
    assert_eq!(AssetManifest::parse(b"[[\"a\",\"\",1]]"), None);
    assert_eq!(AssetManifest::parse(format!(r#"[["/a","{hash}",2],["/a","{hash}",1]]"#).as_bytes()), None);
}

#[test]
fn a_manifest_is_bounded_in_files_and_octets() {
    let files = |count: usize| (0..count).map(|index| file(&format!("/{index}"), 1)).collect::<Vec<_>>();
    AssetManifest::try_from(files(limits::WORKER_ASSETS_MAX)).unwrap();
    AssetManifest::try_from(files(limits::WORKER_ASSETS_MAX + 1)).expect_err("one file too many");
    let most = u32::try_from(limits::WORKER_ASSET_OCTETS_MAX).unwrap();
    AssetManifest::try_from(vec![file("/a", most)]).unwrap();
    AssetManifest::try_from(vec![file("/a", most + 1)]).expect_err("one octet too many");
    let rest = u32::try_from(limits::WORKER_ASSETS_OCTETS_MAX - 5 * u64::from(most)).unwrap();
    let all = |rest| {
        (0..5).map(|index| file(&format!("/{index}"), most)).chain([file("/r", rest)]).collect::<Vec<_>>()
    };
    AssetManifest::try_from(all(rest)).unwrap();
    AssetManifest::try_from(all(rest + 1)).expect_err("one octet too many in all");
}

#[test]
fn rules_of_what_code_is_asked_first_have_their_form() {
    let rules =
        |given: &[&str]| FirstPaths::try_from(given.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>());
    let longest = format!("/{}", "a".repeat(99));
    for good in [&["/api/*"][..], &["/*", "!/static/*"], &[&longest]] {
        assert_eq!(rules(good).unwrap().as_slice(), good);
    }
    for bad in [
        &[][..],
        &["api"],
        &["!api", "/"],
        &["!/a"],
        &["/a", "/a"],
        &[&format!("{longest}a")],
        &["https://a/"],
    ] {
        assert_eq!(rules(bad).expect_err("it is none").field, "run_worker_first", "{bad:?}");
    }
    let many: Vec<String> = (0..101).map(|index| format!("/{index}")).collect();
    FirstPaths::try_from(many[..100].to_vec()).unwrap();
    FirstPaths::try_from(many).expect_err("one too many");
}

/// What lies in logs stays readable: these are the values as they are written.
#[test]
fn assets_are_read_as_logs_have_them() {
    let hash = |octet: u8| ContentHash::from_bytes([octet; 32]);
    let assets = WorkerAssets {
        manifest: ContentRef { hash: hash(7), octets: 5 },
        config: AssetConfig {
            html_handling: HtmlHandling::DropTrailingSlash,
            not_found_handling: NotFoundHandling::Page404,
            worker_first: WorkerFirst::Paths(vec!["/api/*".to_owned()].try_into().unwrap()),
        },
        headers: None,
        redirects: Some(ContentRef { hash: hash(8), octets: 6 }),
    };
    let stored = json!({
        "manifest": {"hash": "07".repeat(32), "octets": 5},
        "config": {
            "html_handling": "drop-trailing-slash", "not_found_handling": "404-page",
            "worker_first": {"paths": ["/api/*"]},
        },
        "headers": null,
        "redirects": {"hash": "08".repeat(32), "octets": 6},
    });
    assert_eq!(serde_json::to_value(&assets).unwrap(), stored);
    assert_eq!(serde_json::from_value::<WorkerAssets>(stored).unwrap(), assets);
    assert_eq!(assets.contents().map(|content| content.octets).collect::<Vec<_>>(), [5, 6]);

    let asset = WorkerAsset {
        account: ACCOUNT,
        hash: AssetHash::from_bytes([2; 16]),
        content: hash(7),
        octets: 3,
        content_type: Some("text/css; charset=utf-8".to_owned()),
        is_whole: true,
    };
    let stored = json!({
        "account": "01".repeat(16), "hash": "02".repeat(16), "content": "07".repeat(32), "octets": 3,
        "content_type": "text/css; charset=utf-8", "is_whole": true,
    });
    assert_eq!(serde_json::to_value(&asset).unwrap(), stored);
    assert_eq!(asset.key().as_str(), format!("worker_asset/{ACCOUNT}/{}", asset.hash));
    let manifest = ContentRef { hash: hash(7), octets: 5 };
    let session = WorkerAssetSession { account: ACCOUNT, manifest, until: Timestamp::from_millis(9) };
    let stored = json!({
        "account": "01".repeat(16), "manifest": {"hash": "07".repeat(32), "octets": 5}, "until": 9,
    });
    assert_eq!(serde_json::to_value(&session).unwrap(), stored);
    assert_eq!(session.key().as_str(), format!("worker_asset_session/{ACCOUNT}/{}", hash(7)));
    let before = json!({"account": "01".repeat(16), "octets": 4});
    let usage: WorkerUsage = serde_json::from_value(before).unwrap();
    assert!(!usage.assets_unnamed, "of a log from before there were assets");
}
