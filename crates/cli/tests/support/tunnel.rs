//! Both ends of a tunnel, over a way that a test can cut.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::data::Data;
use super::middle::Middle;
use super::net::{End, end_writes, read_exactly, read_to_end};
use super::ports::free_address;
use super::towpath::{Towpath, command, output};
use super::wait_for;

/// Both ends of a tunnel over a way that can be cut, and where the near one listens.
pub(crate) struct Tunnel {
    pub(crate) near: Towpath,
    pub(crate) far: Towpath,
    pub(crate) middle: Middle,
    pub(crate) listen: String,
    _folder: tempfile::TempDir,
}

impl Tunnel {
    /// To `target`, with these words in the URL; `flags` are of the far end.
    pub(crate) fn to(target: &str, words: &str, flags: &[&str]) -> Self {
        Self::with("tcp", &[target], words, flags)
    }

    /// The same for another command than `tcp`.
    pub(crate) fn with(verb: &str, targets: &[&str], words: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = new_key(&folder, "key");
        let far_listen = free_address();
        let is_plain = words.contains("plain");
        let of_key = if is_plain { vec!["--plain"] } else { vec!["--key-file", &key] };
        let far = far(&far_listen, &of_key.iter().chain(flags).copied().collect::<Vec<_>>());
        let middle = Middle::to(&far_listen);
        let of_key = if is_plain { String::new() } else { format!("key-file={key}&") };
        let url = format!("towpath://{}?{of_key}{words}", middle.address);
        let listen = free_address();
        let mut near = command([verb, listen.as_str()]);
        if verb == "proxy" {
            near.args(["--allow-dest", "127.0.0.0/8"]);
        }
        near.args(targets).args(["--via", &url, "--log-format", "json"]);
        Self { near: Towpath::start(near), far, middle, listen, _folder: folder }
    }
}

/// A new key, by its path.
pub(crate) fn new_key(folder: &tempfile::TempDir, name: &str) -> String {
    let path = folder.path().join(name).display().to_string();
    assert_eq!(output(command(["tunnel", "--new-key", &path])), (Some(0), String::new(), String::new()));
    path
}

/// The far end of tunnels to 127.0.0.0/8.
pub(crate) fn far(listen: &str, flags: &[&str]) -> Towpath {
    let words = ["tunnel", listen, "--allow-dest", "127.0.0.0/8", "--log-format", "json"];
    Towpath::start(command(words.iter().chain(flags)))
}

/// Sends megabytes to an echo server and expects them back, while they go.
pub(crate) fn exchange(mut client: TcpStream, count: usize, start: u64) {
    let mut writer = client.try_clone().unwrap();
    let writes = thread::spawn(move || {
        writer.write_all(&Data::new(start).take(count)).unwrap();
        end_writes(&writer);
    });
    let mut data = Data::new(start);
    while data.count() < count as u64 {
        data.check(&read_exactly(&mut client, 50_000.min(count - data.count() as usize)));
    }
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Fin));
    writes.join().unwrap();
}

/// Writes until nothing more is taken.
pub(crate) fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let block = vec![7; 1 << 20];
    let mut taken = Instant::now();
    wait_for("a stream that is full", || match stream.write(&block) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            (taken.elapsed() > Duration::from_secs(1)).then_some(())
        }
        _ => {
            taken = Instant::now();
            None
        }
    });
}
