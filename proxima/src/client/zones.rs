//! `proxima zones`.

use anyhow::bail;
use proxima_model::{DnsName, ZoneName};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, ApiArgs, print_table, printable, shown};

/// Zones.
#[derive(Debug, clap::Args)]
pub(crate) struct ZonesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: ZonesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ZonesCommand {
    /// List them.
    List,
    /// Make one.
    Add {
        /// Its name.
        name: String,
        /// The account that it belongs to, by id or name; the only one that the token may use unless given.
        #[arg(long)]
        account: Option<String>,
    },
    /// Remove one, with everything in it.
    Remove {
        /// Its name.
        name: String,
    },
    /// Show a zone's settings, or change one.
    Set {
        /// The zone.
        zone: String,
        /// The setting, such as `ssl`; all are listed unless given.
        #[arg(requires = "value")]
        setting: Option<String>,
        /// Its value, such as `flexible`.
        value: Option<String>,
    },
    /// Show whether a zone is signed (DNSSEC) and what its registrar has to be told, or switch it on or off.
    Dnssec {
        /// The zone.
        zone: String,
        /// What to do.
        #[arg(value_enum, default_value = "show")]
        action: Dnssec,
        /// With what it is to be signed: 13 (ECDSA P-256), which is taken unless given, or 15 (Ed25519).
        #[arg(long, value_name = "NUMBER", value_parser = ["13", "15"])]
        algorithm: Option<String>,
        /// Deny what does not exist by hashed names (NSEC3), or, with `false`, in the compact way again.
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        nsec3: Option<bool>,
        /// Roll its key over to a new one: `start`, of the algorithm given or the same; `back`, to the former one again; or
        /// `parent-done`, where nobody looks, once the parent names the new key.
        #[arg(long, value_name = "WHAT", value_parser = ["start", "back", "parent-done"])]
        roll: Option<String>,
        /// Answer a secondary zone as its primary signed it, instead of signing it here; `off` ends it.
        #[arg(long, conflicts_with_all = ["algorithm", "nsec3", "roll"])]
        presigned: bool,
    },
    /// Show what one server counted of a zone's visitors since its start.
    Traffic {
        /// The zone.
        zone: String,
    },
    /// Say where a zone's requests go, instead of what its records say: an origin rule.
    Origin(OriginArgs),
}

/// What to do about a zone's signatures.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Dnssec {
    /// Sign it.
    On,
    /// Sign it no longer, once the parent's DS is gone.
    Off,
    /// Only show it.
    Show,
}

#[derive(Debug, clap::Args)]
struct OriginArgs {
    /// The zone.
    zone: String,
    /// The host to connect to, a name or an address; what the records say unless given.
    #[arg(long, required_unless_present_any = ["port", "remove"])]
    host: Option<String>,
    /// The port to connect to; that of the scheme unless given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Only for requests to this host; for all of the zone unless given.
    #[arg(long = "for", value_name = "HOST")]
    host_asked: Option<String>,
    /// Take the rule out: go where the records say.
    #[arg(long, conflicts_with_all = ["host", "port"])]
    remove: bool,
}

pub(crate) async fn run(args: ZonesArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    match args.command {
        ZonesCommand::List => {
            let rows: Vec<Vec<String>> = api
                .all("/zones")
                .await?
                .iter()
                .map(|zone| vec![shown(&zone["name"]), shown(&zone["status"]), shown(&zone["id"])])
                .collect();
            print_table(&["NAME", "STATUS", "ID"], &rows);
        }
        ZonesCommand::Add { name, account } => add(&api, &name, account.as_deref()).await?,
        ZonesCommand::Remove { name } => {
            let id = api.zone(&name).await?;
            api.call(Method::DELETE, &format!("/zones/{id}"), None).await?;
            println!("{name} is removed");
        }
        ZonesCommand::Set { zone, setting, value } => {
            let path = format!("/zones/{}/settings", api.zone(&zone).await?);
            let settings = match setting.zip(value) {
                None => api.call(Method::GET, &path, None).await?["result"].take(),
                Some((setting, value)) => {
                    let body = json!({ "value": setting_value(&setting, &value) });
                    let path = format!("{path}/{setting}");
                    json!([api.call(Method::PATCH, &path, Some(&body)).await?["result"].take()])
                }
            };
            let settings = settings.as_array().into_iter().flatten();
            let rows: Vec<Vec<String>> =
                settings.map(|setting| vec![shown(&setting["id"]), shown(&setting["value"])]).collect();
            print_table(&["SETTING", "VALUE"], &rows);
        }
        ZonesCommand::Dnssec { zone, action, algorithm, nsec3, roll, presigned } => {
            dnssec(&api, &zone, action, (algorithm, nsec3, roll, presigned)).await?;
        }
        ZonesCommand::Traffic { zone } => traffic(&api, &zone).await?,
        ZonesCommand::Origin(args) => origin(&api, &args).await?,
    }
    Ok(())
}

async fn dnssec(
    api: &Api,
    zone: &str,
    action: Dnssec,
    (algorithm, nsec3, roll, presigned): (Option<String>, Option<bool>, Option<String>, bool),
) -> anyhow::Result<()> {
    let on = matches!(action, Dnssec::On);
    let chooses = algorithm.is_some() || nsec3.is_some() || roll.is_some() || presigned;
    anyhow::ensure!(
        on || !chooses,
        "--algorithm, --nsec3, --roll and --presigned are for `on`; leave them out"
    );
    let path = format!("/zones/{}/dnssec", api.zone(zone).await?);
    let mut wanted = json!({ "status": if on { "active" } else { "disabled" } });
    if let Some(algorithm) = algorithm {
        wanted["algorithm"] = algorithm.into();
    }
    if let Some(nsec3) = nsec3 {
        wanted["dnssec_use_nsec3"] = nsec3.into();
    }
    if presigned {
        wanted["dnssec_presigned"] = true.into();
    }
    if let Some(roll) = roll {
        wanted["key_roll"] = roll.replace('-', "_").into();
    }
    let result = match action {
        Dnssec::Show => api.call(Method::GET, &path, None).await,
        Dnssec::On | Dnssec::Off => api.call(Method::PATCH, &path, Some(&wanted)).await,
    };
    let result = result?["result"].take();
    println!("{zone} is {}", shown(&result["status"]));
    if let Some(stage) = result["key_roll"]["stage"].as_str() {
        let until = result["key_roll"]["next_on"].as_str().unwrap_or("its parent names the key below");
        println!("its key is rolled over: {stage}, until {until}");
    }
    if let Some(problem) = result["presigned"]["problem"].as_str() {
        println!("{}", printable(problem));
    }
    match result["status"].as_str() {
        Some("disabled") => {}
        _ if result["dnssec_presigned"] == true => {
            println!("it is answered as its primary signed it, whose DS record its registrar has to know");
            println!("key tags: {}", shown(&result["presigned"]["key_tags"]));
            println!("signed until: {}", shown(&result["presigned"]["signed_until"]));
        }
        Some("pending-disabled") => {
            println!("have its registrar remove the DS record: it stays signed until that is gone")
        }
        _ => {
            println!("its registrar has to know, as a DS record or in parts:");
            println!("{}", shown(&result["ds"]));
            for (name, key) in [
                ("key tag", "key_tag"),
                ("algorithm", "algorithm"),
                ("digest type", "digest_type"),
                ("digest", "digest"),
                ("flags", "flags"),
                ("public key", "public_key"),
            ] {
                println!("{name}: {}", shown(&result[key]));
            }
        }
    }
    Ok(())
}

async fn traffic(api: &Api, zone: &str) -> anyhow::Result<()> {
    let path = format!("/proxima/zones/{}/traffic", api.zone(zone).await?);
    let result = api.call(Method::GET, &path, None).await?["result"].take();
    let totals = &result["totals"];
    println!("{zone} at {} ({}), since its start:", shown(&result["node"]), shown(&result["pop"]));
    let mut rows = Vec::new();
    for (name, key) in
        [("requests", "requests"), ("octets in", "request_bytes"), ("octets out", "response_bytes")]
    {
        rows.push(vec![name.to_owned(), shown(&totals[key])]);
    }
    for (name, key) in [("status", "status"), ("cache", "cache_status")] {
        let counts = totals[key].as_object().into_iter().flatten();
        rows.extend(counts.map(|(kind, count)| vec![format!("{name} {kind}"), shown(count)]));
    }
    let mean = |total: &str, of: u64| match (totals[total].as_u64(), of) {
        (Some(total), 1..) => format!("{} ms", total / of),
        _ => "-".to_owned(),
    };
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    // Who left before an answer has no first byte.
    let answered =
        number(&totals["requests"]) - number(&totals["status"]["gone"]).min(number(&totals["requests"]));
    rows.push(vec!["first byte, mean".to_owned(), mean("first_byte_ms", answered)]);
    rows.push(vec!["origin asked".to_owned(), shown(&totals["origin_requests"])]);
    rows.push(vec!["origin, mean".to_owned(), mean("origin_ms", number(&totals["origin_requests"]))]);
    print_table(&["WHAT", "TOTAL"], &rows);
    Ok(())
}

async fn add(api: &Api, name: &str, account: Option<&str>) -> anyhow::Result<()> {
    let mut body = json!({ "name": name });
    // Unless it is given, the API takes the only account in which the token may make zones, or says what is missing.
    if account.is_some() {
        body["account"] = json!({ "id": api.account(account).await? });
    }
    let zone = api.call(Method::POST, "/zones", Some(&body)).await?["result"].take();
    println!("{} is {}", shown(&zone["name"]), shown(&zone["status"]));
    for server in zone["name_servers"].as_array().into_iter().flatten() {
        println!("delegate it to {}", shown(server));
    }
    Ok(())
}

/// A setting's value as the API takes it: `browser_cache_ttl` is a number, `security_header` an object, all others are
/// texts.
fn setting_value(setting: &str, given: &str) -> Value {
    match serde_json::from_str(given) {
        Ok(Value::Number(number)) if setting == "browser_cache_ttl" => number.into(),
        Ok(Value::Object(fields)) => fields.into(),
        _ => json!(given),
    }
}

/// How often a change is decided anew because somebody else's came between: with each, one other has succeeded.
const TRIES_MAX: usize = 8;

/// Makes, replaces or removes the one rule of this zone or host; all other rules stay as they are and where they are.
async fn origin(api: &Api, args: &OriginArgs) -> anyhow::Result<()> {
    let expression = applies_to(&args.zone, args.host_asked.as_deref())?;
    let whom = args.host_asked.as_deref().unwrap_or(&args.zone);
    let zone = api.zone(&args.zone).await?;
    let path = format!("/zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
    let mut changed = false;
    for _ in 0..TRIES_MAX {
        // A zone has no ruleset before its first rule.
        let found = api.tagged(&path).await?;
        let former = found.as_ref().and_then(|(ruleset, _)| ruleset["rules"].as_array());
        let former = former.cloned().unwrap_or_default();
        let mut rules = without(former.clone(), &expression);
        if args.remove && rules == former {
            bail!("{whom} has no origin rule");
        }
        if !args.remove {
            place(&mut rules, rule(&expression, args.host.as_deref(), args.port));
        }
        let read = found.as_ref().map(|(_, tag)| tag.as_str());
        changed = api.put_after(&path, read, &json!({ "rules": rules })).await?;
        if changed {
            break;
        }
    }
    if !changed {
        bail!(
            "others change the rules of {} at this moment, again and again: nothing was changed; try again",
            args.zone
        );
    }
    match args.remove {
        true => println!("requests to {whom} go where its records say"),
        false => {
            let host = args.host.as_deref().unwrap_or("the host that the records say");
            let port = args.port.map_or("the scheme's port".to_owned(), |port| format!("port {port}"));
            println!("requests to {whom} go to {host}, {port}");
        }
    }
    Ok(())
}

/// The expression of a rule for this host of the zone, or for all of it.
fn applies_to(zone: &str, host: Option<&str>) -> anyhow::Result<String> {
    let zone = ZoneName::parse(zone)?.to_string();
    let Some(host) = host else { return Ok("true".to_owned()) };
    let host = DnsName::parse(host)?;
    if host.as_str() != zone && !host.as_str().ends_with(&format!(".{zone}")) {
        bail!("{host} is not in the zone {zone}; give such as www.{zone}");
    }
    Ok(format!("http.host eq \"{host}\""))
}

fn rule(expression: &str, host: Option<&str>, port: Option<u16>) -> Value {
    let mut origin = json!({});
    if let Some(host) = host {
        origin["host"] = json!(host);
    }
    if let Some(port) = port {
        origin["port"] = json!(port);
    }
    json!({ "action": "route", "expression": expression, "enabled": true, "action_parameters": { "origin": origin } })
}

/// The rules, of which those of this expression say no longer where the origin is; what then says nothing is gone.
fn without(mut rules: Vec<Value>, expression: &str) -> Vec<Value> {
    rules.retain_mut(|rule| {
        if rule["expression"] != expression {
            return true;
        }
        let parameters = rule["action_parameters"].as_object_mut();
        parameters.is_some_and(|parameters| parameters.remove("origin").is_none() || !parameters.is_empty())
    });
    rules
}

/// Later rules override earlier ones: the one for the whole zone goes before all others, one for a host after them.
fn place(rules: &mut Vec<Value>, rule: Value) {
    let at = if rule["expression"] == "true" { 0 } else { rules.len() };
    rules.insert(at, rule);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_rule_replaces_its_own_kind_and_keeps_every_other_rule() {
        let www = applies_to("example.com", Some("WWW.example.com")).unwrap();
        assert_eq!(www, "http.host eq \"www.example.com\"");
        let with_header =
            json!({ "expression": "true", "action_parameters": { "host_header": "a.example" } });
        let mut both = with_header.clone();
        both["action_parameters"]["origin"] = json!({ "port": 9 });
        let mut rules = without(vec![both, rule("true", None, Some(8)), rule(&www, None, Some(1))], "true");
        place(&mut rules, rule("true", Some("192.0.2.1"), None));
        let mut rules = without(rules, &www);
        place(&mut rules, rule(&www, None, Some(2)));
        assert_eq!(rules, [rule("true", Some("192.0.2.1"), None), with_header, rule(&www, None, Some(2))]);
    }

    #[test]
    fn a_rule_for_a_host_of_another_zone_is_refused() {
        assert_eq!(applies_to("example.com", None).unwrap(), "true");
        for other in ["example.org", "notexample.com"] {
            assert!(
                applies_to("example.com", Some(other)).unwrap_err().to_string().contains("not in the zone")
            );
        }
    }
}
