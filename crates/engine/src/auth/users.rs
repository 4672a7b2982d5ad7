//! Who may use a proxy: names with passwords as they are, and files of names with hashes (htpasswd's form).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

use super::hash::Hash;

/// Longest file.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Most users.
const USERS_MAX: usize = 100_000;
/// Longest name: a SOCKS login counts it in a byte (RFC 1929).
const NAME_BYTES_MAX: usize = 255;
/// So many faults of a file are told; a file of another kind has one in every line.
const FAULTS_MAX: usize = 100;

/// Names, and how each proves who it is.
#[derive(Default)]
pub(crate) struct Users {
    of: HashMap<Arc<str>, Proof>,
    /// What is checked for those who have no hash, so that time does not tell who has one: a hash of the most common cost.
    decoy: Option<Hash>,
}

/// How a user proves who it is.
enum Proof {
    Hash(Hash),
    /// By a password that is given as it is. Kept as a digest, which has the same length for all.
    Plain(Digest),
}

/// What is wrong with a line of a file of users. Tells no hash and no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserFault {
    /// Number of the line, from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do about it.
    pub(crate) message: String,
}

impl fmt::Display for UserFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// How to find out whether somebody is a user.
pub(super) struct Trial {
    user: Option<Arc<str>>,
    /// What to verify, which may be for the sake of time alone.
    hash: Option<Hash>,
    /// The result where it does not depend on the hash.
    result: Option<bool>,
}

impl Users {
    /// Reads a file: one `NAME:HASH` a line, where what follows another colon is a remark. Lines that are empty or begin
    /// with `#` say nothing. Fails with all faults of the file.
    pub(crate) fn parse_file(text: &str) -> Result<Self, Vec<UserFault>> {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file is too long; at most {FILE_BYTES_MAX} bytes are read");
            return Err(vec![UserFault { line: 1, message }]);
        }
        let mut users = Self::default();
        let mut faults = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Err(message) = users.add_line(text) else { continue };
            faults.push(UserFault { line, message });
            if faults.len() > FAULTS_MAX {
                let message = "this line and maybe others are wrong, too; mend those above first".to_owned();
                faults[FAULTS_MAX].message = message;
                break;
            }
        }
        users.pick_decoy();
        if faults.is_empty() { Ok(users) } else { Err(faults) }
    }

    /// Adds somebody with a password as it is. Fails with what is wrong and what to do about it.
    pub(crate) fn add_plain(&mut self, name: &str, password: &str) -> Result<(), String> {
        if password.is_empty() {
            return Err(format!("{} has an empty password; give another", shown(name)));
        }
        self.add(name, Proof::Plain(digest(&SHA256, password.as_bytes())))
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let Some((name, rest)) = line.split_once(':') else {
            return Err("there is no colon; write NAME:HASH, as `towpath passwd NAME` makes it".to_owned());
        };
        check_user_name(name)?;
        let hash = rest.split_once(':').map_or(rest, |(hash, _)| hash);
        let hash = Hash::parse(hash.trim()).map_err(|found| {
            if name.starts_with(['$', '{']) {
                return "what stands before the colon looks like a hash; write NAME:HASH".to_owned();
            }
            format!("{} has {found}; make the line anew with `towpath passwd {}`", shown(name), word(name))
        })?;
        self.add(name, Proof::Hash(hash))
    }

    fn add(&mut self, name: &str, proof: Proof) -> Result<(), String> {
        check_user_name(name)?;
        let count = self.of.len();
        match self.of.entry(name.into()) {
            Entry::Occupied(_) => Err(format!("{} is there twice; leave one out", shown(name))),
            Entry::Vacant(_) if count >= USERS_MAX => {
                Err(format!("there are too many users; at most {USERS_MAX} are taken"))
            }
            Entry::Vacant(place) => {
                place.insert(proof);
                Ok(())
            }
        }
    }

    /// Finds the cost that most hashes have.
    fn pick_decoy(&mut self) {
        let mut costs: HashMap<&str, (usize, &Hash)> = HashMap::new();
        for proof in self.of.values() {
            if let Proof::Hash(hash) = proof {
                costs.entry(hash.cost()).or_insert((0, hash)).0 += 1;
            }
        }
        self.decoy = costs.into_values().max_by_key(|(count, _)| *count).map(|(_, hash)| hash.clone());
    }

    /// How to find out whether `name` is a user and has this password.
    pub(super) fn trial(&self, name: &[u8], password: &[u8]) -> Trial {
        // Before the name is looked up, so that it is done for all.
        let given = digest(&SHA256, password);
        let user = str::from_utf8(name).ok().and_then(|name| self.of.get_key_value(name));
        let (hash, result) = match user {
            Some((_, Proof::Hash(hash))) => (Some(hash.clone()), None),
            Some((_, Proof::Plain(digest))) => {
                let is_right = verify_slices_are_equal(digest.as_ref(), given.as_ref()).is_ok();
                (self.decoy.clone(), Some(is_right))
            }
            None => (self.decoy.clone(), Some(false)),
        };
        Trial { user: user.map(|(name, _)| name.clone()), hash, result }
    }
}

impl Trial {
    /// Whether nothing has to be hashed.
    pub(super) fn is_quick(&self) -> bool {
        self.hash.is_none()
    }

    /// The user, if it is one and `password` is right.
    pub(super) fn outcome(self, password: &[u8]) -> Option<Arc<str>> {
        let is_verified = self.hash.is_some_and(|hash| hash.verify(password));
        self.user.filter(|_| self.result.unwrap_or(is_verified))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.of.len())
    }
}

/// Whether a file of users can have this name. Fails with what is wrong.
pub fn check_user_name(name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "a name is empty; give one"
    } else if name.len() > NAME_BYTES_MAX {
        "a name is too long; at most 255 bytes are taken"
    } else if name.chars().any(char::is_control) {
        "a name has control characters; leave them out"
    } else if name.contains(':') {
        "a name has a colon, which would end it; leave it out"
    } else if name.starts_with('#') {
        "a name begins with #, which would make its line a remark; pick another"
    } else if name.trim() != name {
        "a name begins or ends with a space; leave it out"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// The name as messages show it. Where a line is the wrong way round it is a hash, and stays hidden.
fn shown(name: &str) -> String {
    let is_name = name.len() < 40 && !name.starts_with(['$', '{']) && check_user_name(name).is_ok();
    if is_name { format!("`{name}`") } else { "the user".to_owned() }
}

/// The name as an argument on a command line, if that is simple.
fn word(name: &str) -> &str {
    let is_plain = |c: char| c.is_alphanumeric() || "._@-".contains(c);
    if name.len() < 40 && !name.starts_with('-') && name.chars().all(is_plain) { name } else { "NAME" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2b$04$zLoDMRiu78qSsQ4oBJl9r.nMTS/WnZtH2oPdhYPopskSjRMg9Lb9S";

    fn told(text: &str) -> Vec<String> {
        Users::parse_file(text).unwrap_err().iter().map(UserFault::to_string).collect()
    }

    #[test]
    fn a_file_has_users_and_remarks() {
        let text = format!(
            "\u{feff}# team\n\n  # old\nalice:{BCRYPT}\r\nbob b:{BCRYPT}:since May\n  zoë:{BCRYPT} \n"
        );
        let users = Users::parse_file(&text).unwrap();
        let mut names: Vec<&str> = users.of.keys().map(|name| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["alice", "bob b", "zoë"]);
        let outcome = |name: &str, password: &str| {
            users.trial(name.as_bytes(), password.as_bytes()).outcome(password.as_bytes())
        };
        assert_eq!(outcome("bob b", "correct horse").as_deref(), Some("bob b"));
        assert_eq!(outcome("bob", "correct horse"), None, "the decoy is a real hash, but lets nobody in");
        assert_eq!(outcome("alice", "correct"), None);
        assert_eq!(format!("{users:?}"), "Users(3)");
    }

    #[test]
    fn all_faults_of_a_file_are_told_at_once_and_no_secret() {
        let text = format!(
            "alice:{BCRYPT}\nno colon s3cret\nbob:$apr1$s3cret$s3cret\n:{BCRYPT}\nalice:{BCRYPT}\n{BCRYPT}:carol\n\
             a\tb:{BCRYPT}\n{}:{BCRYPT}\ndave:s3cret\ner in:{{SHA}}s3cret=\nfay:\n#x\n-x:s3cret:s3cret\ngus :{BCRYPT}\n",
            "n".repeat(256)
        );
        let told = told(&text);
        let expected = [
            "line 2: there is no colon; write NAME:HASH, as `towpath passwd NAME` makes it",
            "line 3: `bob` has an MD5 hash; make the line anew with `towpath passwd bob`",
            "line 4: a name is empty; give one",
            "line 5: `alice` is there twice; leave one out",
            "line 6: what stands before the colon looks like a hash; write NAME:HASH",
            "line 7: a name has control characters; leave them out",
            "line 8: a name is too long; at most 255 bytes are taken",
            "line 9: `dave` has a password as it is, or a DES hash of crypt; make the line anew with `towpath passwd dave`",
            "line 10: `er in` has a SHA-1 hash; make the line anew with `towpath passwd NAME`",
            "line 11: `fay` has no hash; make the line anew with `towpath passwd fay`",
            "line 13: `-x` has a password as it is, or a DES hash of crypt; make the line anew with `towpath passwd NAME`",
            "line 14: a name begins or ends with a space; leave it out",
        ];
        assert_eq!(told, expected);
        assert!(!told.concat().contains("s3cret") && !told.concat().contains("zLoDMRiu"));
    }

    #[test]
    fn a_file_has_bounds() {
        let long = "#".repeat(FILE_BYTES_MAX + 1);
        assert_eq!(told(&long), ["line 1: the file is too long; at most 1048576 bytes are read"]);
        assert!(Users::parse_file(&long[1..]).is_ok());
        let faults = Users::parse_file(&"x\n".repeat(5000)).unwrap_err();
        assert_eq!((faults.len(), faults[FAULTS_MAX].line), (FAULTS_MAX + 1, FAULTS_MAX + 1));
        let mut users = Users::default();
        for number in 0..USERS_MAX {
            users.add_plain(&format!("u{number}"), "x").unwrap();
        }
        assert_eq!(
            users.add_plain("more", "x").unwrap_err(),
            "there are too many users; at most 100000 are taken"
        );
    }

    #[test]
    fn plain_passwords_are_compared_whole() {
        let mut users = Users::default();
        users.add_plain("alice", "s3cret").unwrap();
        assert_eq!(users.add_plain("alice", "x").unwrap_err(), "`alice` is there twice; leave one out");
        assert_eq!(users.add_plain("bob", "").unwrap_err(), "`bob` has an empty password; give another");
        let outcome = |name: &[u8], password: &[u8]| {
            let trial = users.trial(name, password);
            assert!(trial.is_quick());
            trial.outcome(password)
        };
        assert_eq!(outcome(b"alice", b"s3cret").as_deref(), Some("alice"));
        for (name, password) in
            [(&b"alice"[..], &b"s3cre"[..]), (b"alice", b""), (b"bob", b"s3cret"), (b"\xff", b"x")]
        {
            assert_eq!(outcome(name, password), None);
        }
    }

    #[test]
    fn the_decoy_has_the_most_common_cost_and_is_for_plain_ones_too() {
        let dear = BCRYPT.replace("$04$", "$05$");
        let mut users = Users::parse_file(&format!("a:{dear}\nb:{BCRYPT}\nc:{dear}\n")).unwrap();
        users.add_plain("d", "s3cret").unwrap();
        assert_eq!(users.decoy.as_ref().unwrap().cost(), "05");
        assert_eq!(users.trial(b"nobody", b"x").hash.unwrap().cost(), "05");
        let trial = users.trial(b"d", b"s3cret");
        assert!(!trial.is_quick());
        assert_eq!(trial.outcome(b"s3cret").as_deref(), Some("d"));
    }
}
