//! What ties the records of one request together: its id, and the trace that it is part of (W3C Trace Context).

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flags that version 00 knows: that the trace is recorded, and that its id is random.
const KNOWN_FLAGS: u128 = 0b11;
/// A trace that begins here is recorded by those behind us, as it would be if we were not here.
const RECORDED: u128 = 0b01;

/// Longest id of a request that is passed on, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Makes us the parent of what is behind us in the trace of a request, or begins one. Returns the trace's id. `id` makes random
/// numbers.
pub(crate) fn pass_on(fields: &mut HeaderMap, mut id: impl FnMut() -> u128) -> u128 {
    let (trace, flags) = came(fields).unwrap_or_else(|| {
        fields.remove(TRACESTATE);
        (id().max(1), RECORDED)
    });
    let parent = (id() & u128::from(u64::MAX)).max(1);
    if let Ok(value) = HeaderValue::try_from(format!("00-{trace:032x}-{parent:016x}-{flags:02x}")) {
        let _ = fields.try_insert(TRACEPARENT, value);
    }
    trace
}

/// The id of the trace that a request is part of, and what we know of its flags.
fn came(fields: &HeaderMap) -> Option<(u128, u128)> {
    let mut values = fields.get_all(TRACEPARENT).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.splitn(5, '-');
    let version = hex(parts.next()?, 2).filter(|version| *version != 0xff)?;
    let trace = hex(parts.next()?, 32).filter(|trace| *trace != 0)?;
    hex(parts.next()?, 16).filter(|parent| *parent != 0)?;
    let flags = hex(parts.next()?, 2)?;
    // Later versions may go on.
    (version > 0 || parts.next().is_none()).then_some((trace, flags & KNOWN_FLAGS))
}

/// The number that `digits` of them, in lower case, stand for.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_plain).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The id of a request, which the field `name` carries: the one that came if it has a form for records, or else one of 32 digits
/// from the random number that `make` makes.
pub(crate) fn request_id(
    fields: &mut HeaderMap,
    name: &HeaderName,
    make: impl FnOnce() -> u128,
) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        (1..=ID_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let made = || {
        let id = HeaderValue::try_from(format!("{:032x}", make()));
        id.unwrap_or(HeaderValue::from_static("0"))
    };
    let id = fields.get(name).filter(is_sane).cloned().unwrap_or_else(made);
    let _ = fields.try_insert(name, id.clone());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    /// What goes on, and whether the state of the trace does, where random numbers are 0x100, 0x200 and so on.
    fn passed(came: &[&str]) -> (String, bool) {
        let mut fields = HeaderMap::new();
        for value in came {
            fields.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        fields.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        let mut last = 0;
        let trace = pass_on(&mut fields, || {
            last += 0x100;
            last
        });
        let told = fields[TRACEPARENT].to_str().unwrap().to_owned();
        assert_eq!(told[3..35], format!("{trace:032x}"));
        assert_eq!(fields.get_all(TRACEPARENT).into_iter().count(), 1);
        (told, fields.contains_key(TRACESTATE))
    }

    #[test]
    fn a_trace_goes_on_with_us_as_parent() {
        let ours = |flags: &str| (format!("00-{TRACE}-0000000000000100-{flags}"), true);
        assert_eq!(passed(&[&format!("00-{TRACE}-{PARENT}-01")]), ours("01"));
        assert_eq!(passed(&[&format!("00-{TRACE}-{PARENT}-00")]), ours("00"));
        assert_eq!(passed(&[&format!("00-{TRACE}-{PARENT}-ff")]), ours("03"));
        assert_eq!(passed(&[&format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like")]), ours("01"));
        assert_eq!(passed(&[&format!("cc-{TRACE}-{PARENT}-01")]), ours("01"));
    }

    #[test]
    fn what_is_malformed_begins_anew() {
        let whole = format!("00-{TRACE}-{PARENT}-01");
        let zeros = "0".repeat(32);
        for came in [
            &[][..],
            &[""],
            &["00"],
            &[&whole, &whole],
            &[&format!("{whole}-")],
            &[&format!("{whole}-x")],
            &[&format!("{whole}0")],
            &[&whole[..54]],
            &[&format!("ff-{TRACE}-{PARENT}-01")],
            &[&format!("0-{TRACE}-{PARENT}-01")],
            &[&format!("00-{zeros}-{PARENT}-01")],
            &[&format!("00-{TRACE}-{}-01", &zeros[..16])],
            &[&format!("00-{}-{PARENT}-01", TRACE.to_uppercase())],
            &[&format!("00-+{}-{PARENT}-01", &TRACE[1..])],
            &[&format!("cc-{TRACE}-{PARENT}-01.x")],
            &[&format!(" 00-{TRACE}-{PARENT}-01")],
        ] {
            let made = format!("00-{:032x}-{:016x}-01", 0x100, 0x200);
            assert_eq!(passed(came), (made, false), "{came:?}");
        }
    }

    #[test]
    fn ids_are_never_nought() {
        let mut fields = HeaderMap::new();
        pass_on(&mut fields, || 1 << 100);
        assert_eq!(fields[TRACEPARENT], format!("00-{:032x}-0000000000000001-01", 1_u128 << 100));
        fields.clear();
        assert_eq!(pass_on(&mut fields, || 0), 1);
    }

    #[test]
    fn sane_ids_of_requests_are_passed_on_and_others_made() {
        let name = HeaderName::from_static("x-request-id");
        let (long, longest) = ("a".repeat(129), "a".repeat(128));
        for (came, wanted) in [
            (&["7f\"é"][..], None),
            (&["a b"], None),
            (&[""], None),
            (&[&long], None),
            (&[], None),
            (&["7f-\"\\{}"], Some("7f-\"\\{}")),
            (&[&longest], Some(&*longest)),
            (&["one", "two"], Some("one")),
        ] {
            let mut fields = HeaderMap::new();
            for value in came {
                fields.append(&name, HeaderValue::from_str(value).unwrap());
            }
            let id = request_id(&mut fields, &name, || 0xabc);
            assert_eq!(id, wanted.unwrap_or("00000000000000000000000000000abc"));
            assert_eq!(fields.get_all(&name).into_iter().collect::<Vec<_>>(), [&id]);
        }
    }
}
