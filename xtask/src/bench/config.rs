//! The configuration files of the contenders.

use std::net::SocketAddrV4;

use super::contender::Contender;
use super::load::Role;

/// The names of the files.
pub(super) const HAPROXY: &str = "haproxy.cfg";
pub(super) const NGINX: &str = "nginx.conf";
pub(super) const SQUID: &str = "squid.conf";
pub(super) const TINYPROXY: &str = "tinyproxy.conf";
pub(super) const TOWPATH: &str = "towpath.toml";

/// The file that a contender is told by and what is in it; none for those that take words.
pub(super) fn file(
    contender: Contender,
    role: Role,
    listen: SocketAddrV4,
    backends: &[SocketAddrV4],
    descriptors: u64,
) -> Option<(&'static str, String)> {
    Some(match (contender, role) {
        (Contender::Haproxy, Role::Balancer { http2 }) => {
            (HAPROXY, haproxy_http(listen, backends, http2, descriptors))
        }
        (Contender::Nginx, Role::Balancer { http2 }) => (NGINX, nginx_http(listen, backends, http2)),
        (Contender::Towpath, Role::Balancer { .. }) => (TOWPATH, towpath_http(listen, backends)),
        (Contender::Haproxy, _) => (HAPROXY, haproxy_tcp(listen, backends, descriptors)),
        (Contender::Nginx, _) => (NGINX, nginx_stream(listen, backends)),
        (Contender::Tinyproxy, _) => (TINYPROXY, tinyproxy(listen)),
        (Contender::Squid, _) => (SQUID, squid(listen)),
        _ => return None,
    })
}

fn haproxy_tcp(listen: SocketAddrV4, backends: &[SocketAddrV4], descriptors: u64) -> String {
    let global = haproxy_global(descriptors);
    let servers = haproxy_servers(backends);
    format!(
        "{global}defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind {listen}
{servers}"
    )
}

fn haproxy_http(listen: SocketAddrV4, backends: &[SocketAddrV4], http2: bool, descriptors: u64) -> String {
    let global = haproxy_global(descriptors);
    let servers = haproxy_servers(backends);
    let protocol = if http2 { " proto h2" } else { "" };
    format!(
        "{global}defaults
    mode http
    http-reuse always
    option forwardfor
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
listen bench
    bind {listen}{protocol}
    balance roundrobin
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
{servers}"
    )
}

fn haproxy_global(descriptors: u64) -> String {
    // It will not start with more than half the descriptors.
    let connections = 10_000.min(descriptors.saturating_sub(200) / 2);
    format!("global\n    nbthread 1\n    maxconn {connections}\n")
}

fn haproxy_servers(backends: &[SocketAddrV4]) -> String {
    let server = |(number, address): (i32, &SocketAddrV4)| format!("    server web{number} {address}\n");
    (1..).zip(backends).map(server).collect()
}

fn nginx_stream(listen: SocketAddrV4, backends: &[SocketAddrV4]) -> String {
    let (process, servers) = (nginx_process(), nginx_servers(backends));
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
{process}
stream {{
    access_log off;
    upstream bench {{
{servers}    }}
    server {{
        listen {listen};
        proxy_pass bench;
        proxy_timeout 1h;
    }}
}}
"
    )
}

/// Like all of them it tells servers of the client. Its default buffers hold 36 kB: of the larger object a part would go by way of a file, which costs it a third more.
fn nginx_http(listen: SocketAddrV4, backends: &[SocketAddrV4], http2: bool) -> String {
    let (process, servers) = (nginx_process(), nginx_servers(backends));
    let protocol = if http2 { " http2" } else { "" };
    format!(
        "{process}
http {{
{NGINX_HTTP}    upstream bench {{
{servers}        keepalive 128;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen}{protocol} backlog=4096;
        location / {{
            proxy_pass http://bench;
            proxy_buffers 16 8k;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}
}}
"
    )
}

fn nginx_servers(backends: &[SocketAddrV4]) -> String {
    backends.iter().map(|address| format!("        server {address};\n")).collect()
}

/// What nginx is told of HTTP as a contender and as a backend alike.
pub(super) const NGINX_HTTP: &str = "    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
";

/// What it is told of its processes.
pub(super) fn nginx_process() -> String {
    // Its worker would leave root otherwise, and could not read our folder.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
pid nginx.pid;
worker_processes 1;
error_log stderr crit;
events {{
    worker_connections 20000;
}}"
    )
}

fn towpath_http(listen: SocketAddrV4, backends: &[SocketAddrV4]) -> String {
    let backends: Vec<_> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    let backends = backends.join(", ");
    format!(
        "workers = 1

[log]
records = false

[[listener]]
name = \"web\"
bind = \"{listen}\"
mode = \"http\"
pool = \"web\"

[[pool]]
name = \"web\"
backend = [{backends}]
"
    )
}

fn tinyproxy(listen: SocketAddrV4) -> String {
    let (ip, port) = (listen.ip(), listen.port());
    format!(
        "Port {port}\nListen {ip}\nTimeout 600\nMaxClients 1000\nLogLevel Critical\nDisableViaHeader Yes\n"
    )
}

fn squid(listen: SocketAddrV4) -> String {
    format!(
        "http_port {listen}
http_access allow all
access_log none
cache_log /dev/null
cache deny all
pid_filename none
pinger_enable off
coredump_dir none
max_filedescriptors 16384
shutdown_lifetime 0 seconds
"
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn haproxy_stays_within_the_descriptors() {
        assert!(haproxy_global(20_000).ends_with("maxconn 9900\n"));
        assert!(haproxy_global(1_000_000).ends_with("maxconn 10000\n"));
    }

    #[test]
    fn balancers_are_told_of_all_backends() {
        let listen = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        let backends = [1, 2, 3].map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        for contender in [Contender::Towpath, Contender::Haproxy, Contender::Nginx] {
            let role = Role::Balancer { http2: true };
            let (_, text) = file(contender, role, listen, &backends, 1_000).unwrap();
            assert!(backends.iter().all(|backend| text.contains(&backend.to_string())), "{text}");
        }
    }
}
