//! A real site is put onto the network, and its names answer in each region.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{HOST, Tour, ZONE};

/// Pages that the tour measures with.
const PAGES_MAX: usize = 2_000;

/// The paths of the site's pages.
pub(super) fn pages(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| {
            format!(
                "{}: the site's files are in Debian's package python3-doc; `cargo xtask setup` installs it",
                folder.display()
            )
        })?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html")
                && let Some(page) = path.strip_prefix(root).ok().and_then(Path::to_str)
                && page.bytes().all(|octet| octet.is_ascii_graphic())
            {
                found.push(format!("/{page}"));
            }
        }
    }
    found.sort();
    found.truncate(PAGES_MAX);
    if found.is_empty() {
        bail!("{} has no pages", root.display());
    }
    Ok(found)
}

/// The zone, made and filled through the API, from a client in Europe.
pub(super) fn put_on(tour: &mut Tour) -> anyhow::Result<()> {
    let count = tour.pages.len();
    tour.tell.step(&format!(
        "A site owner in Paris brings a domain: {ZONE}, {count} pages on a server of their own"
    ));
    let origin = tour.lab.plan().host("origin")?.address4;
    let zone_file = tour.lab.state().dir().join("python-docs.zone");
    fs::write(
        &zone_file,
        format!(
            "$ORIGIN {ZONE}.\n$TTL 300\n@       IN A     {origin}\nwww     IN A     {origin}\ndocs    IN CNAME www\n\
             @       IN MX    10 mail\nmail    IN A     {origin}\nversion IN TXT   \"0\"\n"
        ),
    )?;
    tour.show("paris", &["proxima", "zones", "add", ZONE])?;
    let path = zone_file.to_str().context("the lab's folder is not UTF-8")?;
    tour.show("paris", &["proxima", "dns", "import", ZONE, path, "--proxied"])?;
    let listed = tour.show("paris", &["proxima", "dns", "list", ZONE])?;
    tour.tell.must(
        "records imported from a BIND zone file",
        listed.lines().count().saturating_sub(1).to_string(),
        listed.contains(HOST),
    );
    tour.tell.say("Its origin speaks no TLS, which the owner says by a setting:");
    let path = format!("{}/settings/ssl", tour.zone_path()?);
    let answer = tour.patch("paris", &path, r#"{"value":"flexible"}"#)?;
    tour.tell.must("the setting is taken", "", answer.contains(r#""success":true"#));
    Ok(())
}

/// The same answer everywhere: the anycast address, from the nearest PoP's name server.
pub(super) fn resolve(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("Its names answer in each region, on the anycast address, by the nearest PoP");
    let anycast = tour.anycast()?.to_string();
    let at = format!("@{anycast}");
    let mut good = 0;
    let clients = tour.clients();
    for client in &clients {
        let answer = tour.show(client, &["dig", "+noall", "+answer", "+stats", &at, HOST, "A"])?;
        good += usize::from(answer.lines().any(|line| line.starts_with(HOST) && line.contains(&anycast)));
    }
    tour.tell.must(
        "regions in which the name answers the anycast address",
        good.to_string(),
        good == clients.len(),
    );
    tour.tell.command_line("proxima lab status");
    let status = tour.lab.status()?;
    let mut near = 0;
    for client in &status.clients {
        let pop = client.colo.clone().unwrap_or_else(|| "nowhere".to_owned());
        near += usize::from(tour.is_at_home(client));
        tour.tell.say(&format!(
            "{} lands at {pop}, round trip {:.1} ms",
            client.name,
            client.rtt_ms.unwrap_or_default()
        ));
    }
    tour.tell.must(
        "regions served by their own PoP, on every anycast address",
        near.to_string(),
        near == clients.len(),
    );
    Ok(())
}
