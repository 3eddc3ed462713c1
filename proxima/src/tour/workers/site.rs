//! A static site: files that every server has, and answers with by itself.

use super::{super::Tour, deploy, wrangler::Project};

const SITE: &str = "site.python-docs.example";
/// What its first page says, and what it says next.
const SAYS: &str = "Every server has these files.";
const SAYS_NEXT: &str = "Every server has the next ones, too.";

pub(super) fn walk(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "A static site: wrangler uploads files, every server has them, and only what changes is uploaded again",
    );
    let site = Project::copy(tour, "site")?;
    let deployment = ["deploy", "--domain", SITE];
    deploy(tour, &site, &deployment, SAYS, "a static site")?;
    let resolve = format!("{SITE}:80:{}", tour.anycast()?);
    let curl = |more: &[&'static str], path: &str| {
        let mut curl = vec!["curl".to_owned(), "-sS".to_owned(), "--resolve".to_owned(), resolve.clone()];
        curl.extend(more.iter().map(ToString::to_string));
        curl.push(format!("http://{SITE}{path}"));
        curl
    };
    let (moved, missing) = (
        ["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}\\n"],
        ["-o", "/dev/null", "-w", "%{http_code}\\n"],
    );
    for (client, words, wanted, what) in [
        ("boston", curl(&moved, "/about.html"), "307", "about.html is sent on to /about in Boston"),
        ("bangkok", curl(&missing, "/nothing"), "404", "what is not there is said in Bangkok"),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = tour.show(client, &words)?;
        tour.tell.must(what, answer.trim().to_owned(), answer.starts_with(wanted));
    }
    site.edit("public/index.html", |text| text.replace(SAYS, SAYS_NEXT))?;
    tour.tell.say("the owner changes one page:");
    deploy(tour, &site, &deployment, SAYS_NEXT, "a page of it that was changed")
}
