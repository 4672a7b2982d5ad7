//! Proxies on ports of 127.0.0.1: those of others, with certificates for those that speak TLS, and towpath, asked byte by byte.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use super::net::{End, Server, connect, read_to_end};
use super::peers::{Program, program, run_well};
use super::ports::{free_address, free_port};
use super::services::{Service, Ssh, configured, ssh};
use super::towpath::{Towpath, command};

/// tinyproxy; `login` is a name and a password that its clients must have.
pub(crate) fn tinyproxy(login: Option<(&str, &str)>) -> Service {
    let basic = login.map_or(String::new(), |(name, password)| format!("BasicAuth {name} {password}\n"));
    let text = format!("Port PORT\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\n{basic}");
    start("tinyproxy", &["-d", "-c"], &text)
}

/// Squid, which lets everything through, or nothing.
pub(crate) fn squid(is_open: bool) -> Service {
    let access = if is_open { "allow" } else { "deny" };
    let text = format!(
        "http_port 127.0.0.1:PORT\nhttp_access {access} all\ncache deny all\naccess_log none\n\
         cache_log /dev/null\npid_filename none\npinger_enable off\nshutdown_lifetime 0 seconds\n\
         coredump_dir none\nmemory_pools off\nmax_filedescriptors 1024\n"
    );
    // Several of one name would share memory, whose files they leave behind when they are killed; in order they take seconds.
    let name = format!("towpath{}", free_port());
    let squid = start("squid", &["-N", "-n", &name, "-f"], &text);
    for file in fs::read_dir("/dev/shm").unwrap().flatten() {
        if file.file_name().to_string_lossy().contains(&format!("{name}-")) {
            fs::remove_file(file.path()).unwrap();
        }
    }
    Service { program: squid.program.stopped_with(Signal::KILL), ..squid }
}

/// microsocks: SOCKS 5; `login` as above.
pub(crate) fn microsocks(login: Option<(&str, &str)>) -> Service {
    let port = free_port();
    let mut command = program("microsocks");
    command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
    if let Some((name, password)) = login {
        command.args(["-u", name, "-P", password]);
    }
    on(port, folder(), command)
}

/// Dante: SOCKS 4 and 5. The port that `blocked` names is behind its rules.
pub(crate) fn dante(blocked: Option<u16>) -> Service {
    let blocked = blocked.map_or(String::new(), |port| {
        format!("socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = {port} command: connect }}\n")
    });
    let text = format!(
        "logoutput: stderr\ninternal: 127.0.0.1 port = PORT\nexternal: lo\nclientmethod: none\nsocksmethod: none\n\
         client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n{blocked}\
         socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect }}\n"
    );
    start("danted", &["-p", "pid", "-f"], &text)
}

/// `ssh -D`: SOCKS 4a and 5, through an SSH server of its own.
pub(crate) fn ssh_dynamic() -> (Service, Ssh) {
    let (server, port) = (ssh(), free_port());
    let mut command = server.client("ssh", server.service.port);
    command.args(["-N", "-D", &format!("127.0.0.1:{port}"), "127.0.0.1"]);
    (on(port, folder(), command), server)
}

/// HAProxy that ends TLS in front of `server`.
pub(crate) fn haproxy_tls(certificate: &Certificate, server: &str) -> Service {
    let port = free_port();
    let text = format!(
        "global\n maxconn 100\ndefaults\n mode tcp\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
         frontend in\n bind 127.0.0.1:{port} ssl crt {}\n default_backend out\nbackend out\n server one {server}\n",
        certificate.both
    );
    configured("haproxy", port, &text)
}

/// nginx that ends TLS in front of `server`, with HTTP/2 by ALPN.
pub(crate) fn nginx_tls(certificate: &Certificate, server: &str) -> Service {
    let port = free_port();
    let both = &certificate.both;
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 256; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {both}; ssl_certificate_key {both};\n\
         ssl_alpn h2 http/1.1; proxy_pass {server}; }} }}\n"
    );
    configured("nginx", port, &text)
}

/// A certificate for 127.0.0.1, and the authority that vouches for it.
pub(crate) struct Certificate {
    /// Path of the certificate with its key behind it.
    pub(crate) both: String,
    /// Path of the authority's certificate.
    pub(crate) ca: String,
    _folder: TempDir,
}

/// Has an authority and a certificate made by openssl.
pub(crate) fn certificate() -> Certificate {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, ca_key, leaf, key) = (path("ca.pem"), path("ca.key"), path("leaf.pem"), path("leaf.key"));
    let make = |certificate: &str, key: &str, more: &[&str]| {
        let mut command = program("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        command.args(["-days", "2", "-out", certificate, "-keyout", key]).args(more);
        run_well(command);
    };
    make(&ca, &ca_key, &["-subj", "/CN=authority"]);
    let names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    make(&leaf, &key, &[&["-subj", "/CN=proxy", "-CA", &ca, "-CAkey", &ca_key][..], &names].concat());
    let both = path("both.pem");
    fs::write(&both, [leaf, key].map(|path| fs::read_to_string(path).unwrap()).concat()).unwrap();
    Certificate { both, ca, _folder: folder }
}

/// `name` with a configuration of this text, in which PORT is to be its port; `arguments` come before its path.
fn start(name: &str, arguments: &[&str], text: &str) -> Service {
    let (folder, port) = (folder(), free_port());
    let file: PathBuf = folder.path().join("config");
    fs::write(&file, text.replace("PORT", &port.to_string())).unwrap();
    let mut command = program(name);
    command.args(arguments).arg(file).current_dir(folder.path());
    on(port, folder, command)
}

fn on(port: u16, folder: TempDir, command: Command) -> Service {
    let program = Program::start(command, folder.path()).listening_on(port);
    Service { program, port, folder }
}

/// A folder that other users may enter: some of these programs give up being root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// `towpath proxy`, whose clients may go to 127.0.0.0/8.
pub(crate) fn proxy(flags: &[&str]) -> (String, Towpath) {
    closed_proxy(&[&["--allow-dest", "127.0.0.0/8"], flags].concat())
}

/// The same where they may not.
pub(crate) fn closed_proxy(flags: &[&str]) -> (String, Towpath) {
    let listen = free_address();
    let arguments = ["proxy", &listen, "--log-format", "json"];
    let towpath = Towpath::start(command(arguments.iter().chain(flags)));
    (listen, towpath)
}

/// Sends `bytes`, ends, and returns all that comes back, which has to end in order.
pub(crate) fn ask(listen: &str, bytes: &[u8]) -> Vec<u8> {
    let mut client = connect(listen);
    // It may be sent away before it has said everything.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    let (answer, end) = read_to_end(&mut client);
    assert_eq!(end, End::Fin, "{}", String::from_utf8_lossy(bytes));
    answer
}

/// The same where the answer is one of HTTP, and only one: its status and its words.
pub(crate) fn ask_http(listen: &str, request: &str) -> (u16, String) {
    let answer = String::from_utf8(ask(listen, request.as_bytes())).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer to {request:?}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
}

/// A CONNECT.
pub(crate) fn connect_to(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// An HTTP server that keeps the heads of its requests, and answers `ok`.
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Target {
    /// On a port that the kernel picks.
    pub(crate) fn start() -> Self {
        let server = Server::start();
        let target = Self { address: server.address(), heads: Arc::default() };
        let heads = target.heads.clone();
        thread::spawn(move || {
            loop {
                let (stream, heads) = (server.accept(), heads.clone());
                thread::spawn(move || serve(stream, &heads));
            }
        });
        target
    }

    /// A request to it with more fields.
    pub(crate) fn get(&self, fields: &str) -> String {
        format!("GET http://{}/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n", self.address)
    }

    /// The heads that have come since this was last asked.
    pub(crate) fn take_heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, heads: &Mutex<Vec<String>>) {
    while let Some(head) = read_head(&mut stream) {
        heads.lock().unwrap().push(head);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Reads a head byte by byte, and nothing behind it; `None` at the end.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A proxy that does as `act` says with each connection; returns its address.
pub(crate) fn parent(act: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    let (server, act) = (Server::start(), Arc::new(act));
    let address = server.address();
    thread::spawn(move || {
        loop {
            let (mut stream, act) = (server.accept(), act.clone());
            thread::spawn(move || act(&mut stream));
        }
    });
    address
}

/// One that reads the head of a CONNECT, says `answer` and ends.
pub(crate) fn saying(answer: &'static str) -> String {
    parent(move |stream| {
        read_head(stream);
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = read_to_end(stream);
    })
}
