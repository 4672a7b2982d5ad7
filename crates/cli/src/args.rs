//! The command line.

use std::env;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};

use crate::sockets::Sockets;
use crate::tune::{self, Tune};
use crate::tunnel::{self, Tunnel};

/// TCP forwarder: carries connections faithfully to where they should go.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The environment's `--workers`.
const WORKERS: &str = "TOWPATH_WORKERS";

/// Reads the command line, and ends the process where it only asks for help or makes no sense.
pub(crate) fn parse() -> Args {
    let mut command = Args::command();
    // Set to nothing means not set, as is the custom.
    if env::var_os(WORKERS).is_some_and(|value| value.is_empty()) {
        for name in ["tcp", "http", "proxy", "run"] {
            command = command.mut_subcommand(name, |command| {
                command.mut_arg("workers", |workers| workers.env(Resettable::Reset))
            });
        }
    }
    let matches = command.clone().get_matches();
    Args::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

const EXAMPLES: &str = "\
Examples:
  towpath tcp :5432 db.internal:5432                    forward a port
  towpath tcp :5432 10.0.0.11:5432,10.0.0.12:5432       spread it over two servers
  towpath tcp unix:/run/db.sock 127.0.0.1:5432          from a unix socket
  towpath tcp :5432 db:5432 --via socks5h://hop:1080    through a proxy
  towpath http :8080 10.0.0.1:80,10.0.0.2:80            spread HTTP requests
  towpath proxy :3128 --auth-file users                 be an HTTP and SOCKS proxy
  towpath tunnel :7000 --key-file key                   be the far end of a tunnel
  towpath tcp :5432 db:5432 --via 'towpath://far:7000?key-file=key'
  towpath tune http://db/large --via 'towpath://far:7000?key-file=key'
  towpath tcp :5432 db:5432 --print-config              the same as a file
  towpath run towpath.toml                              everything from a file
  towpath demo                                          see it work

Exit codes: 0 done, 1 failure, 2 bad usage or configuration.
Messages: TOWPATH_LOG=debug shows more, TOWPATH_LOG=warn less.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forward TCP connections to a target
    #[command(after_help = TCP_EXAMPLES)]
    Tcp(Tcp),
    /// Spread HTTP requests over servers
    #[command(after_help = HTTP_EXAMPLES)]
    Http(Http),
    /// Be an HTTP and SOCKS proxy, all on one port
    #[command(after_help = PROXY_EXAMPLES)]
    Proxy(Proxy),
    /// Be the far end of tunnels that make long ways quick, or make their key
    #[command(after_help = tunnel::EXAMPLES)]
    Tunnel(Box<Tunnel>),
    /// Measure what makes a tunnel faster, and print what to keep
    #[command(after_help = tune::EXAMPLES)]
    Tune(Tune),
    /// Make a line of a proxy's file of users
    #[command(after_help = PASSWD_EXAMPLES)]
    Passwd(Passwd),
    /// Run what a configuration file says
    #[command(after_help = "Example:\n  towpath run /etc/towpath.toml --workers 2")]
    Run(Run),
    /// Check a configuration file and report every mistake in it
    #[command(after_help = "Examples:\n  towpath check towpath.toml\n  towpath check --schema > schema.json")]
    Check(Check),
    /// Have a running instance load its file again
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload(Reload),
    /// Tell where a client would go, and why
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// See it work: backends that stop and come back, clients, and no request lost
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
}

const RELOAD_EXAMPLES: &str = "\
What has changed in the file takes effect; live connections go on as they began. A file with a mistake changes nothing.
SIGHUP does the same, and so does a change of the file with `towpath run --watch`.

Examples:
  towpath reload /etc/towpath.toml              the instance whose [admin] socket the file names
  towpath reload --socket /run/towpath.sock";

const EXPLAIN_EXAMPLES: &str = "\
With --socket a running instance is asked, which knows how its backends are.

Examples:
  towpath explain towpath.toml --listener web --client 10.1.2.3
  towpath explain --socket /run/towpath.sock --listener web --client 10.1.2.3:4000 --sni www.example.com";

const TCP_EXAMPLES: &str = "\
LISTEN is :PORT (every address, v4 and v6), HOST:PORT, [V6]:PORT or unix:PATH; PORT may be a range.
TARGET is HOST:PORT, unix:PATH or srv+NAME; with a range of ports, they map one to one.

Examples:
  towpath tcp :5432 db.internal:5432
  towpath tcp 127.0.0.1:8000-8010 backend:9000-9010
  towpath tcp :6379,unix:/run/redis.sock 10.0.0.1:6379,10.0.0.2:6379 --idle-timeout 1h
  towpath tcp :389 srv+_ldap._tcp.example.com";

const HTTP_EXAMPLES: &str = "\
LISTEN is :PORT (every address, v4 and v6), HOST:PORT, [V6]:PORT or unix:PATH.
TARGET is HOST:PORT, unix:PATH or srv+NAME.
Clients may speak HTTP/1.0, 1.1 and 2. A request that a server did not take, or did not answer, goes to another one where that
is safe. Routes, fields, users and limits are for a file: --print-config makes one to begin with.

Examples:
  towpath http :8080 10.0.0.1:80,10.0.0.2:80
  towpath http :8080 10.0.0.1:80,10.0.0.2:80 --check /health --retry-on 502,503
  towpath http :443 10.0.0.1:80,10.0.0.2:80 --tls-cert cert.pem --tls-key key.pem
  towpath http :8080 app.internal:443 --backend-tls --http2 --balance p2c";

const PROXY_EXAMPLES: &str = "\
Clients speak HTTP (CONNECT and plain requests), SOCKS5 or SOCKS4a; the first bytes tell which.
Loopback and link-local addresses, and port 25, are closed unless --allow-dest names them.
A rule for destinations is [USER@]HOST[:PORTS], where HOST is *, a network, a name or *.NAME.

Examples:
  towpath proxy 127.0.0.1:3128
  towpath proxy :3128 --user alice:secret
  towpath proxy :3128 --auth-file users --deny-dest 10.0.0.0/8
  towpath proxy :3128 --allow 192.168.0.0/16 --deny-dest '*' --allow-dest '*.example.com:443'
  towpath proxy 127.0.0.1:1080 --via http://bob:pw@proxy:3128 --via socks5h://hop2:1080";

const PASSWD_EXAMPLES: &str = "\
The password is asked for, or read from the standard input where that is no terminal.

Examples:
  towpath passwd alice >> users
  echo secret | towpath passwd bob --argon2 >> users";

#[derive(Debug, ClapArgs)]
pub(crate) struct Proxy {
    /// Where to listen; several with commas between
    #[arg(value_name = "LISTEN[,LISTEN…]")]
    pub(crate) listen: String,
    /// A user who may use it; repeatable
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub(crate) user: Vec<String>,
    /// A file of users with hashes of their passwords, as `towpath passwd` makes it
    #[arg(long, value_name = "FILE")]
    pub(crate) auth_file: Option<String>,
    /// Speak TLS to clients (an HTTPS proxy), with this certificate and its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<String>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<String>,
    /// Only clients of this network; repeatable
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow: Vec<String>,
    /// Let anybody use it who can reach it
    #[arg(long)]
    pub(crate) open: bool,
    /// Let clients go there although it is closed, or denied in general; repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_dest: Vec<String>,
    /// Let no client go there, with * only where --allow-dest says; repeatable
    #[arg(long, value_name = "RULE")]
    pub(crate) deny_dest: Vec<String>,
    #[command(flatten)]
    pub(crate) way: Way,
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Print the configuration file for the same thing, with passwords masked, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) sockets: Sockets,
}

/// How connections go out.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Way {
    /// Go through this proxy: http://, https://, h2://, h2c://, socks5://, socks5h:// or socks4a:// and [USER:PASSWORD@]HOST:PORT, or env for the one of
    /// ALL_PROXY or HTTP_PROXY; or through a tunnel, towpath://HOST:PORT?key-file=FILE; repeatable, the nearest first
    #[arg(long, value_name = "URL")]
    pub(crate) via: Vec<String>,
    /// End connections that carry nothing for so long, as 30m; off by default
    #[arg(long, value_name = "DURATION")]
    pub(crate) idle_timeout: Option<String>,
    /// Give up an attempt to connect after so long [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) connect_timeout: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Passwd {
    /// The user
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Hash with argon2id in place of bcrypt
    #[arg(long)]
    pub(crate) argon2: bool,
    /// The cost of bcrypt, from 4 to 16 [default: 10]
    #[arg(long, value_name = "N", conflicts_with = "argon2", value_parser = value_parser!(u32).range(4..=16))]
    pub(crate) cost: Option<u32>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Tcp {
    /// Where to listen; several with commas between
    #[arg(value_name = "LISTEN[,LISTEN…]")]
    pub(crate) listen: String,
    /// Where to connect; several take turns, and the next is tried when one refuses
    #[arg(value_name = "TARGET[,TARGET…]")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) way: Way,
    /// Hold clients for so long while no target works, off for not at all [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) hold: Option<String>,
    /// How the target is chosen: round_robin, least_conn, p2c or random [default: round_robin]
    #[arg(long, value_name = "NAME")]
    pub(crate) balance: Option<String>,
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Print the configuration file for the same thing, with passwords masked, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) sockets: Sockets,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Http {
    /// Where to listen; several with commas between
    #[arg(value_name = "LISTEN[,LISTEN…]")]
    pub(crate) listen: String,
    /// The servers; requests take turns over them
    #[arg(value_name = "TARGET[,TARGET…]")]
    pub(crate) target: String,
    /// How a server is chosen: round_robin, least_conn, p2c or random [default: round_robin]
    #[arg(long, value_name = "NAME")]
    pub(crate) balance: Option<String>,
    /// Ask servers for this path now and then, and leave out those that do not answer well
    #[arg(long, value_name = "PATH")]
    pub(crate) check: Option<String>,
    /// Ask another server in place of answers with these statuses, as 503 or 500-599; several with commas between
    #[arg(long, value_name = "STATUS[,STATUS…]")]
    pub(crate) retry_on: Option<String>,
    /// Speak TLS to clients, with this certificate and its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<String>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<String>,
    /// Speak TLS to servers, whose certificates are verified
    #[arg(long)]
    pub(crate) backend_tls: bool,
    /// The authorities that sign the certificates of servers (PEM), in place of those of the system
    #[arg(long, value_name = "FILE", requires = "backend_tls")]
    pub(crate) backend_ca: Option<String>,
    /// Bring each client back to its server by a cookie that is signed with the secret in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) sticky: Option<String>,
    /// Speak HTTP/2 to servers
    #[arg(long)]
    pub(crate) http2: bool,
    #[command(flatten)]
    pub(crate) way: Way,
    /// Hold requests for so long while no server works, off for not at all [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) hold: Option<String>,
    #[command(flatten)]
    pub(crate) instance: Instance,
    /// Print the configuration file for the same thing, with passwords masked, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) sockets: Sockets,
}

/// What every command that runs an instance takes.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Instance {
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", env = WORKERS, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Live connections in all [default: what the limit of open files allows]
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<std::num::NonZeroU32>,
    /// How long live connections may go on after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain_timeout: Option<String>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<Format>,
    /// Do not record finished connections
    #[arg(long)]
    pub(crate) no_records: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Words and key=value pairs
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Reload {
    /// The configuration file of the instance, for its [admin] socket
    #[arg(value_name = "FILE", required_unless_present = "socket")]
    pub(crate) file: Option<PathBuf>,
    /// The instance's socket
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present = "socket")]
    pub(crate) file: Option<PathBuf>,
    /// The socket of a running instance
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    pub(crate) socket: Option<PathBuf>,
    /// The listener that the client comes to
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: String,
    /// The client's address, with or without a port
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: String,
    /// The server name of its TLS ClientHello
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Load the file again whenever it changes
    #[arg(long)]
    pub(crate) watch: bool,
    /// Worker threads, in place of the file's
    #[arg(long, value_name = "N", env = WORKERS, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Form of log lines, in place of the file's
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<Format>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    pub(crate) file: Option<PathBuf>,
    /// Print the JSON schema of configuration files and exit
    #[arg(long, conflicts_with = "file")]
    pub(crate) schema: bool,
}

const DEMO_EXAMPLES: &str = "\
Everything runs in this one process, on 127.0.0.1: three HTTP servers, a forwarder in front of them and clients.
Every few seconds a server stops, and comes back; a summary tells whether a request failed.

Examples:
  towpath demo                    until Ctrl-C
  towpath demo --seconds 20       for a while; exit code 0 if no request failed, 1 otherwise";

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<std::num::NonZeroU32>,
}
