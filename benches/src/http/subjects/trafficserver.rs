//! Apache Traffic Server: the cache is a file in memory, of which a part lies in its own memory, too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::{HOST, SUBJECT_CORE};
use super::{Certified, Origin, Room, Subject, nothing};
use crate::process::{Server, free_address};

/// What it reads and writes, beneath its home.
const FOLDERS: [&str; 5] =
    ["etc/trafficserver", "var/trafficserver", "var/log/trafficserver", "var/cache", "run"];

fn open_up(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
        .with_context(|| format!("opening {} for others", folder.display()))
}

/// One event thread, no logs.
pub(super) fn start(origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let (clear, tls) = (free_address()?, free_address()?);
    let certified = Certified::make(home)?;
    let (store, mib) = room.files(home)?;
    let etc = home.join("etc/trafficserver");
    for folder in FOLDERS {
        fs::create_dir_all(home.join(folder)).with_context(|| format!("making {folder}"))?;
    }
    let records = format!(
        "CONFIG proxy.config.http.server_ports STRING {clear}:ip-in={ip} {tls_port}:ssl:ip-in={ip}\n\
         CONFIG proxy.config.exec_thread.autoconfig.enabled INT 0\n\
         CONFIG proxy.config.exec_thread.limit INT 1\n\
         CONFIG proxy.config.accept_threads INT 0\n\
         CONFIG proxy.config.log.logging_enabled INT 0\n\
         CONFIG proxy.config.admin.user_id STRING nobody\n\
         CONFIG proxy.config.cache.ram_cache.size INT {ram}\n\
         CONFIG proxy.config.http.cache.http INT 1\n\
         CONFIG proxy.config.http.insert_response_via_str INT 0\n\
         CONFIG proxy.config.ssl.server.cert.path STRING {home}\n\
         CONFIG proxy.config.ssl.server.private_key.path STRING {home}\n\
         CONFIG proxy.config.url_remap.remap_required INT 1\n\
         CONFIG proxy.config.http.server_session_sharing.pool STRING thread\n",
        clear = clear.port(),
        tls_port = tls.port(),
        ip = clear.ip(),
        ram = room.memory_mib << 20,
        home = home.display(),
    );
    let files = [
        ("records.config", records),
        ("storage.config", format!("{} {mib}M\n", store.path().display())),
        (
            "remap.config",
            format!(
                "map http://{HOST}/ http://{origin}/\nmap https://{HOST}/ http://{origin}/\n",
                origin = origin.address
            ),
        ),
        ("ssl_multicert.config", "dest_ip=* ssl_cert_name=certificate.pem ssl_key_name=key.pem\n".to_owned()),
        // It asks its own name for nothing, and takes all else from its built-in values.
        ("ip_allow.yaml", ALLOW.to_owned()),
    ];
    for (name, text) in files {
        fs::write(etc.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    debug_assert!(certified.key.exists());
    // It refuses to serve as root, and becomes a user who owns nothing.
    for folder in [home.parent().unwrap_or(home), home, store.path()] {
        open_up(folder)?;
    }
    for folder in FOLDERS {
        open_up(&home.join(folder))?;
    }
    let layout = home.join("runroot.yaml");
    fs::write(&layout, runroot(home)).context("writing runroot.yaml")?;
    let mut server_command = Command::new("traffic_server");
    server_command.arg(format!("--run-root={}", layout.display()));
    let mut server = Server::start("trafficserver", SUBJECT_CORE, &server_command, &home.join("log"))?;
    server
        .wait_until_listening(clear)
        .with_context(|| fs::read_to_string(home.join("log")).unwrap_or_default())?;
    Ok(Subject {
        name: "trafficserver",
        server,
        clear,
        tls: Some(tls),
        http3: false,
        cannot: nothing,
        _store: Some(store),
    })
}

const ALLOW: &str = "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";

/// Where everything lies, with Debian's own place for what it only reads.
fn runroot(home: &Path) -> String {
    let home = home.display();
    format!(
        "prefix: {home}\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\n\
         sysconfdir: {home}/etc/trafficserver\ndatadir: {home}/var/cache\nincludedir: /usr/include\n\
         libdir: /usr/lib/trafficserver\nlibexecdir: /usr/lib/trafficserver/modules\n\
         localstatedir: {home}/var/trafficserver\nruntimedir: {home}/run\nlogdir: {home}/var/log/trafficserver\n\
         cachedir: {home}/var/cache\n"
    )
}
