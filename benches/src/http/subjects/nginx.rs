//! nginx.

use std::path::Path;

use anyhow::Result;

use super::super::SUBJECT_CORE;
use super::super::origin::start_nginx;
use super::{Certified, Origin, Room, Subject, nothing};
use crate::process::free_address;

/// A reverse proxy with kept connections for `/miss/`, and a cache in front of it for `/store/`.
pub(super) fn start(origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let (clear, tls) = (free_address()?, free_address()?);
    let certified = Certified::make(home)?;
    let (store, mib) = room.files(home)?;
    let http = format!(
        r#"
        access_log off;
        keepalive_requests 1000000000;
        proxy_cache_path {cache} levels=1:2 keys_zone=store:64m max_size={mib}m inactive=1h use_temp_path=off;
        upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
        server {{
          listen {clear};
          listen {tls} ssl http2;
          ssl_protocols TLSv1.2 TLSv1.3;
          ssl_certificate {certificate};
          ssl_certificate_key {key};
          proxy_http_version 1.1;
          proxy_set_header connection "";
          proxy_set_header host $host;
          proxy_set_header x-forwarded-for $proxy_add_x_forwarded_for;
          proxy_set_header x-forwarded-proto $scheme;
          proxy_buffers 16 32k;
          location / {{ proxy_pass http://origin; }}
          location /store/ {{ proxy_pass http://origin; proxy_cache store; proxy_cache_lock on; }}
        }}
        "#,
        cache = store.path().display(),
        origin = origin.address,
        certificate = certified.certificate.display(),
        key = certified.key.display(),
    );
    let mut server = start_nginx("nginx", SUBJECT_CORE, home, &http)?;
    server.wait_until_listening(clear)?;
    Ok(Subject {
        name: "nginx",
        server,
        clear,
        tls: Some(tls),
        http3: false,
        cannot: nothing,
        _store: Some(store),
    })
}
