//! Event notifications of buckets by way of the real binary: stock `wrangler` sets the rules, stock clients change objects, and who
//! pulls the queue is told.

use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    dev::Dev,
    http3::python,
    process::output,
    queues::{ask, id, pull},
    r2::{account, keys, object, wrangler},
};

/// Puts, copies, uploads and deletes by S3.
const SCRIPT: &str = "
import os, boto3
s3 = boto3.client('s3', endpoint_url=os.environ['S3'], region_name='auto',
    aws_access_key_id=os.environ['KEY'], aws_secret_access_key=os.environ['SECRET'])
s3.put_object(Bucket='photos', Key='img/a.png', Body=b'octets')
s3.put_object(Bucket='photos', Key='other/a.png', Body=b'octets')
s3.copy_object(Bucket='photos', Key='img/b.png', CopySource={'Bucket': 'photos', 'Key': 'other/a.png'})
upload = s3.create_multipart_upload(Bucket='photos', Key='img/c.png')['UploadId']
part = s3.upload_part(Bucket='photos', Key='img/c.png', UploadId=upload, PartNumber=1, Body=b'part')
s3.complete_multipart_upload(Bucket='photos', Key='img/c.png', UploadId=upload,
    MultipartUpload={'Parts': [{'PartNumber': 1, 'ETag': part['ETag']}]})
s3.delete_object(Bucket='photos', Key='img/a.png')
";

/// Pulls so many messages at least, in the order of what happened, and says that they are done with.
fn taken(dev: &Dev, queue: &str, count: usize) -> Vec<Value> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let pulled = pull(dev, queue);
        let messages = pulled["messages"].as_array().unwrap();
        let acks: Vec<_> =
            messages.iter().map(|message| json!({ "lease_id": message["lease_id"] })).collect();
        let acked = ask(dev, "POST", &format!("/{queue}/messages/ack"), Some(&json!({ "acks": acks })));
        assert_eq!(acked.0, "200", "{acked:?}");
        for message in messages {
            assert_eq!(message["metadata"]["CF-Content-Type"], "json", "{message}");
            let body = STANDARD.decode(message["body"].as_str().unwrap()).unwrap();
            taken.push(serde_json::from_slice::<Value>(&body).unwrap());
        }
    }
    taken.sort_by_key(|message| message["eventTime"].as_str().unwrap().to_owned());
    taken
}

fn run_clients(dev: &Dev) {
    let (key, secret) = keys(&dev.token());
    let mut clients = Command::new(python());
    clients
        .args(["-c", SCRIPT])
        .env("S3", format!("http://{}", dev.s3))
        .env("KEY", key)
        .env("SECRET", secret);
    let (succeeded, told) = output(&mut clients);
    assert!(succeeded, "{told}\n{}", dev.log());
}

#[test]
fn stock_wrangler_sets_event_notifications_and_the_queue_is_told_of_objects() {
    let mut dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    let wrangler = |dev: &Dev, args: &[&str]| wrangler(dev, folder.path(), args);
    let notification =
        |dev: &Dev, args: &[&str]| wrangler(dev, &[&["r2", "bucket", "notification"], args].concat());
    wrangler(&dev, &["queues", "create", "seen"]);
    wrangler(&dev, &["queues", "consumer", "http", "add", "seen"]);
    wrangler(&dev, &["r2", "bucket", "create", "photos"]);
    let create = ["create", "photos", "--queue", "seen", "--prefix", "img/"];
    notification(&dev, &[&create[..], &["--event-type", "object-create", "--suffix", ".png"]].concat());
    notification(&dev, &[&create[..], &["--event-type", "object-delete", "--description", "gone"]].concat());
    for list in ["list", "get"] {
        let told = notification(&dev, &[list, "photos"]);
        for part in [
            "seen",
            "img/",
            ".png",
            "PutObject,CompleteMultipartUpload,CopyObject",
            "DeleteObject,LifecycleDeletion",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    run_clients(&dev);
    let (code, answer) = object(&dev, "photos/objects/img/d.png", &["-X", "PUT", "--data-binary", "four"]);
    assert_eq!(code, "200", "{answer}");

    let queue = id(&dev, "seen");
    let mut told = taken(&dev, &queue, 5);
    for message in &mut told {
        let at = message.as_object_mut().unwrap().remove("eventTime").unwrap();
        let at = at.as_str().unwrap();
        assert!(at.len() == "2024-05-24T19:36:44.379Z".len() && at.ends_with('Z'), "{at}");
    }
    let account = account(&dev);
    let message = |action: &str, object: Value| json!({ "account": account, "action": action, "bucket": "photos", "object": object });
    let (octets, four) = ("48537581b9950dea59270c7e6a7fc75b", "8cbad96aced40b3838dd9f07f6ef5772");
    let multipart = "1819d1a8700e59901a48215b8577ac07-1";
    let mut copy = message("CopyObject", json!({ "key": "img/b.png", "size": 6, "eTag": octets }));
    copy["copySource"] = json!({ "bucket": "photos", "object": "other/a.png" });
    let expected = [
        message("PutObject", json!({ "key": "img/a.png", "size": 6, "eTag": octets })),
        copy,
        message("CompleteMultipartUpload", json!({ "key": "img/c.png", "size": 4, "eTag": multipart })),
        message("DeleteObject", json!({ "key": "img/a.png" })),
        message("PutObject", json!({ "key": "img/d.png", "size": 4, "eTag": four })),
    ];
    assert_eq!(told, expected, "{}", dev.log());

    // What happened right before the process was killed is told by the next one, if it was not.
    let (code, answer) = object(&dev, "photos/objects/img/d.png", &["-X", "DELETE"]);
    assert_eq!(code, "200", "{answer}");
    dev.kill();
    dev.start_again();
    let again = &taken(&dev, &queue, 1)[0];
    assert_eq!(
        (&again["action"], &again["object"]),
        (&json!("DeleteObject"), &json!({ "key": "img/d.png" }))
    );
    notification(&dev, &["delete", "photos", "--queue", "seen"]);
    let path = format!("/accounts/{account}/event_notifications/r2/photos/configuration");
    let (code, answer) = dev.api("GET", &path, None, None);
    assert_eq!((code.as_str(), &answer["errors"][0]["code"]), ("404", &json!(11_015)), "{answer}");
    wrangler(&dev, &["queues", "delete", "seen"]);
}
