//! Hashes of passwords: bcrypt as htpasswd writes it, and argon2 as a PHC string.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier};
use bcrypt::HashParts;

/// The costs of bcrypt that are taken: 16 keeps a processor busy for seconds.
const BCRYPT_COST: RangeInclusive<u32> = 4..=16;
/// bcrypt reads no more of a password, and only up to a NUL.
const BCRYPT_BYTES_MAX: usize = 72;
/// Most that argon2 may ask for: memory in KiB, passes and lanes.
const ARGON2_MAX: (u32, u32, u32) = (256 << 10, 16, 16);
/// The versions of argon2 (RFC 9106, section 3.1); a PHC string that names none is of the first.
const ARGON2_VERSIONS: [u32; 2] = [0x10, 0x13];

/// What to say of hashes that are not taken, by how they begin.
const FOREIGN: [(&str, &str); 13] = [
    ("$apr1$", "an MD5 hash"),
    ("$1$", "an MD5 hash"),
    ("{SHA}", "a SHA-1 hash"),
    ("{SSHA}", "a SHA-1 hash"),
    ("$sha1$", "a SHA-1 hash"),
    ("$5$", "a SHA-256 hash of crypt"),
    ("$6$", "a SHA-512 hash of crypt"),
    ("$y$", "a yescrypt hash"),
    ("$7$", "a scrypt hash"),
    ("$2x$", "a hash of a bcrypt that had a bug ($2x$)"),
    ("$argon2d$", "an argon2d hash, where argon2id is meant for passwords"),
    ("{", "a hash of a kind that is not known here"),
    ("$", "a hash of a kind that is not known here"),
];

/// The hash of a password, checked when it was read: its cost is within bounds.
#[derive(Clone)]
pub(super) enum Hash {
    /// `$2a$`, `$2b$` or `$2y$`, which differ only in what old programs did with odd passwords.
    Bcrypt(Arc<str>),
    /// `$argon2id$` or `$argon2i$`.
    Argon2(Arc<str>),
}

impl Hash {
    /// Reads a hash, or says what it is instead, as in "an MD5 hash". That tells nothing of the text itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return bcrypt(text);
        }
        if text.starts_with("$argon2id$") || text.starts_with("$argon2i$") {
            return argon2(text);
        }
        let foreign = FOREIGN.iter().find(|(prefix, _)| text.starts_with(prefix));
        Err(match foreign {
            Some((_, kind)) => *kind,
            None if text.is_empty() => "no hash",
            None => "a password as it is, or a DES hash of crypt",
        }
        .to_owned())
    }

    /// Whether this is the hash of `password`. Takes from a millisecond to seconds, and as long for a wrong one.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => {
                let is_right = bcrypt::verify(password, hash).unwrap_or(false);
                // Else everything that begins alike would match.
                is_right && password.len() <= BCRYPT_BYTES_MAX && !password.contains(&0)
            }
            Self::Argon2(hash) => {
                parse_phc(hash).is_some_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
        }
    }

    /// What a check costs, the same text for the same cost.
    pub(super) fn cost(&self) -> &str {
        match self {
            Self::Bcrypt(hash) => &hash[4..6],
            Self::Argon2(hash) => hash.rsplitn(3, '$').last().unwrap_or_default(),
        }
    }
}

fn bcrypt(text: &str) -> Result<Hash, String> {
    let has_cost = text.as_bytes().get(4..6).is_some_and(|cost| cost.iter().all(u8::is_ascii_digit));
    let parts = HashParts::from_str(text).ok().filter(|_| has_cost);
    let cost = parts.ok_or("a bcrypt hash that is cut short or altered")?.get_cost();
    if !BCRYPT_COST.contains(&cost) {
        let (least, most) = BCRYPT_COST.into_inner();
        return Err(format!("a bcrypt hash of cost {cost}, where {least} to {most} are taken"));
    }
    Ok(Hash::Bcrypt(text.into()))
}

fn argon2(text: &str) -> Result<Hash, String> {
    let broken = "an argon2 hash that is cut short or altered";
    let hash = parse_phc(text).ok_or(broken)?;
    let is_known = hash.version.is_some_and(|version| ARGON2_VERSIONS.contains(&version));
    let is_whole = hash.hash.is_some() && hash.salt.is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN);
    let params = Params::try_from(&hash).ok().filter(|_| is_known && is_whole).ok_or(broken)?;
    let (memory, passes, lanes) = ARGON2_MAX;
    if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
        return Err(format!(
            "an argon2 hash that costs too much, where up to m={memory},t={passes},p={lanes} is taken"
        ));
    }
    Ok(Hash::Argon2(text.into()))
}

fn parse_phc(text: &str) -> Option<PasswordHash> {
    let mut hash = PasswordHash::new(text).ok()?;
    hash.version.get_or_insert(ARGON2_VERSIONS[0]);
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of htpasswd 2.4.71 (Debian 12), argon2-cffi 25.1.0 and bcrypt 5.0.0 for Python: hash and password.
    const RIGHT: [(&str, &str); 8] = [
        ("$2y$05$zA/1JJqCf1BFYrHdZtAbdelVgvf9rCWMl2KBp.JRnaHriA2S9IqOm", "correct horse"),
        ("$2y$05$QMueeHeHKDGVMb0CToqDD.Zia2b66gesJwrW.UbGa4kv1hvxjJ6Su", "pässwörd:1"),
        ("$2a$04$hn7M5UU/pK9h8Ul76yQ9ueYAPJ3530N9saNWPPYsdPBe/gu9pJzVy", "correct horse"),
        ("$2b$04$zLoDMRiu78qSsQ4oBJl9r.nMTS/WnZtH2oPdhYPopskSjRMg9Lb9S", "correct horse"),
        (
            "$argon2id$v=19$m=1024,t=2,p=2$qmRjFdwPktzK7MpAOW+uiQ$GvRX0X2F9lYZt9KRgNP39Vhr/vFHVET29aWuYQ4oOfo",
            "correct horse",
        ),
        (
            "$argon2i$v=19$m=64,t=1,p=1$Jrut+1Zh6ob5O5ixvoTt7A$CM+3hpgDbxYfBZAsmJFpyIdVg9dwtkk4NKZQpnnQiJo",
            "pässwörd:1",
        ),
        (
            "$argon2i$v=16$m=128,t=2,p=1$c2FsdHNhbHRzYWx0$HOGm+F0PuADHz55+kHFkKjhKYqwhQVl3g63CyoY0hr8",
            "correct horse",
        ),
        (
            "$argon2i$m=128,t=2,p=1$c2FsdHNhbHRzYWx0$HOGm+F0PuADHz55+kHFkKjhKYqwhQVl3g63CyoY0hr8",
            "correct horse",
        ),
    ];

    #[test]
    fn what_other_programs_hash_is_verified() {
        for (text, password) in RIGHT {
            let hash = Hash::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert!(hash.verify(password.as_bytes()), "{text}");
            for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong}");
            }
        }
    }

    #[test]
    fn bcrypt_has_no_more_than_72_bytes() {
        let hash = Hash::parse("$2y$04$.Rz9o8EvYFNsRo1VXJofMeS1QxNT2zLevSrERl7/yOPfPfKq48fJe").unwrap();
        assert!(hash.verify(&[b'a'; 72]));
        assert!(!hash.verify(&[b'a'; 73]));
        assert!(!hash.verify(&[b'a'; 71]));
        // bcrypt itself repeats a short password behind a NUL, so it would take this one twice.
        let nul = bcrypt::hash_with_salt(b"ab", 4, [7; 16]).unwrap().to_string();
        let nul = Hash::parse(&nul).unwrap();
        assert!(nul.verify(b"ab"));
        assert!(!nul.verify(b"ab\0ab"));
    }

    #[test]
    fn costs_are_told_apart() {
        let cost = |index: usize| Hash::parse(RIGHT[index].0).unwrap().cost().to_owned();
        assert_eq!([cost(0), cost(2), cost(3)], ["05", "04", "04"]);
        assert_eq!(cost(4), "$argon2id$v=19$m=1024,t=2,p=2");
    }

    #[test]
    fn other_hashes_are_named_and_costs_are_bounded() {
        let bcrypt = |cost: &str| format!("$2b${cost}$zLoDMRiu78qSsQ4oBJl9r.nMTS/WnZtH2oPdhYPopskSjRMg9Lb9S");
        let argon2 =
            |costs: &str| format!("$argon2id$v=19${costs}$qmRjFdwPktzK7MpAOW+uiQ$GvRX0X2F9lYZt9KRgNP39Q");
        for good in [bcrypt("04"), bcrypt("16"), argon2("m=262144,t=16,p=16")] {
            assert!(Hash::parse(&good).is_ok(), "{good}");
        }
        let cases = [
            ("$apr1$4uM6GUw2$Z5sX4ftI7F3VqV7gVivqi1".to_owned(), "an MD5 hash"),
            ("{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=".to_owned(), "a SHA-1 hash"),
            ("IM9M4YityPsRY".to_owned(), "a password as it is, or a DES hash of crypt"),
            ("$5$0g9T8uOYPbBAF5YU$tL07FjSY24lK9h7cOJQz9CP".to_owned(), "a SHA-256 hash of crypt"),
            ("$6$zLSI1vc0mqtZj669$2mO3S93rkvkg/p7BOxOejY".to_owned(), "a SHA-512 hash of crypt"),
            (String::new(), "no hash"),
            (bcrypt("03"), "a bcrypt hash of cost 3, where 4 to 16 are taken"),
            (bcrypt("17"), "a bcrypt hash of cost 17, where 4 to 16 are taken"),
            (bcrypt("+9"), "a bcrypt hash that is cut short or altered"),
            (bcrypt("ää"), "a bcrypt hash that is cut short or altered"),
            ("$2b$10$short".to_owned(), "a bcrypt hash that is cut short or altered"),
            (argon2("m=ä"), "an argon2 hash that is cut short or altered"),
            (argon2("m=64,t=0,p=1"), "an argon2 hash that is cut short or altered"),
            (
                "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0".to_owned(),
                "an argon2 hash that is cut short or altered",
            ),
            (argon2("m=64,t=1,p=1").replace("v=19", "v=20"), "an argon2 hash that is cut short or altered"),
        ];
        for (text, told) in cases {
            assert_eq!(Hash::parse(&text).err().as_deref(), Some(told), "{text}");
        }
        for costs in ["m=262145,t=1,p=1", "m=1024,t=17,p=1", "m=1024,t=1,p=17"] {
            assert!(Hash::parse(&argon2(costs)).err().unwrap().contains("costs too much"), "{costs}");
        }
    }
}
