//! Logins in virtual time: what is hashed, what is kept in mind, and who waits.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use towpath_config::Secret;

use super::*;

/// Of "correct horse".
const HASH: &str = "$2b$04$zLoDMRiu78qSsQ4oBJl9r.nMTS/WnZtH2oPdhYPopskSjRMg9Lb9S";

fn ip(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

fn team() -> Arc<Authenticator> {
    let users = Users::parse_file(&format!("alice:{HASH}\nbob:{HASH}\n")).unwrap();
    Arc::new(Authenticator::new(users))
}

fn welcome(name: &str) -> Verdict {
    Verdict::Welcome(name.into())
}

async fn right(users: &Authenticator, client: Option<IpAddr>) -> Verdict {
    users.check(client, b"alice", b"correct horse").await
}

async fn wrong(users: &Authenticator, client: Option<IpAddr>) -> Verdict {
    users.check(client, b"alice", b"battery staple").await
}

/// Verdict of a login, and how long it took in milliseconds.
async fn timed(verdict: impl Future<Output = Verdict>) -> (Verdict, u128) {
    let start = Instant::now();
    (verdict.await, start.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn right_logins_are_kept_in_mind_for_a_while() {
    let users = team();
    for _ in 0..3 {
        assert_eq!(right(&users, ip(1)).await, welcome("alice"));
    }
    assert_eq!(users.line.runs(), 1);
    assert_eq!(users.check(ip(1), b"bob", b"correct horse").await, welcome("bob"));
    assert_eq!(users.line.runs(), 2);
    advance(cache::FRESH - Duration::from_millis(1)).await;
    assert_eq!((right(&users, ip(1)).await, users.line.runs()), (welcome("alice"), 2));
    advance(Duration::from_millis(1)).await;
    assert_eq!((right(&users, ip(1)).await, users.line.runs()), (welcome("alice"), 3));
}

#[tokio::test(start_paused = true)]
async fn wrong_logins_and_unknown_names_are_hashed_each_time() {
    let users = team();
    for (count, name) in (1..).zip([&b"alice"[..], b"alice", b"nobody", b"nobody", b"", b"\xff"]) {
        assert_eq!(users.check(None, name, b"battery staple").await, Verdict::Wrong);
        assert_eq!((users.line.runs(), users.cache.len()), (count, (0, 0)));
    }
    assert_eq!(users.check(None, b"nobody", b"correct horse").await, Verdict::Wrong);
    assert_eq!(users.cache.len(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_users_nobody_may() {
    let users = Authenticator::new(Users::default());
    assert_eq!(users.check(ip(1), b"", b"").await, Verdict::Wrong);
    assert_eq!(right(&users, ip(1)).await, Verdict::Wrong);
}

#[test]
fn no_more_than_so_many_are_kept_in_mind() {
    let cache = Arc::new(Cache::new());
    let now = Instant::now();
    let look_up = |number: usize| Cache::look_up(&cache, b"alice", &number.to_be_bytes(), now);
    for number in 0..cache::KNOWN + 10 {
        let Known::Nothing(finding) = look_up(number) else { panic!("{number}") };
        finding.settle(Some("alice".into()), now);
        assert!(matches!(look_up(0), Known::Right(_)), "it is used all the time");
    }
    assert_eq!(cache.len(), (cache::KNOWN, 0));
    assert!(matches!(look_up(1), Known::Nothing(_)));
    let Known::Nothing(_one) = Cache::look_up(&cache, b"a", b"bc", now) else { panic!() };
    assert!(
        matches!(Cache::look_up(&cache, b"ab", b"c", now), Known::Nothing(_)),
        "where the name ends counts"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_login_is_hashed_once_for_all_who_come_at_once() {
    let users = team();
    let mut logins = JoinSet::new();
    for number in 0..200 {
        let users = users.clone();
        logins.spawn(async move { right(&users, ip(number)).await });
    }
    assert!(logins.join_all().await.iter().all(|verdict| *verdict == welcome("alice")));
    assert_eq!(users.line.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_on_where_the_first_leaves() {
    let users = team();
    let Known::Nothing(finding) = Cache::look_up(&users.cache, b"alice", b"correct horse", Instant::now())
    else {
        panic!()
    };
    let others = users.clone();
    let others = tokio::spawn(async move { right(&others, ip(1)).await });
    tokio::task::yield_now().await;
    assert_eq!(users.line.runs(), 0);
    drop(finding);
    assert_eq!((others.await.unwrap(), users.line.runs()), (welcome("alice"), 1));
}

#[tokio::test(start_paused = true)]
async fn the_line_has_an_end_and_two_at_work() {
    let users = team();
    right(&users, ip(200)).await;
    let mut places: Vec<line::Place> =
        (0..line::ALL as u8).map(|number| Line::join(&users.line, ip(number)).unwrap()).collect();
    assert_eq!(wrong(&users, ip(200)).await, Verdict::Busy);
    assert_eq!(right(&users, ip(200)).await, welcome("alice"), "what is in mind needs no place");
    let turns = [places.pop().unwrap().turn().await, places.pop().unwrap().turn().await];
    let third = places.pop().unwrap().turn();
    tokio::select! {
        biased;
        _ = third => panic!("two are at work"),
        () = std::future::ready(()) => {}
    }
    drop(turns);
    assert_eq!(wrong(&users, ip(200)).await, Verdict::Wrong, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn only_a_guesser_waits() {
    let users = team();
    for time in [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000] {
        assert_eq!(timed(wrong(&users, ip(1))).await, (Verdict::Wrong, time));
        assert_eq!(timed(right(&users, ip(2))).await, (welcome("alice"), 0));
    }
    assert_eq!(timed(right(&users, ip(1))).await, (welcome("alice"), 8000), "what is in mind waits, too");
    assert_eq!(timed(right(&users, ip(1))).await, (welcome("alice"), 0));
    for _ in 0..10 {
        assert_eq!(timed(wrong(&users, None)).await, (Verdict::Wrong, 0), "a unix socket has no address");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_of_one_network_are_one_guesser_who_is_forgotten_in_time() {
    let users = team();
    let ip = |text: &str| Some(text.parse().unwrap());
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        assert_eq!(timed(wrong(&users, ip(address))).await, (Verdict::Wrong, 0));
    }
    assert_eq!(timed(wrong(&users, ip("2001:db8::4"))).await, (Verdict::Wrong, 250));
    assert_eq!(timed(wrong(&users, ip("2001:db8:0:1::4"))).await, (Verdict::Wrong, 0));
    advance(Duration::from_secs(15 * 60)).await;
    assert_eq!(timed(wrong(&users, ip("2001:db8::4"))).await, (Verdict::Wrong, 0));
}

#[tokio::test(start_paused = true)]
async fn more_than_four_do_not_wait() {
    let users = team();
    for _ in 0..3 {
        wrong(&users, ip(1)).await;
    }
    let mut logins = JoinSet::new();
    for _ in 0..10 {
        let users = users.clone();
        logins.spawn(async move { timed(wrong(&users, ip(1))).await });
    }
    let verdicts = logins.join_all().await;
    let count = |verdict| verdicts.iter().filter(|other| **other == verdict).count();
    assert_eq!((count((Verdict::Wrong, 250)), count((Verdict::Busy, 0))), (4, 6));
}

#[tokio::test(start_paused = true)]
async fn a_guesser_who_leaves_has_guessed_all_the_same() {
    let users = team();
    for _ in 0..3 {
        leave(wrong(&users, ip(1))).await;
        // The same login from elsewhere does not end before the one that was left.
        wrong(&users, None).await;
    }
    assert_eq!(timed(wrong(&users, ip(1))).await, (Verdict::Wrong, 250));
    let before = users.line.runs();
    leave(right(&users, ip(1))).await;
    advance(Duration::from_secs(60)).await;
    assert_eq!(
        (users.line.runs(), users.cache.len()),
        (before, (0, 0)),
        "who leaves while waiting is not heard"
    );
    assert_eq!(timed(right(&users, ip(1))).await, (welcome("alice"), 500));
}

/// Begins a login, and goes away.
async fn leave(login: impl Future<Output = Verdict>) {
    tokio::select! {
        biased;
        _ = login => {}
        () = std::future::ready(()) => {}
    }
}

#[test]
fn the_users_of_a_proxy_are_those_of_its_file_and_its_own() {
    let file = |text: &str| Some((PathBuf::from("/etc/users"), Secret::new(text)));
    let login = |name: &str| Login { name: name.to_owned(), password: Secret::new("s3cret") };
    let read = |file: Option<_>, logins: &[Login]| read_users(logins, file.as_ref());
    let users = read(file(&format!("alice:{HASH}\n")), &[login("bob"), login("carol")]).unwrap();
    assert_eq!(format!("{users:?}"), "Users(3)");
    let faults = read(file(&format!("#\nalice:{HASH}\n")), &[login("alice"), login("")]).unwrap_err();
    assert_eq!(faults, ["`alice` is there twice; leave one out", "a name is empty; give one"]);
    let faults = read(file("#\nalice:s3cret\n"), &[login("bob"), login("bob")]).unwrap_err();
    assert!(faults[0].starts_with("/etc/users: line 2: `alice` has a password as it is"), "{faults:?}");
    assert_eq!(faults.len(), 2);
    assert!(!faults.concat().contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_logins_but_no_guesser() {
    let users = team();
    right(&users, ip(2)).await;
    for _ in 0..3 {
        wrong(&users, ip(1)).await;
    }
    let bob = Users::parse_file(&format!("bob:{HASH}\n")).unwrap();
    let users = users.renewed(&Authenticator::new(bob));
    assert_eq!(right(&users, ip(2)).await, Verdict::Wrong);
    assert_eq!(timed(wrong(&users, ip(1))).await, (Verdict::Wrong, 250));
    assert_eq!(users.check(ip(2), b"bob", b"correct horse").await, welcome("bob"));
}

#[test]
fn nothing_tells_a_secret() {
    let users = team();
    let shown = format!("{users:?}");
    assert_eq!(
        shown,
        "Authenticator { users: Users(2), cache: Cache(0), back_off: BackOff(0), line: Line(0 of 0) }"
    );
}
