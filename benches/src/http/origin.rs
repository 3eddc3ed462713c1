//! The origin: nginx with a few files, which counts the requests that reach it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::LOAD_CORE;
use crate::process::{self, Server};

/// Sizes of the files, by name: from a small answer to one of many packets.
const FILES: [(&str, usize); 5] = [
    ("1k.css", 1024),
    ("16k.css", 16 * 1024),
    ("100k.css", 100 * 1024),
    ("1m.css", 1 << 20),
    ("10m.css", 10 << 20),
];

pub(super) struct Origin {
    pub(super) address: SocketAddr,
    /// Its files.
    pub(super) files: PathBuf,
    status: SocketAddr,
    /// Ended with the origin.
    _server: Server,
}

impl Origin {
    /// `/miss/*` may not be stored, `/store/*` may.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let home = folder.join("origin");
        for kind in ["miss", "store"] {
            let files = home.join("www").join(kind);
            fs::create_dir_all(&files).with_context(|| format!("making the folder {}", files.display()))?;
            for (name, bytes) in FILES {
                fs::write(files.join(name), "x".repeat(bytes)).with_context(|| format!("writing {name}"))?;
            }
        }
        let (address, status) = (process::free_address()?, process::free_address()?);
        let mut server = start_nginx("the origin", LOAD_CORE, &home, &configuration(&home, address, status))?;
        server.wait_until_listening(address)?;
        Ok(Self { address, files: home.join("www"), status, _server: server })
    }

    /// How many requests have reached it so far, this question included.
    pub(super) fn requests(&self) -> Result<u64> {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "5",
            &format!("http://{}/", self.status),
        ]);
        let text = process::output(LOAD_CORE, &curl)?;
        parse_status(&text).with_context(|| format!("the origin's status has no count: {text}"))
    }
}

fn configuration(home: &Path, address: SocketAddr, status: SocketAddr) -> String {
    let www = home.join("www");
    format!(
        r#"
        access_log off;
        sendfile on;
        tcp_nopush on;
        open_file_cache max=16;
        server {{
          listen {address};
          keepalive_requests 1000000000;
          root {};
          types {{ text/css css; }}
          location /miss/ {{ add_header cache-control "no-store"; }}
          location /store/ {{ add_header cache-control "max-age=3600"; }}
        }}
        server {{ listen {status}; location / {{ stub_status; }} }}
        "#,
        www.display()
    )
}

/// nginx with one worker, all of its files in `home`, and `http` as the inside of its http block.
pub(super) fn start_nginx(what: &'static str, core: usize, home: &Path, http: &str) -> Result<Server> {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", home.join(kind).display()))
        .concat();
    let text = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {};\nerror_log stderr warn;\n\
         worker_rlimit_nofile 16384;\nevents {{ worker_connections 8192; }}\nhttp {{\n{temporary}{http}\n}}\n",
        home.join("pid").display()
    );
    let path = home.join("nginx.conf");
    fs::create_dir_all(home).with_context(|| format!("making the folder {}", home.display()))?;
    process::write(&path, text)?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(home).arg("-c").arg(&path);
    Server::start(what, core, &nginx, &home.join("log"))
}

/// The third number after `server accepts handled requests`.
fn parse_status(text: &str) -> Option<u64> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("server accepts"));
    lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_nginx_status() {
        let text =
            "Active connections: 1 \nserver accepts handled requests\n 10 10 31 \nReading: 0 Writing: 1\n";
        assert_eq!(parse_status(text), Some(31));
        assert_eq!(parse_status("404"), None);
    }
}
