//! Workers by way of the real binary, deployed by stock `wrangler`.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    observed::{metric, until_metric_within},
    origin::Origin,
    process::{node_packages, output},
    with_site,
};

/// A project for `wrangler`, in a folder of its own.
pub(crate) struct Project(tempfile::TempDir);

impl Project {
    /// Of a Worker `app` whose route is all of the host.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// The same, with more at the end of its settings.
    pub(crate) fn with(more: &str) -> Self {
        Self::of(&format!(
            "name = \"app\"\nmain = \"main.js\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\n\
             preview_urls = false\nroutes = [{{ pattern = \"{HOST}/app/*\", zone_name = \"example.com\" }}]\n\
             [vars]\nGREETING = \"hello\"\n{more}",
        ))
    }

    /// Of these settings.
    pub(crate) fn of(settings: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.file("wrangler.toml", settings.as_bytes());
        project
    }

    /// A copy of an example's folder, whose settings are changed.
    pub(crate) fn of_example(name: &str, change: impl Fn(String) -> String) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let settings = fs::read_to_string(example.join("wrangler.toml")).unwrap();
        let project = Self::of(&change(settings));
        for folder in ["src", "public"].into_iter().filter(|folder| example.join(folder).exists()) {
            for file in fs::read_dir(example.join(folder)).unwrap().map(Result::unwrap) {
                let name = format!("{folder}/{}", file.file_name().to_str().unwrap());
                project.file(&name, &fs::read(file.path()).unwrap());
            }
        }
        project
    }

    /// Writes the Worker's code.
    pub(crate) fn write(&self, text: &str) {
        self.file("main.js", text.as_bytes());
    }

    /// Writes a file beside it.
    pub(crate) fn file(&self, name: &str, octets: &[u8]) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
    }

    /// What it prints.
    pub(crate) fn wrangler(&self, dev: &Dev, args: &[&str]) -> String {
        let (succeeded, text) = self.try_wrangler(dev, args);
        assert!(succeeded, "wrangler {args:?}: {text}\n{}", dev.log());
        text
    }

    /// Deploys it in the account of this zone.
    pub(crate) fn deploy_for(&self, dev: &Dev, zone: &str) {
        let (succeeded, text) = output(&mut self.command_for(dev, zone, &["deploy"]));
        assert!(succeeded, "wrangler deploy for {zone}: {text}\n{}", dev.log());
        dev.until_in_force();
    }

    /// Whether it succeeded, and what it prints.
    pub(crate) fn try_wrangler(&self, dev: &Dev, args: &[&str]) -> (bool, String) {
        let printed = output(&mut self.command(dev, args));
        dev.until_in_force();
        printed
    }

    /// `wrangler`, about to be run.
    pub(crate) fn command(&self, dev: &Dev, args: &[&str]) -> Command {
        self.command_for(dev, "example.com", args)
    }

    fn command_for(&self, dev: &Dev, zone: &str, args: &[&str]) -> Command {
        let program = node_packages().join("wrangler/bin/wrangler.js");
        assert!(program.exists(), "{} is not there: run `cargo xtask setup`", program.display());
        let (_, zones) = dev.api("GET", &format!("/zones?name={zone}"), None, None);
        let account = zones["result"][0]["account"]["id"].as_str().unwrap();
        let mut node = Command::new("node");
        node.arg(program).args(args).current_dir(&self.0).env("CLOUDFLARE_ACCOUNT_ID", account);
        node.env("CLOUDFLARE_API_BASE_URL", format!("http://{}/client/v4", dev.api))
            .env("CLOUDFLARE_API_TOKEN", dev.token());
        // It asks nobody else, and writes nothing beside its project.
        node.env("HOME", self.0.path()).env("WRANGLER_SEND_METRICS", "false").env("CI", "1");
        node.env("NO_COLOR", "1");
        node
    }
}

pub(crate) fn get(dev: &Dev, path: &str) -> String {
    dev.curl(&["-sS", &dev.http_url(HOST, path)])
}

#[test]
fn what_wrangler_deploys_answers_its_route_and_fetches_its_sites_origin() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    let before = get(&dev, "/app/x");
    project.write(
        "export default { async fetch(request, env) {
           const behind = await fetch(request);
           return new Response(`${env.GREETING} ${new URL(request.url).pathname} ${behind.status}`);
         } }",
    );
    project.wrangler(&dev, &["deploy"]);
    let answer = get(&dev, "/app/x");
    assert!(answer.contains("hello /app/x 200"), "{answer} instead of {before}");
    assert!(!get(&dev, "/other").contains("hello"), "what no route matches");
    let explained = dev.proxima(&["explain", &format!("http://{HOST}/app/x")]);
    assert!(explained.contains("a route leads to Worker app"), "{explained}");

    project.write("export default { fetch() { throw new Error('boom') } }");
    project.wrangler(&dev, &["deploy"]);
    let answer = get(&dev, "/app/x");
    assert!(answer.contains("error 1101"), "{answer}");

    let private = format!("export default {{ fetch: () => fetch('http://127.0.0.1:{}/') }}", dev.http.port());
    project.write(&private);
    project.wrangler(&dev, &["deploy"]);
    let answer = get(&dev, "/app/x");
    assert!(answer.contains("the origin's address is not allowed"), "{answer}");
}

#[test]
fn what_a_worker_fetches_is_kept_as_it_says() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write(
        "export default { fetch(request) {
           const [, , path, ttl] = new URL(request.url).pathname.split('/');
           return fetch(new URL(`/${path}`, request.url), { cf: ttl === undefined ? {} : { cacheTtl: Number(ttl) } });
         } }",
    );
    project.wrangler(&dev, &["deploy"]);
    for (path, ttl, asked) in
        [("plain", "", 1), ("no-store-plain", "", 2), ("no-store-kept", "/60", 1), ("never", "/-1", 2)]
    {
        for _ in 0..2 {
            let answer = get(&dev, &format!("/app/{path}{ttl}"));
            assert_eq!(answer, format!("the page /{path}"));
        }
        assert_eq!(origin.requests(&format!("/{path}")), asked, "{path}");
    }
    // That it is not to be kept for others, and what one wants of its own, say nothing of what the other one wants.
    for (path, asked) in [
        ("/app/no-store", 1),
        ("/app/no-store", 2),
        ("/app/no-store/60", 3),
        ("/app/no-store/60", 3),
        ("/no-store", 3),
        ("/app/no-store/-1", 4),
        ("/app/no-store/60", 4),
    ] {
        get(&dev, path);
        assert_eq!(origin.requests("/no-store"), asked, "{path}");
    }
}

#[test]
fn a_worker_that_throws_lets_its_visitors_through_to_cache_and_origin_if_it_says_so() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write(
        "export default { fetch(request, env, ctx) { ctx.passThroughOnException(); throw new Error('boom'); } }",
    );
    project.wrangler(&dev, &["deploy"]);
    for _ in 0..2 {
        assert_eq!(get(&dev, "/app/style.css"), "the page /app/style.css");
    }
    assert_eq!(origin.requests("/app/style.css"), 1, "the second time from the cache");
    let explained = dev.proxima(&["explain", &format!("http://{HOST}/app/x")]);
    assert!(explained.contains("the Worker threw, and the request passed it"), "{explained}");
    assert!(dev.log().contains("a Worker failed, and its request passed it"), "{}", dev.log());
}

#[test]
fn what_does_not_start_is_refused_and_what_answered_goes_on() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write("export default { fetch: () => new Response('good') }");
    let deployed = project.wrangler(&dev, &["deploy"]);
    assert!(deployed.contains("Worker Startup Time: "), "{deployed}");
    project.write("throw new Error('boom');\nexport default { fetch: () => new Response('bad') }");
    for args in [&["deploy"][..], &["versions", "upload"]] {
        let (succeeded, text) = project.try_wrangler(&dev, args);
        assert!(
            !succeeded && text.contains("Uncaught Error: boom") && text.contains("code: 10021"),
            "{text}"
        );
    }
    assert_eq!(get(&dev, "/app/x"), "good");
    let counted =
        |outcome: &str| metric(&dev, &format!("proxima_workers_checks_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((counted("Fine"), counted("Refused")), (Some(1.0), Some(2.0)));
}

#[test]
fn a_cron_trigger_that_wrangler_deploys_comes_with_the_minute() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::with("[triggers]\ncrons = [\"* * * * *\"]\n");
    project.write(&format!(
        "export default {{
           fetch: () => new Response('here'),
           scheduled: ({{ cron }}) => fetch(`https://{HOST}/cron?${{encodeURIComponent(cron)}}`),
         }}"
    ));
    project.wrangler(&dev, &["deploy"]);
    // The next minute comes within one, and it has time to run.
    let within = Duration::from_secs(60) + DEADLINE;
    until_metric_within(&dev, within, "proxima_control_crons_total{result=\"ran\"}", |count| count >= 1.0);
    assert_eq!(origin.requests("/cron?*%20*%20*%20*%20*"), 1);
}
