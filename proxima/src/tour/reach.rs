//! The site is reached by IPv4 and IPv6, in clear and by TLS, everywhere by the nearest PoP.

use std::net::IpAddr;

use anyhow::Context;

use super::{HOST, Tour};

/// By IPv4 and IPv6: names and pages.
pub(super) fn by_both_families(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("The same over IPv6: names and pages, in each region, by the nearest PoP");
    let clients = tour.clients();
    let sixes: Vec<IpAddr> = tour.anycast_addresses().into_iter().filter(IpAddr::is_ipv6).collect();
    let url = format!("http://{HOST}{}", tour.pages[0]);
    let (mut named, mut served) = (0, 0);
    for client in &clients {
        for address in &sixes {
            let (at, address) = (format!("@{address}"), address.to_string());
            let answer = tour.show(client, &["dig", "+noall", "+answer", &at, HOST, "AAAA"])?;
            named +=
                usize::from(answer.lines().any(|line| line.starts_with(HOST) && line.ends_with(&address)));
            let resolve = format!("{HOST}:80:[{address}]");
            let command = ["curl", "-6", "-sS", "-o", "/dev/null", "-D", "-", "--resolve", &resolve, &url];
            let head = tour.show(client, &command)?;
            served += usize::from(head.starts_with("HTTP/1.1 200") && is_by_own_pop(tour, client, &head)?);
        }
    }
    let all = clients.len() * sixes.len();
    tour.tell.must(
        "regions in which the name answers the IPv6 anycast address, asked at it",
        named.to_string(),
        named == all && all > 0,
    );
    tour.tell.must("regions served over IPv6 by their own PoP", served.to_string(), served == all && all > 0);
    Ok(())
}

/// By TLS with HTTP/2: the zone's certificate was issued at the log's node, and every server has it.
pub(super) fn by_tls(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "Over TLS with HTTP/2: a certificate was issued when the zone became active; every server has it",
    );
    let url = format!("https://{HOST}{}", tour.pages[0]);
    let resolve = format!("{HOST}:443:{}", tour.anycast()?);
    let clients = tour.clients();
    let mut secure = 0;
    for client in &clients {
        // What a server of the region knows of the network's authority: it came there as the certificate did.
        let region = &tour.lab.plan().host(client)?.region;
        let near = tour.lab.plan().servers().filter(|server| server.region == *region).last();
        let near = near.context("each region has servers")?.name.clone();
        let authority = tour.lab.state().data_dir(&near).join("ca.pem");
        let authority = authority.to_str().context("the lab's folder is not UTF-8")?;
        let command = ["curl", "--http2", "-sS", "-o", "/dev/null", "-D", "-", "--cacert", authority];
        let head = tour.show(client, &[&command[..], &["--resolve", &resolve, &url]].concat())?;
        secure += usize::from(head.starts_with("HTTP/2 200") && is_by_own_pop(tour, client, &head)?);
    }
    tour.tell.must(
        "regions served by TLS with HTTP/2, verified, by their own PoP",
        secure.to_string(),
        secure == clients.len(),
    );
    Ok(())
}

/// Whether the ray in an answer's head names a PoP of the client's region.
fn is_by_own_pop(tour: &Tour, client: &str, head: &str) -> anyhow::Result<bool> {
    let region = &tour.lab.plan().host(client)?.region;
    let ray =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("cf-ray: ").map(str::to_owned));
    let ray = ray.with_context(|| format!("an answer without cf-ray: {head}"))?;
    let mut near = tour.lab.plan().servers().filter(|server| server.region == *region);
    Ok(near.any(|server| {
        server.kind.pop().is_some_and(|pop| ray.trim().ends_with(&format!("-{}", pop.to_ascii_lowercase())))
    }))
}
