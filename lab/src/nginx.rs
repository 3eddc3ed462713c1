//! The configuration of an origin: nginx over a folder. Pure.

use std::path::Path;

/// `/tagged/NAME` may be cached for an hour, has the tags `page` and NAME, and says when it was made.
const TAGGED: &str = r#"location ~ "^/tagged/([a-z0-9-]+)$" { default_type text/plain; add_header Cache-Control max-age=3600; add_header Cache-Tag "page, $1"; return 200 "$1 at $msec\n"; }"#;

/// What lies in the folder `slow` comes slowly, 128 KiB a second, and may be cached for an hour.
const SLOW: &str = "location ^~ /slow/ { limit_rate 128k; add_header Cache-Control max-age=3600; }";

/// nginx in the foreground with everything that it writes under `dir`.
pub(crate) fn render(dir: &Path, root: &Path) -> String {
    let (dir, root) = (dir.display(), root.display());
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid {dir}/run/nginx.pid;\n\
         error_log {dir}/logs/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n    \
             include /etc/nginx/mime.types;\n    \
             default_type application/octet-stream;\n    \
             charset utf-8;\n    \
             access_log {dir}/logs/access.log combined;\n    \
             sendfile on;\n    \
             keepalive_requests 100000;\n    \
             client_body_temp_path {dir}/run/body;\n    \
             proxy_temp_path {dir}/run/proxy;\n    \
             fastcgi_temp_path {dir}/run/fastcgi;\n    \
             uwsgi_temp_path {dir}/run/uwsgi;\n    \
             scgi_temp_path {dir}/run/scgi;\n    \
             server {{\n        \
                 listen 80;\n        \
                 listen [::]:80;\n        \
                 root \"{root}\";\n        \
                 index index.html;\n        \
                 {TAGGED}\n        \
                 {SLOW}\n    \
             }}\n\
         }}\n"
    )
}

/// What an origin without a folder of its own serves.
pub(crate) fn welcome(name: &str, region: &str) -> String {
    format!(
        "<!doctype html>\n<title>{name}</title>\n<h1>{name}</h1>\n<p>The origin in {region}: this page comes \
         from there.</p>\n"
    )
}
