//! Tunnels over several links: hosts, and local addresses.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use support::middle::Middle;
use support::net::{assert_echo, connect, echo_server};
use support::odd;
use support::ports::free_address;
use support::proc::cpu_seconds_of;
use support::towpath::Towpath;
use support::tunnel::{exchange, far};
use support::wait_for;

/// A near end to these hosts, and where it listens.
fn near(hosts: &[&str], words: &str) -> (Towpath, String) {
    let listen = free_address();
    let url = format!("towpath://{}?plain&{words}", hosts.join(","));
    (Towpath::tcp(&listen, &echo_server(), &["--via", &url]), listen)
}

#[test]
fn lanes_are_spread_over_hosts_and_come_back_to_one_that_was_away() {
    let address = free_address();
    let _far = far(&address, &["--plain"]);
    let (first, second) = (Middle::to(&address), Middle::to(&address));
    let (_near, listen) = near(&[&first.address, &second.address], "lanes=4");
    let mut client = connect(&listen);
    assert_echo(&mut client, "before");
    let spread = |first_count: usize, second_count: usize| {
        wait_for(&format!("{first_count} and {second_count} lanes"), || {
            (first.open().len() == first_count && second.open().len() == second_count).then_some(())
        });
    };
    spread(2, 2);
    first.cut();
    spread(0, 4);
    assert_echo(&mut client, "over one");
    first.heal();
    spread(2, 2);
    assert_echo(&mut client, "over both");
    // What comes and goes meanwhile loses nothing.
    exchange(connect(&listen), 2_000_000, 7);
}

#[test]
fn lanes_are_spread_over_local_addresses() {
    let address = free_address();
    let _far = far(&address, &["--plain"]);
    let middle = Middle::to(&address);
    let (_near, listen) = near(&[&middle.address], "lanes=4&bind=127.0.0.2,127.0.0.3");
    assert_echo(&mut connect(&listen), "through");
    let expected = ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"];
    let expected = expected.map(|ip| ip.parse::<IpAddr>().unwrap());
    wait_for("two lanes of each", || (middle.open() == expected).then_some(()));
}

#[test]
fn a_host_that_says_nothing_holds_the_first_client_up_for_a_moment_alone() {
    let address = free_address();
    let _far = far(&address, &["--plain"]);
    let (hole, _full) = odd::silent();
    let hole = hole.local_addr().unwrap().as_socket().unwrap().to_string();
    let (_near, listen) = near(&[&hole, &address], "lanes=2");
    let begun = Instant::now();
    assert_echo(&mut connect(&listen), "through");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_local_address_that_this_machine_has_not_is_passed_over() {
    let address = free_address();
    let _far = far(&address, &["--plain"]);
    let (_near, listen) = near(&[&address], "lanes=2&bind=192.0.2.1,127.0.0.1");
    for _ in 0..3 {
        assert_echo(&mut connect(&listen), "through");
    }
}

#[test]
fn lanes_are_carried_by_workers_whoever_was_the_first_to_ask() {
    let (address, listen) = (free_address(), free_address());
    let _far = far(&address, &["--plain"]);
    let near = Towpath::file(&format!(
        "workers = 1\n[[listener]]\nname = \"a\"\nbind = \"{listen}\"\npool = \"b\"\n\
         [[pool]]\nname = \"b\"\nbackend = \"{}\"\nvia = \"towpath://{address}?plain&lanes=2\"\n\
         check = {{ kind = \"tcp\", interval = \"1s\" }}\n",
        echo_server()
    ));
    let spent = || ["worker-0", "keeper"].map(|name| cpu_seconds_of(near.pid(), |thread| thread == name));
    // Random numbers cost each thread some 30 ms once: the keeper's for its first check, maybe while we measure.
    assert_echo(&mut connect(&listen), "warm");
    let before = spent();
    exchange(connect(&listen), 120_000_000, 3);
    let after = spent();
    let [worker, keeper] = [0, 1].map(|place| after[place] - before[place]);
    assert!(worker > 2.0 * keeper, "{worker} and {keeper}");
}

#[test]
fn lanes_come_back_where_the_far_end_takes_no_more_of_them() {
    let address = free_address();
    let _far = Towpath::file(&format!(
        "[[listener]]\nname = \"a\"\nbind = \"{address}\"\nmode = \"tunnel\"\npool = \"b\"\n\
         allow_dest = [\"127.0.0.0/8\"]\ntunnel = {{ plain = true, lanes = 4 }}\n[[pool]]\nname = \"b\"\n"
    ));
    let (first, second) = (Middle::to(&address), Middle::to(&address));
    let (_near, listen) = near(&[&first.address, &second.address], "lanes=4");
    assert_echo(&mut connect(&listen), "before");
    let spread = |counts: (usize, usize)| {
        wait_for("lanes", || ((first.open().len(), second.open().len()) == counts).then_some(()));
    };
    spread((2, 2));
    first.cut();
    spread((0, 4));
    first.heal();
    spread((2, 2));
}
