//! Where towpath writes must not matter to what it forwards: closed, full and stopped outputs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::File;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use support::lines::Lines;
use support::net::{assert_echo, connect, echo_server, try_connect};
use support::ports::free_address;
use support::towpath::{Guarded, Towpath, binary, command, output};
use support::wait_for;

/// More connections than a pipe holds records of.
const MANY: usize = 1_500;

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

fn arguments<'a>(listen: &'a str, target: &'a str) -> [&'a str; 5] {
    ["tcp", listen, target, "--log-format", "json"]
}

#[test]
fn a_full_disk_under_the_records_is_told_once_and_at_the_end_and_disturbs_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let towpath = Towpath::start_with_stdout(command(arguments(&listen, &target)), full());
    let mut live = connect(&listen);
    for _ in 0..MANY {
        assert_echo(&mut connect(&listen), "x");
    }
    assert_echo(&mut live, "live all along");
    drop(live);
    towpath.signal(Signal::TERM);
    let ended = towpath.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    // Once when it begins, then not again for a minute, and at the end what was lost since.
    let told = ended.stderr.matches("could not be written").count();
    assert!((1..=2).contains(&told), "{}", ended.stderr);
}

#[test]
fn a_reader_of_the_records_that_is_gone_disturbs_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let (reader, writer) = std::io::pipe().unwrap();
    let towpath = Towpath::start_with_stdout(command(arguments(&listen, &target)), writer.into());
    drop(reader);
    for _ in 0..100 {
        assert_echo(&mut connect(&listen), "x");
    }
    towpath.stop(0);
}

#[test]
fn a_reader_of_the_records_that_has_stopped_disturbs_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let towpath = Towpath::start_with_stdout(command(arguments(&listen, &target)), writer.into());
    let mut live = connect(&listen);
    for _ in 0..MANY {
        assert_echo(&mut connect(&listen), "x");
    }
    assert_echo(&mut live, "live all along");
    drop(live);
    // It reads on: nothing was lost, as the records waited.
    let mut lines = Lines::read(reader.try_clone().unwrap());
    lines.wait("every record", |lines| (lines.len() == MANY + 1).then_some(()));
    towpath.stop(0);
    assert_eq!(lines.all().len(), MANY + 1);
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
}

#[test]
fn outputs_that_are_closed_from_the_start_disturb_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let script = format!("exec \"$0\" tcp {listen} {target} >&- 2>&-");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(binary()).stdin(Stdio::null());
    let child = Guarded::spawn(&mut shell);
    wait_for("towpath", || try_connect(&listen).ok());
    for _ in 0..100 {
        assert_echo(&mut connect(&listen), "x");
    }
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));
}

/// Messages that cannot be written are lost; that must not take a worker or the whole program with it.
#[test]
fn a_full_disk_under_the_messages_disturbs_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let mut command = command(["tcp", &listen, &format!("{},{target}", free_address())]);
    command.env("TOWPATH_LOG", "debug").stdout(Stdio::null()).stderr(full());
    let mut child = Guarded::spawn(&mut command);
    wait_for("towpath", || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        try_connect(&listen).ok()
    });
    for _ in 0..100 {
        assert_echo(&mut connect(&listen), "x");
    }
    child.signal(Signal::TERM);
    assert_eq!(child.wait().code(), Some(0));
}

/// Nobody reads the messages any more, and their pipe is full.
#[test]
fn a_stopped_reader_of_the_messages_disturbs_nobody() {
    let (listen, target) = (free_address(), echo_server());
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = command(["tcp", &listen, &format!("{},{target}", free_address())]);
    command.env("TOWPATH_LOG", "debug").stdout(Stdio::null()).stderr(writer);
    let _child = Guarded::spawn(&mut command);
    drop(command);
    wait_for("towpath", || try_connect(&listen).ok());
    for _ in 0..MANY {
        assert_echo(&mut connect(&listen), "x");
    }
    drop(reader);
}

/// What is asked for and cannot be told is a failure, not a crash.
#[test]
fn answers_that_cannot_be_written_end_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fine.toml");
    let text = "[[listener]]\nname = \"a\"\nbind = \":9\"\npool = \"a\"\n[[pool]]\nname = \"a\"\nbackend = \"b:1\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for arguments in
        [&["tcp", ":9", "b:1", "--print-config"][..], &["check", file], &["check", "--schema"], &["--help"]]
    {
        for to_full_disk in [true, false] {
            let redirect = if to_full_disk { "exec \"$@\" > /dev/full" } else { "\"$@\" 2>&3 | exec true" };
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec 3>&2; {redirect}"), "sh"]).arg(binary()).args(arguments);
            let (code, _, stderr) = output(shell);
            assert!(matches!(code, Some(0..=2)), "{arguments:?}: {code:?} {stderr}");
        }
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" check /nonexistent 2> /dev/full"]).arg(binary());
    assert_eq!(output(shell).0, Some(2));
}
