//! Durable Objects by way of the real binary, deployed by stock `wrangler`.

use serde_json::{Value, json};

use crate::{
    HOST,
    dev::Dev,
    origin::Origin,
    with_site,
    workers::{Project, get},
};

const BINDING: &str = "[[durable_objects.bindings]]\nname = \"COUNTER\"\nclass_name = \"Counter\"\n";
const FIRST: &str = "[[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"Counter\"]\n";

/// A counter with SQL, whose alarm counts too.
const CODE: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS counts (n INTEGER)');
  }
  increment() { this.ctx.storage.sql.exec('INSERT INTO counts VALUES (1)'); return this.count(); }
  count() { return this.ctx.storage.sql.exec('SELECT count(*) AS c FROM counts').one().c; }
  async later(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return 'set'; }
  alarm() { for (let n = 0; n < 1000; n++) this.increment(); }
}
export default { async fetch(request, { COUNTER }) {
  const [, , method, name, argument] = new URL(request.url).pathname.split('/');
  return Response.json(await COUNTER.getByName(name)[method](...(argument ? [Number(argument)] : [])));
} };";

/// What `wrangler` shows of the account's classes, by the API.
fn classes(dev: &Dev) -> Value {
    let account = crate::r2::account(dev);
    let (_, listed) =
        dev.api("GET", &format!("/accounts/{account}/workers/durable_objects/namespaces"), None, None);
    listed["result"].as_array().unwrap().iter().map(|one| one["class"].clone()).collect()
}

#[test]
fn wrangler_deploys_a_class_whose_objects_outlive_the_node_and_its_name() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let project = Project::with(&format!("{BINDING}{FIRST}"));
    project.write(CODE);
    let deployed = project.wrangler(&dev, &["deploy"]);
    assert!(deployed.contains("COUNTER"), "{deployed}");
    assert_eq!(classes(&dev), json!(["Counter"]));
    for count in 1..=3 {
        assert_eq!(get(&dev, "/app/increment/a"), count.to_string());
    }
    assert_eq!(get(&dev, "/app/increment/b"), "1");
    assert_eq!(get(&dev, "/app/later/b/1000"), "\"set\"");
    dev.kill();
    dev.start_again();
    // The alarm rings though nobody asks for the object.
    dev.curl_until(&["-sS", &dev.http_url(HOST, "/app/count/b")], "1001");
    assert_eq!(get(&dev, "/app/count/a"), "3");
    dev.restart_gracefully();
    assert_eq!(dev.curl_until(&["-sS", &dev.http_url(HOST, "/app/increment/a")], "4"), "4");

    let renamed =
        "[[migrations]]\ntag = \"v2\"\nrenamed_classes = [{ from = \"Counter\", to = \"Tally\" }]\n";
    let project = Project::with(&format!("{}{FIRST}{renamed}", BINDING.replace("\"Counter\"", "\"Tally\"")));
    project.write(&CODE.replace("class Counter", "class Tally"));
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(get(&dev, "/app/increment/a"), "5");
    // Without anything to migrate it is a new version alone.
    project.wrangler(&dev, &["deploy"]);
    assert_eq!((get(&dev, "/app/increment/a"), classes(&dev)), ("6".to_owned(), json!(["Tally"])));
    project.wrangler(&dev, &["delete", "--force"]);
    assert_eq!(classes(&dev), json!([]));
}
