//! Targets with names: their addresses are asked for, tried in turn, and asked for again when they are old.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::HashMap;

use rustix::process::Signal;
use support::net::{End, Server, connect, read_to_end};
use support::ports::{free_address, free_ports};
use support::services::{Dns, dns};
use support::towpath::Towpath;
use support::wait_for;

/// What the server at the other end of `listen` calls itself.
fn told(listen: &str) -> String {
    let (name, end) = read_to_end(&mut connect(listen));
    assert_eq!(end, End::Fin);
    String::from_utf8(name).unwrap()
}

fn start(names: &Dns, target: &str) -> (String, Towpath) {
    let listen = free_address();
    let text = format!(
        "workers = 1\n[dns]\nservers = \"{}\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"{target}\"\n",
        names.service.address()
    );
    (listen, Towpath::file(&text))
}

/// A server on a port of one of the machine's loopback addresses that tells that address.
fn tell_at(address: &str) {
    Server::on(address).tell(address);
}

#[test]
fn a_name_that_moves_is_followed() {
    let port = free_ports(1);
    for host in ["127.0.1.1", "127.0.1.2"] {
        tell_at(&format!("{host}:{port}"));
    }
    let names = dns("127.0.1.1 db.test\n", &[]);
    let (listen, towpath) = start(&names, &format!("db.test:{port}"));
    assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
    names.change("127.0.1.2 db.test\n");
    let mut count = 1;
    wait_for("connection to the new address", || {
        count += 1;
        (told(&listen) == format!("127.0.1.2:{port}")).then_some(())
    });
    let records = towpath.stop(count);
    assert_eq!(records[count - 1].text("address"), format!("127.0.1.2:{port}"));
    assert_eq!(records[count - 1].text("backend"), format!("db.test:{port}"));
    let asked = names.service.program.output().matches("query[A] db.test").count();
    assert!(asked < count, "{asked} queries for {count} connections: answers are kept for their second");
}

#[test]
fn every_address_of_a_name_is_tried() {
    let port = free_ports(1);
    tell_at(&format!("127.0.1.3:{port}"));
    let names = dns("127.0.1.1 db.test\n127.0.1.2 db.test\n127.0.1.3 db.test\n::1 db.test\n", &[]);
    let (listen, towpath) = start(&names, &format!("db.test:{port}"));
    for _ in 0..10 {
        assert_eq!(told(&listen), format!("127.0.1.3:{port}"));
    }
    towpath.stop(10);
}

#[test]
fn a_name_with_a_v6_address_alone_is_reached() {
    let port = free_ports(1);
    tell_at(&format!("[::1]:{port}"));
    let names = dns("::1 db.test\n", &[]);
    let (listen, towpath) = start(&names, &format!("db.test:{port}"));
    assert_eq!(told(&listen), format!("[::1]:{port}"));
    towpath.stop(1);
}

#[test]
fn a_range_of_ports_on_a_name() {
    let (listen, target) = (free_ports(2), free_ports(2));
    for offset in 0..2 {
        tell_at(&format!("127.0.1.1:{}", target + offset));
    }
    let names = dns("127.0.1.1 db.test\n", &[]);
    let text = format!(
        "[dns]\nservers = \"{}\"\n[[listener]]\nname = \"in\"\nbind = \"127.0.0.1:{listen}-{}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"db.test:{target}-{}\"\n",
        names.service.address(),
        listen + 1,
        target + 1
    );
    let towpath = Towpath::file(&text);
    for offset in 0..2 {
        assert_eq!(told(&format!("127.0.0.1:{}", listen + offset)), format!("127.0.1.1:{}", target + offset));
    }
    towpath.stop(2);
}

#[test]
fn a_service_record_names_hosts_and_ports_with_priorities() {
    let port = free_ports(3);
    let [first, second, spare] = [0, 1, 2].map(|offset| port + offset);
    tell_at(&format!("127.0.1.1:{first}"));
    tell_at(&format!("127.0.1.2:{second}"));
    tell_at(&format!("127.0.1.3:{spare}"));
    let hosts = "127.0.1.1 one.test\n127.0.1.2 two.test\n127.0.1.3 spare.test\n";
    let service = |host: &str, port: u16, priority: u16, weight: u16| {
        format!("--srv-host=_db._tcp.test,{host}.test,{port},{priority},{weight}")
    };
    let services =
        [service("one", first, 1, 80), service("two", second, 1, 20), service("spare", spare, 2, 0)];
    let names = dns(hosts, &services.each_ref().map(String::as_str));
    let (listen, towpath) = start(&names, "srv+_db._tcp.test");
    for _ in 0..20 {
        let name = told(&listen);
        assert!(name == format!("127.0.1.1:{first}") || name == format!("127.0.1.2:{second}"), "{name}");
    }
    drop(towpath);

    // Those of priority 1 refuse: the spare one serves.
    let refused = free_ports(2);
    let services =
        [service("one", refused, 1, 1), service("two", refused + 1, 1, 1), service("spare", spare, 2, 0)];
    let names = dns(hosts, &services.each_ref().map(String::as_str));
    let (listen, towpath) = start(&names, "srv+_db._tcp.test");
    for _ in 0..5 {
        assert_eq!(told(&listen), format!("127.0.1.3:{spare}"));
    }
    towpath.stop(5);
}

/// Weights hold for connections, not for answers: while one answer lives, all of its hosts get their share.
#[test]
fn the_weights_of_a_service_record_are_shares_of_connections() {
    let port = free_ports(2);
    tell_at(&format!("127.0.1.1:{port}"));
    tell_at(&format!("127.0.1.2:{}", port + 1));
    let services = [("one", port, 50), ("two", port + 1, 50)]
        .map(|(host, port, weight)| format!("--srv-host=_db._tcp.test,{host}.test,{port},1,{weight}"));
    let names = dns("127.0.1.1 one.test\n127.0.1.2 two.test\n", &services.each_ref().map(String::as_str));
    let (listen, towpath) = start(&names, "srv+_db._tcp.test");
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..100 {
        *counts.entry(told(&listen)).or_default() += 1;
    }
    assert!(counts.len() == 2 && counts.values().all(|count| *count > 20), "{counts:?}");
    towpath.stop(100);
}

#[test]
fn a_name_that_cannot_be_asked_for_at_the_start_is_a_warning() {
    let listen = free_address();
    let nobody = free_address();
    let text = format!(
        "[dns]\nservers = \"{nobody}\"\ntimeout = \"500ms\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\n\
         pool = \"out\"\n[[pool]]\nname = \"out\"\nbackend = [\"db.test:1\", \"{}\"]\n",
        support::net::telling_server("spare")
    );
    let towpath = Towpath::file(&text);
    let warning = towpath.stderr.wait_for("db.test");
    assert!(warning.contains("WARN") && warning.contains("pool out"), "{warning}");
    assert_eq!(told(&listen), "spare");
    assert_eq!(told(&listen), "spare");
    towpath.stop(2);
}

#[test]
fn a_name_may_have_a_thousand_addresses() {
    let port = free_ports(1);
    Server::on(&format!("0.0.0.0:{port}")).tell("here");
    let hosts: String =
        (0..1000).map(|number| format!("127.1.{}.{} db.test\n", number / 250, number % 250 + 1)).collect();
    let names = dns(&hosts, &["--edns-packet-max=4096"]);
    let (listen, towpath) = start(&names, &format!("db.test:{port}"));
    for _ in 0..5 {
        assert_eq!(told(&listen), "here");
    }
    let records = towpath.stop(5);
    let places: std::collections::HashSet<_> = records.iter().map(|record| record.text("address")).collect();
    assert_eq!(places.len(), 5, "each went to another of them");
}

#[test]
fn a_name_that_comes_to_lead_back_is_not_followed() {
    let port = free_ports(1);
    tell_at(&format!("127.0.1.1:{port}"));
    let names = dns("127.0.1.1 db.test\n", &[]);
    let listen = format!("127.0.1.3:{port}");
    let text = format!(
        "workers = 1\n[dns]\nservers = \"{}\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\npool = \"out\"\n\
         [[pool]]\nname = \"out\"\nbackend = \"db.test:{port}\"\n",
        names.service.address()
    );
    let towpath = Towpath::file(&text);
    assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
    names.change("127.0.1.3 db.test\n127.0.1.1 db.test\n");
    let warning =
        format!("pool out: db.test:{port} is 127.0.1.3:{port} now, which leads back to a listener: not used");
    towpath.stderr.wait_for(&warning);
    for _ in 0..5 {
        assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
    }
    towpath.stop(6);
}

#[test]
fn a_reload_while_the_name_servers_are_gone_keeps_what_they_said() {
    let port = free_ports(1);
    tell_at(&format!("127.0.1.1:{port}"));
    let mut names = dns("127.0.1.1 db.test\n", &[]);
    let listen = free_address();
    let text = |queue: u32| {
        format!(
            "[dns]\nservers = \"{}\"\ntimeout = \"1s\"\n[[listener]]\nname = \"in\"\nbind = \"{listen}\"\n\
             pool = \"out\"\n[[pool]]\nname = \"out\"\nbackend = \"db.test:{port}\"\nqueue = {queue}\n",
            names.service.address()
        )
    };
    let (before, after) = (text(1), text(2));
    let towpath = Towpath::file(&before);
    assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
    names.service.program.stop();
    std::fs::write(towpath.folder().join("towpath.toml"), after).unwrap();
    towpath.signal(Signal::HUP);
    towpath.stderr.wait_for("reloaded");
    assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
}

#[test]
fn a_host_of_a_service_that_cannot_be_looked_up_does_not_stop_the_others() {
    let port = free_ports(1);
    tell_at(&format!("127.0.1.1:{port}"));
    let nobody = free_ports(1);
    let services = ["one.test", "x.far"].map(|host| format!("--srv-host=_db._tcp.test,{host},{port},1,1"));
    let far = format!("--server=/far/127.0.0.1#{nobody}");
    let names = dns("127.0.1.1 one.test\n", &[&services[0], &services[1], &far]);
    let (listen, towpath) = start(&names, "srv+_db._tcp.test");
    for _ in 0..3 {
        assert_eq!(told(&listen), format!("127.0.1.1:{port}"));
    }
    towpath.stop(3);
}
