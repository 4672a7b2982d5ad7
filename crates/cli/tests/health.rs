//! Checks of real servers, and what becomes of clients when those change.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::net::{End, Server, connect, pair, read_to_end, telling_server};
use support::peers::{program, run};
use support::ports::{free_address, free_port};
use support::services::{nginx, postgres, postgres_standby, promote, redis};
use support::towpath::Towpath;
use support::wait_for;

fn config(listen: &str, backends: &[String], more: &str) -> String {
    let backends: Vec<_> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "allow_commands = true\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = [{}]\n{more}\n",
        backends.join(", ")
    )
}

fn psql(port: u16, query: &str) -> Command {
    let mut psql = program("psql");
    psql.args(["-h", "127.0.0.1", "-U", "postgres", "-Atq", "-c", query]).env("PGCONNECT_TIMEOUT", "10");
    psql.args(["-p", &port.to_string()]);
    psql
}

#[test]
fn clients_follow_the_primary_of_postgres() {
    let mut primary = postgres();
    let standby = postgres_standby(&primary);
    let (port, interval) = (free_port(), Duration::from_millis(500));
    let check = "check = { kind = \"postgres\", role = \"primary\", interval = \"500ms\", down_interval = \"500ms\", \
                 timeout = \"1s\", rise = 1, fall = 1 }\nhold = \"10s\"";
    let backends = [standby.address(), primary.address()];
    let towpath = Towpath::file(&config(&format!("127.0.0.1:{port}"), &backends, check));
    towpath.stderr.wait_for("in recovery");
    let ask = || run(psql(port, "SELECT inet_server_port()"), Duration::from_secs(20));
    for _ in 0..5 {
        assert_eq!(ask().stdout.trim(), primary.port.to_string());
    }
    primary.program.stop();
    promote(&standby);
    let promoted = Instant::now();
    assert_eq!(ask().stdout.trim(), standby.port.to_string());
    towpath.stderr.wait_for(&format!("{} is up", standby.address()));
    // And room for a machine that is busy with other tests.
    assert!(promoted.elapsed() < 2 * interval + Duration::from_secs(1), "{:?}", promoted.elapsed());
    for _ in 0..5 {
        assert_eq!(ask().stdout.trim(), standby.port.to_string());
    }
}

#[test]
fn real_servers_pass_their_checks_and_others_do_not() {
    let (redis, nginx, postgres) = (redis(), nginx(), postgres());
    std::fs::write(nginx.folder.path().join("root/health"), "all is well").unwrap();
    for (kind, good, bad) in [
        ("{ kind = \"redis\", role = \"master\" }", &redis, &nginx),
        ("{ kind = \"http\", path = \"/health\", status = 200, body = \"is well\" }", &nginx, &redis),
        ("{ kind = \"postgres\", role = \"primary\" }", &postgres, &redis),
        ("{ kind = \"exchange\", send = 'PING\\r\\n', expect = \"+PONG\" }", &redis, &nginx),
        (
            "{ kind = \"command\", command = [\"sh\", \"-c\", \"test $TOWPATH_PORT = PORT\"] }",
            &postgres,
            &redis,
        ),
    ] {
        let kind = kind
            .replace("PORT }", &format!("{} }}", good.port))
            .replace("= PORT", &format!("= {}", good.port));
        let listen = free_address();
        let towpath =
            Towpath::file(&config(&listen, &[bad.address(), good.address()], &format!("check = {kind}")));
        towpath.stderr.wait_for(&format!("backend {} is down", bad.address()));
        let lines = towpath.stderr.so_far();
        assert!(
            !lines.iter().any(|line| line.contains(&format!("{} is down", good.address()))),
            "{lines:#?}"
        );
    }
}

#[test]
fn connections_of_a_backend_that_goes_down_can_be_reset() {
    let (listen, server) = (free_address(), Server::start());
    let alive = tempfile::NamedTempFile::new().unwrap();
    let path = alive.path().display().to_string();
    let check = format!(
        "on_down = \"reset\"\ncheck = {{ kind = \"command\", command = [\"test\", \"-e\", \"{path}\"], \
         interval = \"100ms\", fall = 1 }}"
    );
    let towpath = Towpath::file(&config(&listen, &[server.address()], &check));
    let (mut client, _served) = pair(&listen, &server);
    drop(alive);
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    assert_eq!(towpath.records(1)[0].end(), "relay: backend down");
}

#[test]
fn backups_are_used_only_while_the_others_are_down() {
    let (listen, first, backup) = (free_address(), free_address(), telling_server("backup"));
    let text = format!(
        "[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n[[pool]]\nname = \"out\"\n\
         check = {{ kind = \"tcp\", interval = \"100ms\", down_interval = \"100ms\", rise = 1 }}\n\
         backend = [\"{first}\", {{ address = \"{backup}\", backup = true }}]\n"
    );
    let towpath = Towpath::file(&text);
    towpath.stderr.wait_for("is down: ");
    let told = || String::from_utf8(read_to_end(&mut connect(&listen)).0).unwrap();
    assert_eq!(told(), "backup");
    Server::on(&first).tell("first");
    wait_for("the first one", || (told() == "first").then_some(()));
    assert_eq!(told(), "first");
}
