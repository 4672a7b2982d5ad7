//! How lanes begin: hellos and their answers, and what is none.

use proptest::prelude::*;

use crate::tunnel::hello::{
    ANSWER_BYTES, Answer, HELLO_BYTES, Hello, HelloFault, LZ4, Refusal, Terms, VERSION, ZSTD,
};

fn terms() -> impl Strategy<Value = Terms> {
    let parts = (any::<u32>(), any::<u32>(), any::<u32>());
    parts.prop_map(|(features, window, streams)| Terms { features, window, streams })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hellos_are_read_as_they_were_written(
        session in any::<[u8; 16]>(), may_begin in any::<bool>(), lane in any::<u32>(), terms in terms()
    ) {
        let hello = Hello { session, may_begin, lane, terms };
        prop_assert_eq!(Hello::read(&hello.bytes()), Ok(hello));
        let answer = Answer::Welcome(terms);
        prop_assert_eq!(Answer::read(&answer.bytes()), Ok(answer));
    }

    #[test]
    fn any_bytes_are_read_or_refused(hello in any::<[u8; 32]>(), begin in any::<bool>()) {
        let mut bytes = [0; HELLO_BYTES];
        bytes[HELLO_BYTES - 32..].copy_from_slice(&hello);
        if begin {
            bytes[..9].copy_from_slice(b"towpath\n\x01");
        }
        prop_assert_eq!(Hello::read(&bytes).is_ok(), begin);
        let mut answer = [0; ANSWER_BYTES];
        answer.copy_from_slice(&bytes[..ANSWER_BYTES]);
        prop_assert_eq!(Answer::read(&answer).is_ok(), begin);
    }
}

#[test]
fn refusals_are_read_as_they_were_written() {
    use Refusal::{Full, Leaving, Repeated, UnknownSession, Version};
    for refusal in [Version, UnknownSession, Repeated, Full, Leaving] {
        let answer = Answer::Refused(refusal);
        assert_eq!(Answer::read(&answer.bytes()), Ok(answer));
    }
    let mut later = Answer::Refused(Full).bytes();
    later[9] = 200;
    assert_eq!(Answer::read(&later), Ok(Answer::Refused(Full)), "what a later version says");
}

#[test]
fn strangers_and_other_versions_are_told() {
    let terms = Terms { features: LZ4 | ZSTD, window: 1 << 16, streams: 100 };
    let hello = Hello { session: [7; 16], may_begin: true, lane: 3, terms }.bytes();
    assert_eq!(hello[..10], *b"towpath\n\x01\x01");
    let mut other = hello;
    other[8] = VERSION + 1;
    assert_eq!(Hello::read(&other), Err(HelloFault::Version(VERSION + 1)));
    let mut stranger = hello;
    stranger[..4].copy_from_slice(b"GET ");
    assert_eq!(Hello::read(&stranger), Err(HelloFault::Stranger));
    let mut answer = Answer::Welcome(terms).bytes();
    answer[8] = 0;
    assert_eq!(Answer::read(&answer), Err(HelloFault::Version(0)));
    answer[0] = b'H';
    assert_eq!(Answer::read(&answer), Err(HelloFault::Stranger));
}
