//! `zones/:zone_id/ssl` where nothing is ordered of a public authority. What is, is tested with one, in `tests/acme`.

use proxima_model::{Certificate, CertificateSource};
use serde_json::json;

use crate::harness::{Node, Options};

#[tokio::test]
async fn the_own_authoritys_certificate_is_the_pack_where_nothing_is_ordered() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    node.until("the certificate", |snapshot| snapshot.scan::<Certificate>(&[]).count() == 1).await;
    let packs = node.ok("GET", &format!("/zones/{zone}/ssl/certificate_packs"), None).await;
    let pack = &packs[0];
    assert_eq!(
        (&pack["id"], &pack["type"], &pack["status"]),
        (&json!(zone), &json!("universal"), &json!("active"))
    );
    assert_eq!((&pack["certificate_authority"], &pack["validity_days"]), (&json!(null), &json!(90)));
    assert_eq!((&pack["validation_errors"], &pack["validation_records"]), (&json!([]), &json!([])));
    assert!(!pack.to_string().contains("PRIVATE KEY"));
    let one = node.ok("GET", &format!("/zones/{zone}/ssl/certificate_packs/{zone}"), None).await;
    assert_eq!(one["primary_certificate"], pack["certificates"][0]["id"]);
    let verification = node.ok("GET", &format!("/zones/{zone}/ssl/verification?retry=true"), None).await;
    assert_eq!(verification[0]["certificate_status"], "active");
    assert_eq!(
        node.refused("GET", &format!("/zones/{zone}/ssl/certificate_packs/other"), None).await,
        (404, 1301)
    );
}

#[tokio::test]
async fn without_universal_ssl_a_zone_has_what_its_owner_uploaded_and_nothing_else() {
    let node = Node::start().await;
    let zone = node.zone("example.com").await;
    node.until("the certificate", |snapshot| snapshot.scan::<Certificate>(&[]).count() == 1).await;
    let made = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).unwrap();
    let custom = json!({"certificate": made.cert.pem(), "private_key": made.signing_key.serialize_pem()});
    node.ok("POST", &format!("/zones/{zone}/custom_certificates"), Some(custom)).await;

    let settings = format!("/zones/{zone}/ssl/universal/settings");
    assert_eq!(
        node.ok("GET", &settings, None).await,
        json!({"enabled": true, "certificate_authority": null})
    );
    assert_eq!(node.ok("PATCH", &settings, Some(json!({"enabled": false}))).await["enabled"], false);
    let left: Vec<_> = {
        let snapshot = node.context.replica.snapshot().unwrap();
        snapshot.scan::<Certificate>(&[]).map(|certificate| certificate.unwrap().source).collect()
    };
    assert_eq!(left, [CertificateSource::Custom]);
    // A change of the zone has upkeep look at it, and find nothing to make.
    node.ok("PATCH", &format!("/zones/{zone}"), Some(json!({"paused": true}))).await;
    assert_eq!(
        node.ok("GET", &format!("/zones/{zone}/ssl/certificate_packs?status=all"), None).await,
        json!([])
    );

    node.ok("PATCH", &settings, Some(json!({"enabled": true}))).await;
    node.until("another certificate", |snapshot| snapshot.scan::<Certificate>(&[]).count() == 2).await;
    let chosen = json!({"enabled": true, "certificate_authority": "google"});
    assert_eq!(node.refused("PATCH", &settings, Some(chosen)).await, (400, 1107));
}

#[tokio::test]
async fn a_node_whose_authority_cannot_be_reached_says_so_and_goes_on() {
    // Nobody listens at port 1.
    let control = "activation = \"trust\"\nacme = { directory = \"https://127.0.0.1:1/directory\", agree_to_terms = true }";
    let node = Node::with(Options { control: control.to_owned(), ..Options::default() }).await;
    let zone = node.zone("example.com").await;
    let failed = |snapshot: &proxima_ledger::Snapshot| {
        let orders = snapshot.scan::<proxima_model::AcmeOrder>(&[]).map(Result::unwrap);
        orders.filter_map(|order| order.failure).count() == 1
    };
    node.until("the failure", failed).await;
    let packs = node.ok("GET", &format!("/zones/{zone}/ssl/certificate_packs?status=all"), None).await;
    assert_eq!(packs[0]["status"], "pending_validation");
    let told = packs[0]["validation_errors"][0]["message"].as_str().unwrap();
    assert!(told.starts_with("the certificate authority at https://127.0.0.1:1/directory: "), "{told}");
    // The zone goes, and what was remembered of its order with it.
    node.ok("DELETE", &format!("/zones/{zone}"), None).await;
    assert_eq!(node.count::<proxima_model::AcmeOrder>(), 0);
}
