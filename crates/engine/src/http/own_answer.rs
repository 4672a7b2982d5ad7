//! Answers of our own, in the form that the client would rather have.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use super::weighed::{Quality, weighed};

/// An answer of our own. It says what is wrong with the request; what is wrong behind us is for the record alone.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Its status, which lets it have a body.
    pub(crate) status: StatusCode,
    /// What the client is told beside it: a sentence without its full stop, or nothing.
    pub(crate) told: Cow<'static, str>,
    /// When it may ask again.
    pub(crate) retry_after: Option<Duration>,
    /// Whether it is asked for a name and a password.
    pub(crate) wants_login: bool,
}

impl Own {
    pub(crate) fn new(status: StatusCode, told: impl Into<Cow<'static, str>>) -> Self {
        Self { status, told: told.into(), retry_after: None, wants_login: false }
    }

    /// The answer to a request with these fields: JSON where it would rather have that, and a line of text otherwise.
    pub(crate) fn answer(&self, request_fields: &HeaderMap) -> Response<Bytes> {
        let (form, body) = if prefers_json(request_fields) {
            ("application/json", self.json())
        } else {
            ("text/plain; charset=utf-8", self.line())
        };
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = self.status;
        let fields = answer.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(form));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(time) = self.retry_after {
            // In whole seconds, and never so soon that it would come in vain.
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            fields.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.wants_login {
            let challenge = HeaderValue::from_static("Basic realm=\"towpath\", charset=\"UTF-8\"");
            fields.insert(WWW_AUTHENTICATE, challenge);
        }
        answer
    }

    fn error(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn json(&self) -> String {
        let mut body = format!(r#"{{"status":{},"error":"{}""#, self.status.as_u16(), self.error());
        if !self.told.is_empty() {
            body.push_str(r#","detail":""#);
            escape(&self.told, &mut body);
            body.push('"');
        }
        body.push_str("}\n");
        body
    }

    fn line(&self) -> String {
        let mut body = format!("{} {}", self.status.as_u16(), self.error());
        if !self.told.is_empty() {
            body.push_str(": ");
            body.extend(self.told.chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
        }
        body.push('\n');
        body
    }
}

/// As in a string of JSON (RFC 8259, section 7).
fn escape(text: &str, to: &mut String) {
    for letter in text.chars() {
        match letter {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            letter if letter.is_control() => drop(write!(to, "\\u{:04x}", u32::from(letter))),
            letter => to.push(letter),
        }
    }
}

/// Whether a client names JSON, and neither likes text or a page better nor names one of them before it.
fn prefers_json(fields: &HeaderMap) -> bool {
    let mut json = None;
    let mut text = Quality::NONE;
    let mut is_first = true;
    for (range, quality) in weighed(fields, &ACCEPT) {
        if range.eq_ignore_ascii_case("application/json") {
            json = Some(quality);
        } else if ["text/plain", "text/html", "text/*"].iter().any(|form| range.eq_ignore_ascii_case(form)) {
            text = text.max(quality);
            is_first &= json.is_some();
        }
    }
    json.is_some_and(|json| json > text || (json == text && json > Quality::NONE && is_first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(own: &Own, accept: &'static str) -> (String, Response<Bytes>) {
        let mut fields = HeaderMap::new();
        fields.insert(ACCEPT, HeaderValue::from_static(accept));
        let answer = own.answer(&fields);
        (String::from_utf8(answer.body().to_vec()).unwrap(), answer)
    }

    #[test]
    fn the_form_is_the_one_that_the_client_likes() {
        let own = Own::new(StatusCode::SERVICE_UNAVAILABLE, "no server is up");
        let text = "503 Service Unavailable: no server is up\n";
        let json = "{\"status\":503,\"error\":\"Service Unavailable\",\"detail\":\"no server is up\"}\n";
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain, application/json",
            "application/json;q=0.5, text/*",
            "application/json;q=0, */*",
            "application/json;q=0",
            "application/*",
            "application/grpc",
        ] {
            assert_eq!(answer(&own, accept).0, text, "{accept}");
        }
        for accept in [
            "application/json",
            "Application/JSON;charset=utf-8",
            "application/json, text/plain, */*",
            "text/html;q=0.5, application/json;q=0.6",
            "application/json;q=0.1",
        ] {
            assert_eq!(answer(&own, accept).0, json, "{accept}");
        }
        assert_eq!(own.answer(&HeaderMap::new()).body(), text);
    }

    #[test]
    fn fields_say_what_to_do_next() {
        let mut own = Own::new(StatusCode::TOO_MANY_REQUESTS, "");
        own.retry_after = Some(Duration::from_millis(1001));
        let (body, told) = answer(&own, "");
        assert_eq!((body.as_str(), told.status()), ("429 Too Many Requests\n", own.status));
        assert_eq!(told.headers()[RETRY_AFTER], "2");
        assert_eq!(told.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(told.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!told.headers().contains_key(WWW_AUTHENTICATE));
        own.retry_after = Some(Duration::ZERO);
        own.wants_login = true;
        let (body, told) = answer(&own, "application/json");
        assert_eq!(body, "{\"status\":429,\"error\":\"Too Many Requests\"}\n");
        assert_eq!(
            (&told.headers()[RETRY_AFTER], &told.headers()[CONTENT_TYPE]),
            (&HeaderValue::from_static("1"), &HeaderValue::from_static("application/json"))
        );
        assert!(told.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic realm="));
    }

    #[test]
    fn odd_text_stays_inside_its_place() {
        let own = Own::new(StatusCode::BAD_REQUEST, "a \"b\"\\ \r\n\u{1}\u{7f}é");
        let (json, _) = answer(&own, "application/json");
        assert_eq!(
            json,
            "{\"status\":400,\"error\":\"Bad Request\",\"detail\":\"a \\\"b\\\"\\\\ \\u000d\\n\\u0001\\u007fé\"}\n"
        );
        assert_eq!(answer(&own, "").0, "400 Bad Request: a \"b\"\\     é\n");
    }
}
