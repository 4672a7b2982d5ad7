//! Real namespaces, real packets.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::*;

const RTT: Duration = Duration::from_millis(40);

fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// A socket of `namespace`. A thread that was there makes it, and ends.
fn socket(namespace: &str, address: Ipv4Addr) -> UdpSocket {
    let file = File::open(path(namespace)).unwrap();
    let make = move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        UdpSocket::bind((address, 0)).unwrap()
    };
    let socket = thread::spawn(make).join().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Sends a datagram there and back, and says how long it took.
fn round_trip(near: &UdpSocket, far: &UdpSocket) -> Duration {
    let start = Instant::now();
    near.send_to(b"there", far.local_addr().unwrap()).unwrap();
    let (_, from) = far.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from, near.local_addr().unwrap());
    far.send_to(b"back", from).unwrap();
    near.recv_from(&mut [0; 16]).unwrap();
    start.elapsed()
}

#[test]
fn packets_cross_the_link_of_their_source_address_unless_it_is_cut() {
    assert!(geteuid().is_root(), "this test makes network namespaces, so it needs rights: run it as root");
    let settings = Settings {
        rate: "100mbit".parse().unwrap(),
        rtt: RTT,
        loss: Share(0.0),
        queue: Queue::Products(1.0),
        police: None,
    };
    let (events, _inbox) = mpsc::channel();
    let wan = Wan::start(&[settings, settings], 1, &events).unwrap();
    let (near_name, far_name) = (wan.namespaces.near.clone(), wan.namespaces.far.clone());
    let near = [0, 1].map(|link| socket(&near_name, namespace::addresses(link)[0]));
    let far = socket(&far_name, namespace::addresses(0)[1]);
    for near in &near {
        let took = round_trip(near, &far);
        assert!(took + Duration::from_millis(1) > RTT, "{took:?}");
    }
    assert_eq!(wan.answer("cut 0"), json!({"done": "cut 0"}));
    near[0].send_to(b"lost", far.local_addr().unwrap()).unwrap();
    // Nothing else arrives at the far socket.
    round_trip(&near[1], &far);
    assert_eq!(wan.answer("heal 0"), json!({"done": "heal 0"}));
    round_trip(&near[0], &far);
    assert_eq!(wan.answer("cut 2"), json!({"error": "there is no link 2"}));
    let links = wan.finish().unwrap().links;
    for (link, cut) in links.iter().zip([1, 0]) {
        assert_eq!((link.there.counters.packets, link.there.counters.cut), (2, cut));
        assert_eq!((link.back.counters.packets, link.back.counters.cut), (2, 0));
    }
    assert!(!path(&near_name).exists() && !path(&far_name).exists());
}

#[test]
fn the_status_of_a_command_is_that_of_a_shell() {
    let code = |raw| format!("{:?}", exit_code(ExitStatus::from_raw(raw)));
    assert_eq!(code(7 << 8), format!("{:?}", ExitCode::from(7)));
    assert_eq!(code(9), format!("{:?}", ExitCode::from(137)));
}
