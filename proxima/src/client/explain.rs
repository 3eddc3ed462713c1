//! `proxima explain`: why a request was answered as it was.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{ApiArgs, print_table, shown};

/// A request to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The URL.
    url: String,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header field, as `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    let explanation = explain(&api, &args.url, &args.method, &args.headers).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        print(&explanation);
    }
    Ok(())
}

/// Asks for a request to be explained by the server whose API this is.
pub(crate) async fn explain(
    api: &super::Api,
    url: &str,
    method: &str,
    headers: &[String],
) -> anyhow::Result<Value> {
    let accounts = api.all("/accounts").await?;
    let account = accounts.first().map(|account| shown(&account["id"])).unwrap_or_default();
    let headers: Map<String, Value> = headers
        .iter()
        .filter_map(|header| header.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), json!(value.trim())))
        .collect();
    let body = json!({ "url": url, "method": method, "headers": headers });
    let path = format!("/accounts/{account}/request-tracer/trace");
    Ok(api.call(Method::POST, &path, Some(&body)).await?["result"].take())
}

/// Prints an explanation for people.
pub(crate) fn print(explanation: &Value) {
    println!(
        "status {} by {}, ray {}",
        explanation["status_code"],
        shown(&explanation["node"]),
        shown(&explanation["ray"])
    );
    let rows: Vec<Vec<String>> = explanation["trace"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            vec![format!("{} µs", entry["at_us"]), shown(&entry["step_name"]), shown(&entry["description"])]
        })
        .collect();
    print_table(&["AT", "STAGE", "DECISION"], &rows);
}
