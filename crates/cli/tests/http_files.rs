//! What a file, or the command line, says of HTTP, as far as it shows before there is a request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use support::ports::free_address;
use support::tools::Certificate;
use support::towpath::{command, output};

/// Runs a command on a file of this text; its exit code and what it wrote.
fn on_file(verb: &str, text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("http.toml");
    fs::write(&file, text).unwrap();
    output(command([verb, file.to_str().unwrap()]))
}

#[test]
fn the_one_liner_is_a_file() {
    let words =
        ["http", ":8080", "10.0.0.1:80,10.0.0.2:80", "--check", "/health", "--retry-on", "502,500-599"];
    let more = ["--http2", "--backend-tls", "--hold", "1s", "--idle-timeout", "1h", "--print-config"];
    let (code, text, stderr) = output(command(words.iter().chain(&more)));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for line in [
        "mode = \"http\"",
        "backend = [\"10.0.0.1:80\", \"10.0.0.2:80\"]",
        "check = { kind = \"http\", path = \"/health\" }",
        "retry_on = [\"502\", \"500-599\"]",
        "http_version = \"2\"",
        "tls = {}",
        "hold = \"1s\"",
        "idle_timeout = \"1h\"",
    ] {
        assert!(text.lines().any(|printed| printed == line), "no {line} in {text}");
    }
    let (code, told, stderr) = on_file("check", &text);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(told.contains("1 listener and 1 pool"), "{told}");
}

#[test]
fn files_of_the_one_liner_are_those_of_its_file() {
    let certificate = Certificate::make();
    let secret = certificate.folder.path().join("secret").display().to_string();
    fs::write(&secret, "0123456789abcdef").unwrap();
    let words = ["http", ":8080", "a.example:443", "--backend-tls", "--backend-ca", &certificate.file()];
    let (code, text, stderr) = output(command(words.iter().chain(&["--sticky", &secret, "--print-config"])));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let sticky = format!("sticky = {{ cookie = \"towpath\", secret_file = \"{secret}\" }}");
    for line in [format!("tls = {{ ca = \"{}\" }}", certificate.file()), sticky] {
        assert!(text.lines().any(|printed| printed == line), "no {line} in {text}");
    }
    let (code, _, stderr) = on_file("check", &text);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[test]
fn users_of_routes_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, "alice:plain\n").unwrap();
    let text = format!(
        "[[listener]]\nname = 'web'\nbind = '127.0.0.1:1'\nmode = 'http'\n\
         route = [{{ path = '/', answer = '', auth_file = '{}' }}]\n",
        users.display()
    );
    let (code, _, stderr) = on_file("check", &text);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("listener web") && stderr.contains("users"), "{stderr}");
}

#[test]
fn a_circle_by_a_route_is_refused() {
    let (a, b) = (free_address(), free_address());
    let listener = |name: &str, bind: &str, pool: &str| {
        format!(
            "[[listener]]\nname = '{name}'\nbind = '{bind}'\nmode = 'http'\n\
             route = [{{ path_prefix = '/x', pool = '{pool}' }}, {{ answer = '' }}]\n"
        )
    };
    let pool = |name: &str, backend: &str| format!("[[pool]]\nname = '{name}'\nbackend = '{backend}'\n");
    let text = [listener("a", &a, "to-b"), listener("b", &b, "to-a"), pool("to-a", &a), pool("to-b", &b)];
    let (code, _, stderr) = on_file("run", &text.concat());
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("circle"), "{stderr}");
}

#[test]
fn explain_tells_of_routes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("http.toml");
    let explain = |more: &str| {
        let text = format!(
            "[[listener]]\nname = 'web'\nbind = ':1'\nmode = 'http'\n{more}\n\
             route = [{{ path = '/', pool = 'web' }}]\n[[pool]]\nname = 'web'\nbackend = '10.0.0.1:80'\n"
        );
        fs::write(&file, text).unwrap();
        let (code, told, stderr) =
            output(command(["explain", file.to_str().unwrap(), "--listener", "web", "--client", "10.1.2.3"]));
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        told
    };
    let told = explain("pool = 'web'");
    assert!(told.contains("routes of requests come before") && told.contains("10.0.0.1:80"), "{told}");
    let told = explain("");
    assert!(told.contains("what fits none gets 404") && !told.contains("10.0.0.1:80"), "{told}");
}
