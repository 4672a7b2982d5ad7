//! The servers that towpath stands in front of, each with a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::peers::{Program, path_of, program, run_well};
use super::ports::free_port;
use super::wait_for;

/// A server on a port of 127.0.0.1.
pub(crate) struct Service {
    // Before `folder`: it is stopped while its files are there.
    pub(crate) program: Program,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Service {
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn start(folder: TempDir, port: u16, command: Command) -> Self {
        let program = Program::start(command, folder.path()).listening_on(port);
        Self { program, port, folder }
    }
}

/// A folder that other users may enter.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Redis, which keeps nothing on disk.
pub(crate) fn redis() -> Service {
    let (folder, port) = (folder(), free_port());
    let mut command = program("redis-server");
    command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--tcp-backlog", "4096"]);
    command.args(["--maxclients", "12000", "--port", &port.to_string()]).arg("--dir").arg(folder.path());
    Service::start(folder, port, command)
}

/// nginx that serves the files of `root` in its folder, over HTTP with keep-alive.
pub(crate) fn nginx() -> Service {
    let (folder, port) = (folder(), free_port());
    let at = folder.path().display();
    fs::create_dir(folder.path().join("root")).unwrap();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; root {at}/root; sendfile on; keepalive_timeout 60;\n\
         client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at};\n\
         scgi_temp_path {at}; server {{ listen 127.0.0.1:{port}; }} }}\n"
    );
    fs::write(folder.path().join("nginx.conf"), text).unwrap();
    let mut command = program("nginx");
    command
        .arg("-e")
        .arg("stderr")
        .arg("-c")
        .arg(folder.path().join("nginx.conf"))
        .arg("-p")
        .arg(folder.path());
    Service::start(folder, port, command)
}

/// iperf3 as a server.
pub(crate) fn iperf3() -> Service {
    let (folder, port) = (folder(), free_port());
    let mut command = program("iperf3");
    command.args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()]);
    // It counts a look at its port as a test, so nobody looks: it tells when it listens.
    command.arg("--forceflush");
    let program = Program::start(command, folder.path());
    wait_for("iperf3", || program.output().contains("Server listening").then_some(()));
    Service { program, port, folder }
}

/// HAProxy in front of `server`, an HTTP server.
pub(crate) fn haproxy(server: &str) -> Service {
    let (folder, port) = (folder(), free_port());
    let text = format!(
        "global\n maxconn 1000\ndefaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
         frontend in\n bind 127.0.0.1:{port}\n default_backend out\n\
         backend out\n http-reuse always\n server one {server}\n"
    );
    fs::write(folder.path().join("haproxy.cfg"), text).unwrap();
    let mut command = program("haproxy");
    command.arg("-db").arg("-f").arg(folder.path().join("haproxy.cfg"));
    Service::start(folder, port, command)
}

/// PostgreSQL with a database `postgres` and a user of that name, also on a unix socket in its folder.
pub(crate) fn postgres() -> Service {
    let folder = postgres_folder();
    let data = folder.path().join("data").display().to_string();
    let initdb = postgres_program("initdb");
    run_well(as_postgres(&initdb, &["-D", &data, "-U", "postgres", "--auth=trust", "--no-sync"]));
    start_postgres(folder, &data)
}

/// A copy of `primary` that follows it by streaming replication, until it is promoted.
pub(crate) fn postgres_standby(primary: &Service) -> Service {
    let folder = postgres_folder();
    let (data, port) = (folder.path().join("data").display().to_string(), primary.port.to_string());
    let arguments =
        ["-D", &data, "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-X", "stream", "--no-sync"];
    run_well(as_postgres(
        &postgres_program("pg_basebackup"),
        &[&arguments[..], &["--checkpoint=fast"]].concat(),
    ));
    start_postgres(folder, &data)
}

/// Makes a standby a primary.
pub(crate) fn promote(standby: &Service) {
    let data = standby.folder.path().join("data").display().to_string();
    run_well(as_postgres(&postgres_program("pg_ctl"), &["promote", "-D", &data]));
}

fn postgres_folder() -> TempDir {
    let folder = folder();
    if geteuid().is_root() {
        let ids = run_well(as_postgres("id", &["-u"])) + " " + &run_well(as_postgres("id", &["-g"]));
        let mut ids = ids.split_whitespace().map(|id| id.parse().unwrap());
        chown(folder.path(), ids.next(), ids.next()).unwrap();
    }
    folder
}

fn start_postgres(folder: TempDir, data: &str) -> Service {
    let (at, port) = (folder.path(), free_port());
    let port_text = port.to_string();
    let folder_text = at.display().to_string();
    let mut arguments = vec!["-D", data, "-p", &port_text, "-k", &folder_text];
    arguments.extend(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=50"]);
    let command = as_postgres(&postgres_program("postgres"), &arguments);
    // SIGINT is its fast way down: clients are disconnected, nothing is left behind.
    let program = Program::start(command, at).stopped_with(Signal::INT).listening_on(port);
    let is_ready = |output: String| output.contains("ready to accept");
    wait_for("ready postgres", || is_ready(program.output()).then_some(()));
    Service { program, port, folder }
}

/// A program of the given configuration: HAProxy or nginx, on `port`.
pub(crate) fn configured(name: &str, port: u16, text: &str) -> Service {
    let folder = folder();
    let file = folder.path().join("config");
    fs::write(&file, text.replace("FOLDER", &folder.path().display().to_string())).unwrap();
    let mut command = program(name);
    if name == "haproxy" { command.arg("-db").arg("-f") } else { command.arg("-c") }.arg(&file);
    Service::start(folder, port, command)
}

/// A program of PostgreSQL: Debian keeps those of each version in a folder of their own.
pub(crate) fn postgres_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| path_of(name)).display().to_string()
}

/// PostgreSQL refuses to run as root.
fn as_postgres(name: &str, arguments: &[&str]) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = program("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", name]);
        command
    } else {
        program(name)
    };
    command.args(arguments).current_dir("/");
    command
}

/// An SSH server for this user, and the keys to it.
pub(crate) struct Ssh {
    pub(crate) service: Service,
    pub(crate) key: PathBuf,
}

/// OpenSSH with host and user keys of its own.
pub(crate) fn ssh() -> Ssh {
    let (folder, port) = (folder(), free_port());
    let at = folder.path();
    let (host_key, key) = (at.join("host"), at.join("user"));
    for path in [&host_key, &key] {
        let mut keygen = program("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
        run_well(keygen);
    }
    let authorized = at.join("authorized_keys");
    fs::copy(key.with_extension("pub"), &authorized).unwrap();
    if geteuid().is_root() {
        // It insists on this folder when it runs as root.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let mut text = format!("Port {port}\nListenAddress 127.0.0.1\nHostKey {}\n", host_key.display());
    let _ = write!(
        text,
        "AuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n",
        authorized.display()
    );
    text.push_str("PermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n");
    let config = at.join("sshd_config");
    fs::write(&config, text).unwrap();
    let mut command = program("sshd");
    command.args(["-D", "-e", "-f"]).arg(config);
    Ssh { service: Service::start(folder, port, command), key }
}

impl Ssh {
    /// `ssh` or `scp` that asks nothing, through `port`.
    pub(crate) fn client(&self, name: &str, port: u16) -> Command {
        let mut command = program(name);
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "LogLevel=ERROR",
        ]);
        command
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", &format!("Port={port}"), "-i"])
            .arg(&self.key);
        command
    }
}

/// A DNS server for the names under `test` alone, with the lines of a hosts file that can change.
pub(crate) struct Dns {
    pub(crate) service: Service,
    hosts: PathBuf,
}

/// dnsmasq whose answers live for a second; `arguments` tell more, such as service records.
pub(crate) fn dns(hosts: &str, arguments: &[&str]) -> Dns {
    let (folder, port) = (folder(), free_port());
    let path = folder.path().join("hosts");
    fs::write(&path, hosts).unwrap();
    let mut command = program("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
    ]);
    command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/", "--local-ttl=1"]);
    command.args(["--log-facility=-", "--log-queries", "--pid-file"]).args(arguments);
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", path.display()));
    Dns { service: Service::start(folder, port, command), hosts: path }
}

impl Dns {
    /// Answers from other lines from now on.
    pub(crate) fn change(&self, hosts: &str) {
        let reads = || self.service.program.output().matches("read ").count();
        let before = reads();
        fs::write(&self.hosts, hosts).unwrap();
        self.service.program.signal(Signal::HUP);
        wait_for("dnsmasq to read its hosts again", || (reads() > before).then_some(()));
    }
}

/// A file of `size` bytes that holds nothing but a hole.
pub(crate) fn sparse_file(path: &Path, size: u64) {
    fs::File::create(path).unwrap().set_len(size).unwrap();
}

/// nginx that speaks HTTP/2 with prior knowledge and answers everything with `ok`.
pub(crate) fn configured_h2() -> Service {
    let port = free_port();
    let text = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000; client_body_temp_path FOLDER; proxy_temp_path FOLDER;\n\
         fastcgi_temp_path FOLDER; uwsgi_temp_path FOLDER; scgi_temp_path FOLDER;\n\
         server {{ listen 127.0.0.1:{port} http2; location / {{ return 200 \"ok\"; }} }} }}\n"
    );
    configured("nginx", port, &text)
}
