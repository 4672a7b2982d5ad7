//! The one-liners as configuration files: they are nothing else.

use std::fmt::Write;

use towpath_config::Config;

use crate::args::{Format, Http, Instance, Proxy, Tcp, Way};
use crate::exit::Failure;
use crate::tunnel::Tunnel;

/// The file that says the same as `towpath tcp …`.
pub(crate) fn tcp(args: &Tcp) -> String {
    let target = if args.way.via.is_empty() { &*args.target } else { "" };
    let (near, far) = with_options(&args.listen, target);
    let mut text = String::new();
    instance(&args.instance, &mut text);
    text.push_str("\n[[listener]]\nname = \"tcp\"\n");
    key("bind", list(&args.listen), &mut text);
    text.push_str("mode = \"tcp\"\npool = \"target\"\n");
    optional("idle_timeout", args.way.idle_timeout.as_deref(), &mut text);
    if near {
        args.sockets.write(&mut text);
    }
    text.push_str("\n[[pool]]\nname = \"target\"\n");
    key("balance", quoted(args.balance.as_deref().unwrap_or("round_robin")), &mut text);
    key("backend", list(&args.target), &mut text);
    way(&args.way, &mut text);
    if far {
        args.sockets.write(&mut text);
    }
    optional("hold", args.hold.as_deref(), &mut text);
    text.trim_start().to_owned()
}

/// The file that says the same as `towpath http …`.
pub(crate) fn http(args: &Http) -> String {
    let target = if args.way.via.is_empty() { &*args.target } else { "" };
    let (near, far) = with_options(&args.listen, target);
    let mut text = String::new();
    instance(&args.instance, &mut text);
    text.push_str("\n[[listener]]\nname = \"http\"\n");
    key("bind", list(&args.listen), &mut text);
    text.push_str("mode = \"http\"\npool = \"target\"\n");
    server_tls(args.tls_cert.as_deref(), args.tls_key.as_deref(), &mut text);
    optional("idle_timeout", args.way.idle_timeout.as_deref(), &mut text);
    if near {
        args.sockets.write(&mut text);
    }
    text.push_str("\n[[pool]]\nname = \"target\"\n");
    key("balance", quoted(args.balance.as_deref().unwrap_or("round_robin")), &mut text);
    key("backend", list(&args.target), &mut text);
    match &args.backend_ca {
        Some(authorities) => key("tls", format!("{{ ca = {} }}", quoted(authorities)), &mut text),
        None if args.backend_tls => key("tls", "{}", &mut text),
        None => {}
    }
    if let Some(secret) = &args.sticky {
        key("sticky", format!("{{ cookie = \"towpath\", secret_file = {} }}", quoted(secret)), &mut text);
    }
    if args.http2 {
        key("http_version", quoted("2"), &mut text);
    }
    if let Some(path) = &args.check {
        key("check", format!("{{ kind = \"http\", path = {} }}", quoted(path)), &mut text);
    }
    if let Some(statuses) = &args.retry_on {
        key("retry_on", list(statuses), &mut text);
    }
    way(&args.way, &mut text);
    if far {
        args.sockets.write(&mut text);
    }
    optional("hold", args.hold.as_deref(), &mut text);
    text.trim_start().to_owned()
}

/// The file that says the same as `towpath proxy …`.
pub(crate) fn proxy(args: &Proxy) -> String {
    let mut text = String::new();
    instance(&args.instance, &mut text);
    text.push_str("\n[[listener]]\nname = \"proxy\"\n");
    key("bind", list(&args.listen), &mut text);
    text.push_str("mode = \"proxy\"\npool = \"out\"\n");
    several("users", &args.user, &mut text);
    server_tls(args.tls_cert.as_deref(), args.tls_key.as_deref(), &mut text);
    optional("auth_file", args.auth_file.as_deref(), &mut text);
    several("allow", &args.allow, &mut text);
    several("allow_dest", &args.allow_dest, &mut text);
    several("deny_dest", &args.deny_dest, &mut text);
    if args.open {
        key("open", true, &mut text);
    }
    optional("idle_timeout", args.way.idle_timeout.as_deref(), &mut text);
    if has_tcp(&args.listen) {
        args.sockets.write(&mut text);
    }
    text.push_str("\n[[pool]]\nname = \"out\"\n");
    way(&args.way, &mut text);
    args.sockets.write(&mut text);
    text.trim_start().to_owned()
}

/// The file that says the same as `towpath tunnel …`.
pub(crate) fn tunnel(args: &Tunnel) -> String {
    let mut text = String::new();
    instance(&args.instance, &mut text);
    text.push_str("\n[[listener]]\nname = \"tunnel\"\n");
    key("bind", list(args.listen.as_deref().unwrap_or_default()), &mut text);
    text.push_str("mode = \"tunnel\"\npool = \"out\"\n");
    let mut table = Vec::new();
    table.extend(args.key_file.as_ref().map(|file| format!("key_file = {}", quoted(file))));
    table.extend(args.plain.then(|| "plain = true".to_owned()));
    table.extend(args.compress.as_ref().map(|how| format!("compress = {}", quoted(how))));
    table.extend(args.resume_timeout.as_ref().map(|time| format!("resume_timeout = {}", quoted(time))));
    key("tunnel", format!("{{ {} }}", table.join(", ")), &mut text);
    several("allow_dest", &args.allow_dest, &mut text);
    several("deny_dest", &args.deny_dest, &mut text);
    optional("idle_timeout", args.way.idle_timeout.as_deref(), &mut text);
    if has_tcp(args.listen.as_deref().unwrap_or_default()) {
        args.sockets.write(&mut text);
    }
    text.push_str("\n[[pool]]\nname = \"out\"\n");
    way(&args.way, &mut text);
    args.sockets.write(&mut text);
    text.trim_start().to_owned()
}

/// Such a file as it is shown, without its passwords.
pub(crate) fn shown(text: &str) -> String {
    let masked = towpath_config::masked(text);
    match masked == text {
        true => masked,
        false => format!(
            "# Passwords are masked: put them in, or use auth_file, ?password_file= or ?password_env=.\n{masked}"
        ),
    }
}

/// Reads such a file. A mistake in it is one of the arguments, so it is told without the lines of a file nobody wrote.
pub(crate) fn parse(text: &str) -> Result<Config, Failure> {
    towpath_config::parse(text, "command line").map_err(|mistakes| {
        let mut lines: Vec<String> = Vec::new();
        for mistake in mistakes.items() {
            let argument = argument(text.lines().nth(mistake.line.wrapping_sub(1)).unwrap_or_default());
            let hint = mistake.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let line = format!("{argument}{}{hint}", mistake.message);
            // What is said of both sides is wrong on both, and one mistake.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        Failure::Usage(lines.join("\ntowpath: "))
    })
}

/// The argument that a line of the file comes from, as it stands in front of what is wrong with it.
fn argument(line: &str) -> String {
    match line.split_once(" = ").map_or("", |(key, _)| key) {
        "" | "name" | "tls" | "tunnel" => String::new(),
        "bind" => "LISTEN: ".to_owned(),
        "backend" => "TARGET: ".to_owned(),
        "users" => "--user: ".to_owned(),
        "nodelay" => "--no-nodelay: ".to_owned(),
        "http_version" => "--http2: ".to_owned(),
        key => format!("--{}: ", key.replace('_', "-")),
    }
}

/// Which of both sides have a table that takes options of sockets; where none does, the first is to say so.
fn with_options(listen: &str, target: &str) -> (bool, bool) {
    let far = has_tcp(target);
    (has_tcp(listen) || !far, far)
}

fn has_tcp(addresses: &str) -> bool {
    !addresses.split(',').all(|address| address.starts_with("unix:"))
}

fn instance(args: &Instance, text: &mut String) {
    if let Some(workers) = args.workers {
        key("workers", workers, text);
    }
    if let Some(limit) = args.max_connections {
        key("max_connections", limit, text);
    }
    optional("drain_timeout", args.drain_timeout.as_deref(), text);
    if args.log_format.is_some() || args.no_records {
        text.push_str("\n[log]\n");
    }
    match args.log_format {
        Some(Format::Json) => key("format", quoted("json"), text),
        Some(Format::Text) => key("format", quoted("text"), text),
        None => {}
    }
    if args.no_records {
        key("records", false, text);
    }
}

fn server_tls(cert: Option<&str>, private: Option<&str>, text: &mut String) {
    if let (Some(cert), Some(private)) = (cert, private) {
        key("tls", format!("{{ cert = {}, key = {} }}", quoted(cert), quoted(private)), text);
    }
}

fn way(args: &Way, text: &mut String) {
    several("via", &args.via, text);
    optional("connect_timeout", args.connect_timeout.as_deref(), text);
}

fn several(name: &str, values: &[String], text: &mut String) {
    if !values.is_empty() {
        let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        key(name, format!("[{}]", quoted.join(", ")), text);
    }
}

pub(crate) fn optional(name: &str, value: Option<&str>, text: &mut String) {
    if let Some(value) = value {
        key(name, quoted(value), text);
    }
}

pub(crate) fn key(name: &str, value: impl std::fmt::Display, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name} = {value}");
}

fn list(values: &str) -> String {
    let quoted: Vec<String> = values.split(',').map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

pub(crate) fn quoted(value: &str) -> String {
    toml::Value::from(value).to_string()
}
