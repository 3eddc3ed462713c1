//! `proxima explain`: why a request was answered as it was.

use anyhow::bail;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{ApiArgs, print_table, printable_lines, shown};

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
    /// The account that asks, by id or name; the only one that the token reads unless given.
    #[arg(long)]
    account: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let headers = parse_headers(&args.headers)?;
    let api = args.api.open()?;
    let account = api.account(args.account.as_deref()).await?;
    let body = json!({ "url": args.url, "method": args.method, "headers": headers });
    let path = format!("/accounts/{account}/request-tracer/trace");
    let explanation = api.call(Method::POST, &path, Some(&body)).await?["result"].take();
    if args.json {
        println!("{}", printable_lines(&serde_json::to_string_pretty(&explanation)?));
    } else {
        print(&explanation);
    }
    Ok(())
}

/// Header fields as they are given on the command line.
fn parse_headers(given: &[String]) -> anyhow::Result<Map<String, Value>> {
    let parse = |header: &String| match header.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), json!(value.trim()))),
        _ => bail!("-H {header:?} is no header field; give `Name: value`"),
    };
    given.iter().map(parse).collect()
}

/// Prints an explanation for people.
fn print(explanation: &Value) {
    println!(
        "status {} by {}, ray {}",
        shown(&explanation["status_code"]),
        shown(&explanation["node"]),
        shown(&explanation["ray"])
    );
    let rows: Vec<Vec<String>> = explanation["trace"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            vec![
                format!("{} µs", shown(&entry["at_us"])),
                shown(&entry["step_name"]),
                shown(&entry["description"]),
            ]
        })
        .collect();
    print_table(&["AT", "STAGE", "DECISION"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_field_without_a_colon_or_a_name_is_refused() {
        let fields = parse_headers(&["Accept: text/html".to_owned(), "x-empty:".to_owned()]).unwrap();
        assert_eq!(fields["Accept"], "text/html");
        assert_eq!(fields["x-empty"], "");
        for wrong in ["foo", ": value", ""] {
            let error = parse_headers(&[wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("give `Name: value`"), "{error}");
        }
    }
}
