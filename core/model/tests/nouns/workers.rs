//! Workers: names, ids, contents in pieces, shares of requests, and how they lie in logs.

use proptest::prelude::*;
use proxima_model::{
    AccountId, BindingName, BindingValue, CompatibilityDate, CompatibilityFlag, ContentHash, DeploymentId,
    Entity, Key, Kind, ModuleKind, ModuleName, Timestamp, VersionShare, VersionShares, WorkerBinding,
    WorkerContent, WorkerModule, WorkerName, WorkerSecrets, WorkerSyntax, WorkerVersion, WorkerVersionId,
    limits,
};
use serde_json::json;

const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

fn version(number: u8) -> WorkerVersionId {
    WorkerVersionId::from_random([number; 16])
}

fn name(text: &str) -> WorkerName {
    WorkerName::parse(text).unwrap()
}

#[test]
fn a_workers_name_is_what_the_v4_api_takes() {
    let longest = "a".repeat(63);
    for good in ["a", "0", "_a", "this-is_my_script-01", "a-", &longest] {
        assert_eq!(name(good).as_str(), good);
    }
    let too_long = "a".repeat(64);
    for bad in ["", "-a", "A", "a.b", "a/b", "a b", "ä", "a\0", &too_long] {
        assert_eq!(WorkerName::parse(bad).expect_err(bad).field, "script_name", "{bad:?}");
    }
}

#[test]
fn names_within_a_version_have_their_letters_and_bounds() {
    for good in ["A", "_", "$x", "__STATIC_CONTENT", "a1", &"a".repeat(128)] {
        assert_eq!(BindingName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "1a", "a-b", "a b", "a.b", "ä", &"a".repeat(129)] {
        assert_eq!(BindingName::parse(bad).expect_err(bad).field, "bindings", "{bad:?}");
    }
    for good in ["index.js", "./a/../b.wasm", "ü.txt", "a b", &"a".repeat(512)] {
        assert_eq!(ModuleName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a\nb", "\0", &"a".repeat(513)] {
        assert_eq!(ModuleName::parse(bad).expect_err(bad).field, "modules", "{bad:?}");
    }
    for good in ["2021-11-02", "2024-02-29"] {
        assert_eq!(CompatibilityDate::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "2023-02-29", "2024-2-29", "24-02-29", "2024-13-01", "2024-02-29 ", "+024-02-29", "today"]
    {
        assert_eq!(CompatibilityDate::parse(bad).expect_err(bad).field, "compatibility_date", "{bad:?}");
    }
    assert!(CompatibilityDate::oldest() < CompatibilityDate::parse("2021-11-03").unwrap());
    assert_eq!(
        CompatibilityDate::parse(CompatibilityDate::oldest().as_str()),
        Ok(CompatibilityDate::oldest())
    );
    for good in ["nodejs_compat", "experimental", &"a".repeat(128)] {
        assert_eq!(CompatibilityFlag::parse(good).unwrap().as_str(), good);
    }
    for (flag, is_experimental) in [
        ("experimental", true),
        ("workflows_step_rollback", true),
        ("allow_insecure_inefficient_logged_eval", true),
        ("nodejs_compat", false),
        // It only says that one is not wanted.
        ("no_precise_timers", false),
    ] {
        assert_eq!(CompatibilityFlag::parse(flag).unwrap().is_experimental(), is_experimental, "{flag}");
    }
    for bad in ["", "Nodejs", "a b", "a\"", &"a".repeat(129)] {
        assert_eq!(CompatibilityFlag::parse(bad).expect_err(bad).field, "compatibility_flags", "{bad:?}");
    }
}

#[test]
fn one_or_two_versions_answer_all_requests_between_them() {
    let share = |number, hundredths| VersionShare { version: version(number), hundredths };
    let two = VersionShares::try_from(vec![share(1, 1), share(2, 9_999)]).unwrap();
    assert_eq!([0, 1, 9_999].map(|drawn| two.version_at(drawn)), [version(1), version(2), version(2)]);
    let even = VersionShares::try_from(vec![share(2, 5_000), share(1, 5_000)]).unwrap();
    assert_eq!([0, 4_999, 5_000].map(|drawn| even.version_at(drawn)), [version(2), version(2), version(1)]);
    let one = VersionShares::try_from(vec![share(3, 10_000)]).unwrap();
    assert_eq!(one, VersionShares::one(version(3)));
    assert_eq!([0, 9_999].map(|drawn| one.version_at(drawn)), [version(3), version(3)]);
    for shares in [[share(1, 10_000), share(2, 0)], [share(2, 0), share(1, 10_000)]] {
        let held_back = VersionShares::try_from(shares.to_vec()).unwrap();
        assert_eq!([0, 9_999].map(|drawn| held_back.version_at(drawn)), [version(1), version(1)]);
        assert!(held_back.names(version(2)));
    }
    assert!(two.names(version(1)) && two.names(version(2)) && !two.names(version(3)));
    for bad in [
        vec![],
        vec![share(1, 9_999)],
        vec![share(1, 10_001)],
        vec![share(1, 5_000), share(2, 4_999)],
        vec![share(1, 0)],
        vec![share(1, 0), share(2, 0)],
        vec![share(1, 5_000), share(1, 5_000)],
        vec![share(1, 2_000), share(2, 3_000), share(3, 5_000)],
    ] {
        assert_eq!(VersionShares::try_from(bad.clone()).expect_err("it is none").field, "versions");
        let text = serde_json::to_string(&bad).unwrap();
        serde_json::from_str::<VersionShares>(&text).expect_err("what is stored is checked again");
    }
}

#[test]
fn a_content_is_cut_into_pieces_that_are_scanned_in_their_order() {
    let (hash, piece) = (ContentHash::from_bytes([7; 32]), limits::WORKER_PIECE_OCTETS);
    for (octets, pieces) in [
        (0, vec![0]),
        (1, vec![1]),
        (piece, vec![piece]),
        (piece + 1, vec![piece, 1]),
        (2 * piece, vec![piece; 2]),
    ] {
        let content: Vec<u8> = (0..251).cycle().take(octets).collect();
        let cut: Vec<_> = WorkerContent::pieces(ACCOUNT, hash, &content).collect();
        assert_eq!(cut.iter().map(|piece| piece.octets.len()).collect::<Vec<_>>(), pieces);
        assert_eq!(usize::from(WorkerContent::count(octets)), pieces.len());
        assert_eq!(cut.iter().flat_map(|piece| piece.octets.clone()).collect::<Vec<_>>(), content);
    }
    let keys: Vec<Key> =
        [0, 9, 10, 99, 100].map(|piece| WorkerContent::key_of(&(ACCOUNT, hash, piece))).into();
    assert!(keys.is_sorted());
}

#[test]
fn secrets_and_code_are_not_shown() {
    let secrets = WorkerSecrets {
        account: ACCOUNT,
        worker: name("app"),
        version: version(1),
        texts: [(BindingName::parse("TOKEN").unwrap(), "hunter2".to_owned())].into(),
    };
    let shown = format!("{secrets:?}");
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    assert!(WorkerSecrets::KIND.secret());
    let code = b"export default {}".to_vec();
    let piece =
        WorkerContent { account: ACCOUNT, hash: ContentHash::from_bytes([7; 32]), piece: 0, octets: code };
    assert!(!format!("{piece:?}").contains("101"), "{piece:?}");
}

/// What lies in logs stays readable: these are the values as they are written.
#[test]
fn versions_and_contents_are_read_as_logs_have_them() {
    let (hash, binding) =
        ("07".repeat(32), |name: &str, value| WorkerBinding { name: name.parse().unwrap(), value });
    let module = |name: &str, kind| WorkerModule {
        name: name.parse().unwrap(),
        kind,
        octets: 5,
        hash: hash.parse().unwrap(),
    };
    let noun = WorkerVersion {
        account: ACCOUNT,
        worker: name("app"),
        id: version(0xab),
        number: 3,
        created_at: Timestamp::from_millis(5),
        author: "token/x".to_owned(),
        source: "wrangler".to_owned(),
        annotations: Default::default(),
        syntax: WorkerSyntax::Modules,
        main: "index.js".parse().unwrap(),
        compatibility_date: CompatibilityDate::oldest(),
        compatibility_flags: vec!["nodejs_compat".parse().unwrap()],
        bindings: vec![
            binding("A", BindingValue::PlainText("a".to_owned())),
            binding("B", BindingValue::Json(json!({"b": [1, null]}))),
            binding("C", BindingValue::SecretText),
            binding(
                "D",
                BindingValue::Service {
                    worker: name("other"),
                    entrypoint: None,
                    props: Some(json!({"p": 1})),
                },
            ),
            binding("E", BindingValue::TextBlob("e".parse().unwrap())),
            binding("F", BindingValue::DataBlob("f".parse().unwrap())),
            binding("G", BindingValue::WasmModule("g".parse().unwrap())),
            binding("H", BindingValue::VersionMetadata),
        ],
        modules: vec![module("index.js", ModuleKind::EsModule), module("a.wasm", ModuleKind::Wasm)],
        cpu_ms_max: None,
        subrequests_max: None,
        assets: None,
    };
    let stored = json!({
        "account": "01".repeat(16), "worker": "app", "id": "abababab-abab-4bab-abab-abababababab", "number": 3,
        "created_at": 5, "author": "token/x", "source": "wrangler", "annotations": {},
        "syntax": "modules", "main": "index.js", "compatibility_date": "2021-11-02",
        "compatibility_flags": ["nodejs_compat"],
        "bindings": [
            {"name": "A", "value": {"plain_text": "a"}},
            {"name": "B", "value": {"json": {"b": [1, null]}}},
            {"name": "C", "value": "secret_text"},
            {"name": "D", "value": {"service": {"worker": "other", "entrypoint": null, "props": {"p": 1}}}},
            {"name": "E", "value": {"text_blob": "e"}},
            {"name": "F", "value": {"data_blob": "f"}},
            {"name": "G", "value": {"wasm_module": "g"}},
            {"name": "H", "value": "version_metadata"},
        ],
        "modules": [
            {"name": "index.js", "kind": "es_module", "octets": 5, "hash": hash},
            {"name": "a.wasm", "kind": "wasm", "octets": 5, "hash": hash},
        ],
        "cpu_ms_max": null,
    });
    assert_eq!(serde_json::to_value(&noun).unwrap(), stored);
    assert_eq!(serde_json::from_value::<WorkerVersion>(stored).unwrap(), noun);
    assert_eq!(noun.secrets().map(BindingName::as_str).collect::<Vec<_>>(), ["C"]);
    assert_eq!(noun.module(&noun.main).unwrap().kind, ModuleKind::EsModule);
    assert_eq!(
        noun.key().as_str(),
        format!("worker_version/{ACCOUNT}/app/abababab-abab-4bab-abab-abababababab")
    );
    let piece = json!({"account": "01".repeat(16), "hash": hash, "piece": 0, "octets": "AAH/"});
    let read: WorkerContent = serde_json::from_value(piece.clone()).unwrap();
    assert_eq!((read.octets.clone(), serde_json::to_value(&read).unwrap()), (vec![0, 1, 255], piece));
    assert_eq!(read.key().as_str(), format!("worker_content/{ACCOUNT}/{hash}/00000"));
    assert_eq!(read.key().kind(), Some(Kind::WorkerContent));
    assert_eq!(read.key().part(2), Some(read.hash));
}

proptest! {
    #[test]
    fn uuids_are_of_version_4_and_read_back(octets in any::<[u8; 16]>()) {
        let id = DeploymentId::from_random(octets);
        let text = id.to_string();
        prop_assert_eq!(text.len(), 36);
        prop_assert_eq!(&text[14..15], "4");
        prop_assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"));
        prop_assert_eq!(text.parse::<DeploymentId>().unwrap(), id);
        prop_assert_eq!(text.to_uppercase().parse::<DeploymentId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_uuid_is_refused(text in "\\PC{0,40}|[0-9a-f-]{36}|[0-9a-f]{32}") {
        let is_one = text.len() == 36
            && text.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            });
        prop_assert_eq!(text.parse::<WorkerVersionId>().is_ok(), is_one);
    }

    #[test]
    fn any_content_is_read_as_it_was_written(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
        let hash = ContentHash::from_bytes([7; 32]);
        for piece in WorkerContent::pieces(ACCOUNT, hash, &octets) {
            let text = serde_json::to_string(&piece).unwrap();
            prop_assert_eq!(serde_json::from_str::<WorkerContent>(&text).unwrap(), piece);
        }
    }
}
