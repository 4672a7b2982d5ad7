//! Load balancing of HTTP around a towpath: backends that speak both versions, sites of nginx, and towpath over both.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::peers::{Program, Ran, program, run};
use super::ports::{free_address, free_port};
use super::services::{Service, configured};
use super::tools::{Certificate, client};
use super::towpath::{Record, Towpath};
use super::{PATIENCE, nightly};

/// Where the scripts of this folder are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clients");

/// The path of a script.
pub(crate) fn script(name: &str) -> String {
    format!("{SCRIPTS}/{name}")
}

/// The server of `backend.cjs`.
pub(crate) struct Backend {
    service: Service,
    h2_port: u16,
    name: String,
}

impl Backend {
    /// One that answers with its name.
    pub(crate) fn start(name: &str) -> Self {
        Self::keeping(name, 60_000)
    }

    /// One that keeps connections for so many milliseconds, and says so.
    pub(crate) fn keeping(name: &str, millis: u32) -> Self {
        Self::on(name, free_port(), free_port(), millis)
    }

    fn on(name: &str, port: u16, h2_port: u16, millis: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = client("node", folder.path());
        command.arg(script("backend.cjs")).args([&port.to_string(), &h2_port.to_string(), name]);
        command.arg(millis.to_string());
        let program = Program::start(command, folder.path()).listening_on(port).listening_on(h2_port);
        Self { service: Service { program, port, folder }, h2_port, name: name.to_owned() }
    }

    /// Where it speaks HTTP/1.1.
    pub(crate) fn h1(&self) -> String {
        self.service.address()
    }

    /// Where it speaks HTTP/2.
    pub(crate) fn h2(&self) -> String {
        format!("127.0.0.1:{}", self.h2_port)
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.service.program.signal(Signal::KILL);
        self.service.program.stop();
    }

    /// Starts it again where it was.
    pub(crate) fn restart(self) -> Self {
        let Self { service, h2_port, name } = self;
        let port = service.port;
        drop(service);
        Self::on(&name, port, h2_port, 60_000)
    }
}

/// nginx with files and a few settings of its own, within `http`; unless they say otherwise it keeps connections for long.
pub(crate) fn site(settings: &str) -> Service {
    let port = free_port();
    let keeps = if settings.contains("keepalive") { "" } else { "keepalive_requests 1000000; " };
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 1024; }}\n\
         http {{ access_log off; root FOLDER/root; default_type text/plain; sendfile on;\n\
         types {{ text/html html; text/css css; application/javascript js; image/svg+xml svg; application/json json; }}\n\
         client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER;\n\
         scgi_temp_path FOLDER; {keeps}{settings}\n\
         server {{ listen 127.0.0.1:{port}; client_max_body_size 0;\n\
         location = /post {{ return 200 posted; }}\n\
         location /put/ {{ root FOLDER; dav_methods PUT; create_full_put_path on; }} }} }}\n"
    );
    let service = configured("nginx", port, &text);
    fs::create_dir(service.folder.path().join("root")).unwrap();
    service
}

/// nginx that speaks HTTP/2 without TLS, with settings of its own.
pub(crate) fn h2_site(settings: &str) -> Service {
    let port = free_port();
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\nevents {{ worker_connections 1024; }}\n\
         http {{ access_log off; root FOLDER/root; default_type text/plain; {settings}\n\
         client_body_temp_path FOLDER; proxy_temp_path FOLDER; fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER;\n\
         scgi_temp_path FOLDER; server {{ listen 127.0.0.1:{port} http2; client_max_body_size 0;\n\
         location /put/ {{ root FOLDER; dav_methods PUT; create_full_put_path on; }} }} }}\n"
    );
    let service = configured("nginx", port, &text);
    let root = service.folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("page"), "the page").unwrap();
    service
}

/// towpath that balances requests, for clients over plain TCP and over TLS.
pub(crate) struct Balancer {
    pub(crate) towpath: Towpath,
    pub(crate) certificate: Certificate,
    plain: String,
    secure: String,
    text: String,
}

/// What of a file differs between tests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings<'a> {
    /// Lines of both listeners.
    pub(crate) listener: &'a str,
    /// Lines of the pool `web`.
    pub(crate) pool: &'a str,
    /// Whatever comes behind it.
    pub(crate) more: &'a str,
    /// Whether its backends speak HTTP/2.
    pub(crate) is_h2: bool,
}

impl Balancer {
    /// Over `backends` as a file says that has nothing but what it must.
    pub(crate) fn start(backends: &[String]) -> Self {
        Self::with(backends, Settings::default())
    }

    /// The same over backends that speak HTTP/2.
    pub(crate) fn over_h2(backends: &[String]) -> Self {
        Self::with(backends, Settings { is_h2: true, ..Settings::default() })
    }

    /// With settings.
    pub(crate) fn with(backends: &[String], settings: Settings<'_>) -> Self {
        let (certificate, plain, secure) = (Certificate::make(), free_address(), free_address());
        let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", certificate.file(), certificate.key());
        let listener = |name: &str, bind: &str, more: &str| {
            format!(
                "[[listener]]\nname = \"{name}\"\nbind = \"{bind}\"\nmode = \"http\"\npool = \"web\"\n{more}\n{}\n\n",
                settings.listener
            )
        };
        let version = if settings.is_h2 { "http_version = \"2\"\n" } else { "" };
        let text = format!(
            "{}{}[[pool]]\nname = \"web\"\nbackend = {backends:?}\n{version}{}\n\n{}\n",
            listener("plain", &plain, ""),
            listener("secure", &secure, &tls),
            settings.pool,
            settings.more
        );
        Self { towpath: Towpath::file(&text), certificate, plain, secure, text }
    }

    /// Ends it and starts it again with the same file.
    pub(crate) fn restart(self) -> Self {
        let Self { towpath, certificate, plain, secure, text } = self;
        towpath.signal(Signal::TERM);
        let ended = towpath.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        Self { towpath: Towpath::file(&text), certificate, plain, secure, text }
    }

    /// Host and port over plain TCP.
    pub(crate) fn address(&self) -> &str {
        &self.plain
    }

    /// The same over TLS, by the name of the certificate.
    pub(crate) fn secure_address(&self) -> String {
        format!("localhost:{}", self.secure.rsplit_once(':').unwrap().1)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.plain)
    }

    pub(crate) fn secure_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.secure_address())
    }

    /// curl with no settings of its own, which trusts the certificate.
    pub(crate) fn curl_command(&self) -> Command {
        let mut command = client("curl", self.certificate.folder.path());
        command.args(["-q", "-4", "-sS", "--max-time", "60", "--cacert", &self.certificate.file()]);
        command
    }

    /// What it leaves behind with these words.
    pub(crate) fn curl(&self, words: &[&str]) -> Ran {
        let mut command = self.curl_command();
        command.args(words);
        run(command, PATIENCE * 3)
    }

    /// The same for one that must succeed; what it printed.
    pub(crate) fn curl_well(&self, words: &[&str]) -> String {
        let Ran { status, stdout, stderr } = self.curl(words);
        assert!(status.success(), "{words:?}: {status}\n{stdout}\n{stderr}");
        stdout
    }

    /// An answer of one of the backends as JSON.
    pub(crate) fn curl_json(&self, words: &[&str]) -> serde_json::Value {
        let text = self.curl_well(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// Stops it: the records of all requests, which no fault of a backend's or of its own ended.
    pub(crate) fn stop_well(self) -> Vec<Record> {
        self.towpath.signal(Signal::TERM);
        let ended = self.towpath.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended.records
    }
}

/// How a client is told to speak a version of HTTP, and where.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) flags: &'static [&'static str],
    pub(crate) is_secure: bool,
    /// What curl says that it spoke.
    pub(crate) version: &'static str,
}

/// Every one, by what curl calls it.
pub(crate) const FORMS: [Form; 5] = [
    Form { name: "1.0", flags: &["--http1.0"], is_secure: false, version: "1" },
    Form { name: "1.1", flags: &["--http1.1"], is_secure: false, version: "1.1" },
    Form { name: "h2c", flags: &["--http2-prior-knowledge"], is_secure: false, version: "2" },
    Form { name: "1.1 over TLS", flags: &["--http1.1"], is_secure: true, version: "1.1" },
    Form { name: "h2", flags: &["--http2"], is_secure: true, version: "2" },
];

/// Those by which curl uses a connection again: with prior knowledge it fails at that, whatever the server (7.88).
pub(crate) fn keeping() -> impl Iterator<Item = &'static Form> {
    FORMS.iter().filter(|form| !matches!(form.name, "1.0" | "h2c"))
}

impl Form {
    /// The URL of a path.
    pub(crate) fn url(&self, balancer: &Balancer, path: &str) -> String {
        if self.is_secure { balancer.secure_url(path) } else { balancer.url(path) }
    }
}

/// The folder with the libraries of node.
pub(crate) fn node_libraries() -> PathBuf {
    let folder = std::env::var_os("TOWPATH_CLIENTS").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.join("node_modules/ws").is_dir());
    folder.expect("no TOWPATH_CLIENTS with libraries of node: `cargo xtask test` installs them")
}

/// Debian's Python with a script of this folder and more words.
pub(crate) fn python_script(name: &str, home: &std::path::Path, words: &[&str]) -> Command {
    let mut command = client("/usr/bin/python3", home);
    command.arg(script(name)).args(words);
    command
}

/// node with a script of this folder, the folder of its libraries and more words.
pub(crate) fn node_script(name: &str, home: &std::path::Path, words: &[&str]) -> Command {
    let mut command = client("node", home);
    command.arg(script(name)).arg(node_libraries()).args(words);
    command
}

/// A server of a script that listens on the port that it is told first.
pub(crate) fn script_server(make: impl Fn(&std::path::Path, &str) -> Command) -> Service {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let program = Program::start(make(folder.path(), &port.to_string()), folder.path()).listening_on(port);
    Service { program, port, folder }
}

/// A number for the usual test, and one for the nightly one.
pub(crate) fn long_or_short<T>(short: T, long: T) -> T {
    if nightly() { long } else { short }
}

/// The SHA-256 of a file, in hex.
pub(crate) fn sha256(path: &std::path::Path) -> String {
    let mut command = program("sha256sum");
    command.arg(path);
    super::peers::run_well(command).split_whitespace().next().unwrap().to_owned()
}
