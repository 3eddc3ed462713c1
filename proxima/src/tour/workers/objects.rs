//! Objects: put by a stock client of S3 at one PoP, read by it at the others.

use std::{fs, net::SocketAddr};

use anyhow::{Context, bail};
use proxima_lab::plan::S3_PORT;

use super::super::{Tour, quoted};

const BUCKET: &str = "photos";
/// What is put, in MiB: more than that client puts into one part of an upload.
const MIB: usize = 9;
/// The keys of S3 that the token is.
const KEYS: &str = "export AWS_ACCESS_KEY_ID=$(printf %.32s \"$PROXIMA_TOKEN\") \
                    AWS_SECRET_ACCESS_KEY=$(printf %s \"$PROXIMA_TOKEN\" | sha256sum | cut -c1-64) AWS_DEFAULT_REGION=auto";

pub(super) fn walk(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "Objects by S3: a stock client puts one in Paris, and reads it in every region, each at its own PoP",
    );
    tour.tell.say("the keys of S3 are made of the API's token:");
    println!("    {KEYS}");
    let aws = aws(tour)?;
    let put = format!(
        "head -c {MIB}M /dev/urandom > photo && {aws} s3 mb s3://{BUCKET} && {aws} s3 cp --no-progress photo s3://{BUCKET}/a/photo"
    );
    show(tour, "paris", &put)?;
    let (clients, mut same) = (tour.clients(), 0);
    for client in &clients {
        let copy = format!("photo-in-{client}");
        let script = format!(
            "{aws} s3 cp --no-progress s3://{BUCKET}/a/photo {copy} && cmp photo {copy} && echo every octet is the same"
        );
        same += usize::from(show(tour, client, &script)?.contains("every octet is the same"));
    }
    tour.tell.must(
        &format!("regions that read the {MIB} MiB as they were put in Paris"),
        same.to_string(),
        same == clients.len(),
    );
    Ok(())
}

/// The client of S3, told where it is spoken.
pub(super) fn aws(tour: &Tour) -> anyhow::Result<String> {
    let address = SocketAddr::new(tour.anycast()?, S3_PORT);
    Ok(format!("{} --endpoint-url http://{address}", quoted(&tour.sources.aws().display().to_string())))
}

/// Runs a script of it on a host, and shows it; what it printed, or an error if it failed.
pub(super) fn show(tour: &mut Tour, host: &str, script: &str) -> anyhow::Result<String> {
    tour.tell.command_line(&format!("proxima lab exec {host} -- sh -c {}", quoted(script)));
    let (succeeded, text) = run(tour, host, script)?;
    tour.tell.output(&text);
    if !succeeded {
        bail!("on {host}, {script}: {text}");
    }
    Ok(text)
}

/// The same without showing it; whether it succeeded, and what it printed.
pub(super) fn run(tour: &Tour, host: &str, script: &str) -> anyhow::Result<(bool, String)> {
    let folder = folder(tour)?;
    let mut shell = tour.lab.command(host, "sh")?;
    // It writes nothing elsewhere, and comes after routers, as wrangler does.
    shell.args(["-c", &format!("{KEYS}; renice -n 10 $$ > /dev/null; {script}")]);
    shell.current_dir(&folder).env("HOME", &folder);
    let said = shell.output().with_context(|| format!("running a client of S3 on {host}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    Ok((said.status.success(), text))
}

/// Where its files are.
fn folder(tour: &Tour) -> anyhow::Result<std::path::PathBuf> {
    let folder = tour.lab.state().dir().join("s3");
    fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    Ok(folder)
}
