//! What may be changed in the URL of a tunnel.

use std::fmt;
use std::fs;

use clap::ValueEnum;

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// How many connections carry the streams
    Lanes,
    /// Whether blocks of what goes up are compressed, and how
    Compress,
    /// The congestion control of what goes up
    Congestion,
    /// The largest segments
    Mss,
    /// The largest writes of what goes up
    WriteSize,
    /// The buffers of the sockets
    Buffers,
    /// How much of what comes down may wait at this end
    Window,
}

/// Keys of the tunnel itself; others are those of sockets.
const OF_TUNNEL: [&str; 3] = ["lanes", "compress", "window"];

/// One word of the URL, and what it is to be; or none, and no tunnel at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// `None` for the way without the tunnel.
    pub(super) group: Option<Group>,
    words: Vec<(String, String)>,
}

impl Change {
    fn new(group: Group, key: &str, value: &str) -> Self {
        Self { group: Some(group), words: vec![(key.to_owned(), value.to_owned())] }
    }

    fn direct() -> Self {
        Self { group: None, words: Vec::new() }
    }

    /// All of these at once.
    pub(super) fn together(changes: &[Change]) -> Self {
        let words = changes.iter().flat_map(|change| change.words.clone()).collect();
        Self { group: changes.first().and_then(|change| change.group), words }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.words.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_direct() {
            return to.write_str("no tunnel");
        }
        let words: Vec<_> = self.words.iter().map(|(key, value)| format!("{key}={value}")).collect();
        to.write_str(&words.join(" "))
    }
}

/// The hops to the far end, the last of which is the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Via {
    hops: Vec<Url>,
}

/// The URL of a hop, by its words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    /// Up to the `?`.
    place: String,
    /// With an empty value where it has none.
    words: Vec<(String, String)>,
}

impl Via {
    /// The hops that `via` names, which end with a tunnel.
    pub(super) fn to_tunnel(via: &[String]) -> Result<Self, String> {
        let last = via.last().map_or("", String::as_str);
        if !last.starts_with("towpath://") {
            return Err(
                "the last --via is no tunnel: `towpath tune` needs one like towpath://HOST:PORT?key-file=FILE"
                    .to_owned(),
            );
        }
        Ok(Self { hops: via.iter().map(|hop| Url::parse(hop)).collect() })
    }

    /// As they are written.
    pub(super) fn hops(&self) -> Vec<String> {
        self.hops.iter().map(ToString::to_string).collect()
    }

    /// The same with a change.
    pub(super) fn with(&self, change: &Change) -> Self {
        let mut changed = self.clone();
        for (key, value) in &change.words {
            let place = changed.place(key);
            if let Some(hop) = changed.hops.get_mut(place) {
                hop.words.retain(|(other, _)| other != key);
                hop.words.push((key.clone(), value.clone()));
            }
        }
        changed
    }

    /// Whether its sessions find out how many lanes they need, while they carry something.
    pub(super) fn finds_lanes(&self) -> bool {
        self.value("lanes").is_none_or(|lanes| lanes == "auto")
    }

    /// Which hop a word belongs to: the first one has the sockets that carry all.
    fn place(&self, key: &str) -> usize {
        if OF_TUNNEL.contains(&key) { self.hops.len().saturating_sub(1) } else { 0 }
    }

    fn value(&self, key: &str) -> Option<&str> {
        let hop = self.hops.get(self.place(key))?;
        hop.words.iter().rfind(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    /// Whether there is a URL that could say this.
    fn takes(&self, key: &str) -> bool {
        let hop = self.hops.get(self.place(key));
        hop.is_some_and(|hop| hop.place.contains("://") && !hop.place.starts_with("pool+"))
    }
}

impl Url {
    fn parse(text: &str) -> Self {
        let (place, words) = text.split_once('?').unwrap_or((text, ""));
        let word = |word: &str| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key.to_owned(), value.to_owned())
        };
        let words = words.split('&').filter(|word| !word.is_empty()).map(word).collect();
        Self { place: place.to_owned(), words }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.place)?;
        for (place, (key, value)) in self.words.iter().enumerate() {
            let (mark, equals) =
                (if place == 0 { '?' } else { '&' }, if value.is_empty() { "" } else { "=" });
            write!(to, "{mark}{key}{equals}{value}")?;
        }
        Ok(())
    }
}

/// What is tried, and what is not.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) changes: Vec<Change>,
    /// Why something is not tried, each a sentence.
    pub(super) notes: Vec<String>,
}

/// A key of the URL that may be of use.
struct Key {
    group: Group,
    name: &'static str,
    /// What it is where nothing is said, if that is known.
    usual: Option<String>,
    values: Vec<String>,
    /// Whether it is of use for what goes up, and for what comes down.
    is_for: (bool, bool),
}

/// All keys. Whoever sends decides how: the far end for what comes down.
fn keys() -> [Key; 8] {
    let key = |group, name, usual: &str, values: &[&str], is_for| Key {
        group,
        name,
        usual: (!usual.is_empty()).then(|| usual.to_owned()),
        values: values.iter().map(ToString::to_string).collect(),
        is_for,
    };
    let (up, down, both) = ((true, false), (false, true), (true, true));
    let (controls, control) = congestion_controls();
    let controls: Vec<_> = controls.split_whitespace().collect();
    [
        key(Group::Lanes, "lanes", "auto", &["1", "2", "4", "8", "16", "auto"], both),
        key(Group::Compress, "compress", "auto", &["off", "auto", "lz4", "zstd"], up),
        key(Group::Mss, "mss", "", &["1200", "536"], both),
        key(Group::Congestion, "congestion", &control, &controls, up),
        key(Group::WriteSize, "write_size", "", &["1400"], up),
        key(Group::Buffers, "send_buffer", "", &["1MiB", "8MiB"], up),
        key(Group::Buffers, "receive_buffer", "", &["1MiB", "8MiB"], down),
        key(Group::Window, "window", "64MiB", &["128MiB"], down),
    ]
}

/// All that is worth a try of the groups that are wanted, all of them where none is named; what this end does not decide is left out.
///
/// # Errors
/// When nothing is left.
pub(super) fn all(
    via: &Via,
    only: &[Group],
    is_upload: bool,
    with_direct: bool,
) -> Result<Candidates, String> {
    let mut found = Candidates::default();
    let (mut of_others, mut of_nobody) = (Vec::new(), Vec::new());
    for key in keys().into_iter().filter(|key| only.is_empty() || only.contains(&key.group)) {
        let Key { group, name, usual, values, is_for: (up, down) } = key;
        if !(if is_upload { up } else { down }) {
            of_others.push(name);
        } else if !via.takes(name) {
            of_nobody.push(name);
        } else {
            let now = via.value(name).or(usual.as_deref());
            let others = values.iter().filter(|value| now != Some(value.as_str()));
            found.changes.extend(others.map(|value| Change::new(group, name, value)));
        }
    }
    // Of a group that is both, the other half goes without saying.
    of_others.retain(|name| only.is_empty() || !name.ends_with("_buffer"));
    if !of_others.is_empty() {
        let names = of_others.join(", ");
        found.notes.push(match is_upload {
            true => format!("Not tried: {names}, which is for what comes down, without --upload."),
            false => format!(
                "Not tried: {names}. For what comes down the far end decides; --upload tries what goes up."
            ),
        });
    }
    if !of_nobody.is_empty() {
        let names = of_nobody.join(", ");
        found.notes.push(format!(
            "Not tried: {names}. They are said in the URL of the first hop, and it has none of its own."
        ));
    }
    if found.changes.is_empty() {
        return Err(format!("there is nothing to try. {}", found.notes.join(" ")));
    }
    if with_direct && only.is_empty() {
        found.changes.push(Change::direct());
    }
    Ok(found)
}

/// Those that the kernel has, and the one that lanes take of themselves.
fn congestion_controls() -> (String, String) {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let all = read("tcp_available_congestion_control");
    match all.split_whitespace().any(|name| name == "bbr") {
        true => (all, "bbr".to_owned()),
        false => (all, read("tcp_congestion_control").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(text: &str) -> Via {
        Via::to_tunnel(&["http://proxy:3128".to_owned(), text.to_owned()]).unwrap()
    }

    fn names(via: &Via, only: &[Group], is_upload: bool) -> Vec<String> {
        all(via, only, is_upload, true).unwrap().changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_url_is_what_it_was_but_for_the_change() {
        let text = "towpath://a.example:7000,b.example:7000?key-file=a key&plain&lanes=4";
        assert_eq!(via(text).hops(), ["http://proxy:3128", text]);
        let changed = via(text).with(&Change::new(Group::Lanes, "lanes", "8"));
        assert!(via("towpath://a:7000").finds_lanes() && !changed.finds_lanes());
        assert_eq!(changed.hops()[1], "towpath://a.example:7000,b.example:7000?key-file=a key&plain&lanes=8");
    }

    #[test]
    fn options_of_sockets_are_those_of_the_first_hop() {
        let change = Change::new(Group::Mss, "mss", "536");
        let two = via("towpath://a.example:7000").with(&change);
        assert_eq!(two.hops(), ["http://proxy:3128?mss=536", "towpath://a.example:7000"]);
        let one = Via::to_tunnel(&["towpath://a.example:7000".to_owned()]).unwrap();
        assert_eq!(one.with(&change).hops(), ["towpath://a.example:7000?mss=536"]);
        for first in ["env", "pool+http://proxies"] {
            let via = Via::to_tunnel(&[first.to_owned(), "towpath://a:7000".to_owned()]).unwrap();
            let found = all(&via, &[Group::Lanes, Group::Mss], false, false).unwrap();
            assert!(
                found.changes.iter().all(|change| change.group == Some(Group::Lanes)),
                "{first}: {found:?}"
            );
            assert!(found.notes[0].contains("mss"), "{found:?}");
        }
    }

    #[test]
    fn a_way_without_a_tunnel_is_refused() {
        let error =
            Via::to_tunnel(&["towpath://a:1".to_owned(), "http://proxy:3128".to_owned()]).unwrap_err();
        assert!(error.contains("towpath://HOST:PORT"), "{error}");
    }

    #[test]
    fn what_is_so_already_is_not_tried() {
        let plain = via("towpath://a.example:7000");
        assert_eq!(
            names(&plain, &[Group::Lanes], false),
            ["lanes=1", "lanes=2", "lanes=4", "lanes=8", "lanes=16"]
        );
        let eight = via("towpath://a.example:7000?lanes=8");
        assert_eq!(
            names(&eight, &[Group::Lanes], false),
            ["lanes=1", "lanes=2", "lanes=4", "lanes=16", "lanes=auto"]
        );
    }

    #[test]
    fn what_this_end_does_not_decide_is_told_and_not_tried() {
        let plain = via("towpath://a.example:7000");
        let down = names(&plain, &[], false);
        assert!(down.contains(&"no tunnel".to_owned()) && down.contains(&"receive_buffer=8MiB".to_owned()));
        assert!(
            !down.iter().any(|name| name.starts_with("congestion") || name.starts_with("compress")),
            "{down:?}"
        );
        let notes = all(&plain, &[], false, true).unwrap().notes;
        assert!(notes[0].contains("compress, congestion, write_size, send_buffer. "), "{notes:?}");
        let up = names(&plain, &[], true);
        assert!(
            up.contains(&"compress=off".to_owned()) && !up.contains(&"window=128MiB".to_owned()),
            "{up:?}"
        );
        let nothing = all(&plain, &[Group::Compress], false, true).unwrap_err();
        assert!(nothing.contains("--upload"), "{nothing}");
    }

    #[test]
    fn every_value_is_one_that_a_url_takes() {
        for is_upload in [false, true] {
            let via = Via::to_tunnel(&["towpath://127.0.0.1:7000?plain".to_owned()]).unwrap();
            for change in all(&via, &[], is_upload, false).unwrap().changes {
                let text = format!(
                    "[[listener]]\nname = \"a\"\nbind = \":1\"\npool = \"b\"\n[[pool]]\nname = \"b\"\n\
                     backend = [\"127.0.0.1:2\"]\nvia = {:?}\n",
                    via.with(&change).hops()
                );
                assert!(towpath_config::parse(&text, "test").is_ok(), "{change}");
            }
        }
    }

    #[test]
    fn changes_go_together() {
        let both = [Change::new(Group::Lanes, "lanes", "8"), Change::new(Group::Compress, "compress", "off")];
        assert_eq!(Change::together(&both).to_string(), "lanes=8 compress=off");
    }
}
