//! What a reload of the far end means for streams that come over lanes that are there already.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;

use rustix::process::Signal;
use support::middle::Middle;
use support::net::{End, Server, connect, read_exactly, read_to_end, telling_server};
use support::ports::free_address;
use support::towpath::Towpath;
use support::tunnel::new_key;
use support::wait_for;

/// A far end of one listener with these keys.
fn file(listen: &str, keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"far\"\nbind = \"{listen}\"\nmode = \"tunnel\"\npool = \"out\"\n{keys}\n\
         [[pool]]\nname = \"out\"\n"
    )
}

fn reload(far: &Towpath, text: &str) {
    fs::write(far.folder().join("towpath.toml"), text).unwrap();
    far.signal(Signal::HUP);
    far.stderr.wait_for("reloaded: ");
}

#[test]
fn streams_go_where_the_file_allows_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (new_key(&folder, "key"), new_key(&folder, "other"));
    let open = |key: &str| format!("allow_dest = [\"127.0.0.0/8\"]\ntunnel = {{ key_file = \"{key}\" }}\n");
    let denying = format!("deny_dest = [\"127.0.0.1\"]\n{}", open(&key));
    let elsewhere = file(&free_address(), &open(&key)).replace("\"far\"", "\"elsewhere\"");
    for (what, after) in [("denied", Some(denying)), ("another key", Some(open(&other))), ("gone", None)] {
        let (far_listen, listen, server) = (free_address(), free_address(), Server::start());
        let far = Towpath::file(&file(&far_listen, &open(&key)));
        let url = format!("towpath://{far_listen}?key-file={key}&lanes=2");
        let _near = Towpath::tcp(&listen, &server.address(), &["--via", &url, "--hold", "200ms"]);
        let mut client = connect(&listen);
        let mut served = server.accept();
        served.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&mut client, 5), b"hello");
        reload(&far, &after.map_or(elsewhere.clone(), |keys| file(&far_listen, &keys)));
        for _ in 0..3 {
            assert_eq!(read_to_end(&mut connect(&listen)), (Vec::new(), End::Reset), "{what}");
        }
        // Who was in goes on.
        served.write_all(b"still").unwrap();
        assert_eq!(read_exactly(&mut client, 5), b"still", "{what}");
    }
}

#[test]
fn sessions_that_may_have_no_more_streams_end_with_their_last() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["key", "other"].map(|name| {
        let key = new_key(&folder, name);
        let file = format!("allow_dest = [\"127.0.0.0/8\"]\ntunnel = {{ key_file = \"{key}\" }}\n");
        (key, file)
    });
    let [(key, ours), (_, other)] = keys;
    let (far_listen, listen, server) = (free_address(), free_address(), telling_server("here"));
    let far = Towpath::file(&file(&far_listen, &ours));
    let middle = Middle::to(&far_listen);
    let url = format!("towpath://{}?key-file={key}&lanes=2", middle.address);
    let _near = Towpath::tcp(&listen, &server, &["--via", &url, "--hold", "5s"]);
    for _ in 0..3 {
        assert_eq!(read_to_end(&mut connect(&listen)), (b"here".to_vec(), End::Fin));
        reload(&far, &file(&far_listen, &other));
        reload(&far, &file(&far_listen, &ours));
    }
    assert_eq!(read_to_end(&mut connect(&listen)), (b"here".to_vec(), End::Fin));
    wait_for("two lanes", || (middle.open().len() == 2).then_some(()));
}

#[test]
fn streams_take_the_way_that_the_file_says_by_now() {
    let (far_listen, listen) = (free_address(), free_address());
    let [first, second] = ["first", "second"].map(telling_server);
    let text = |deny: &str| {
        file(&far_listen, &format!("allow_dest = [\"127.0.0.0/8\"]\n{deny}tunnel = {{ plain = true }}\n"))
    };
    let far = Towpath::file(&text(""));
    let url = format!("towpath://{far_listen}?plain&lanes=1");
    let _near = Towpath::tcp(&listen, &format!("{first},{second}"), &["--via", &url]);
    let told = || {
        let answers = [(); 4].map(|()| {
            let (answer, _) = read_to_end(&mut connect(&listen));
            String::from_utf8(answer).unwrap()
        });
        answers.concat()
    };
    assert!(told().contains("first"));
    let port = first.rsplit_once(':').unwrap().1;
    reload(&far, &text(&format!("deny_dest = [\"127.0.0.1:{port}\"]\n")));
    let told = told();
    assert!(!told.contains("first") && told.contains("second"), "{told}");
}
