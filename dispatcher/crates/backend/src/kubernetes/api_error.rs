//! An unsuccessful answer of the API server: its message, and whether and when to repeat the call. Pure.

use std::fmt;
use std::time::Duration;

use kube::core::Status;
use shared::error::Error;

use super::super::{FailureClass, Ran};

/// What kind of failure a call had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There was no answer, or the server says that it cannot answer now. The same call works once the API server is
    /// back.
    Away,
    /// Too many calls: repeat after the time that the answer names.
    Throttled,
    /// Somebody else wrote at the same time: repeat at once.
    Conflict,
    /// An object with this name already exists.
    Exists,
    /// There is no object with this name, or no such namespace.
    Missing,
    /// Not allowed by the Role.
    Forbidden,
    /// The namespace is being removed.
    Terminating,
    /// A quota is used up.
    QuotaExceeded,
    /// The container whose output was requested has not started.
    Waiting,
    /// The API server fails by itself, or because of a webhook that fails.
    Failing,
    /// Not possible now, without a clear reason, such as a proxy's own answer. The reason may be this very object.
    NotNow,
    /// Never: the new object is wrong, or an admission rule refuses it.
    Refused,
}

/// A call without a successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) kind: Kind,
    /// The message for operators, with the API server's own words.
    pub(super) message: String,
    /// How long the API server asks us to wait.
    pub(super) after: Option<Duration>,
}

impl ApiError {
    /// The server did not answer.
    pub(super) fn away(what: &str, error: &dyn std::error::Error) -> Self {
        // The actual reason, such as an unknown certificate, is at the end of the chain.
        let mut last = error;
        while let Some(cause) = last.source() {
            last = cause;
        }
        let said = error.to_string();
        let cause = last.to_string();
        let more = if said.contains(&cause) { String::new() } else { format!(": {cause}") };
        let message = format!("the API server did not answer ({what}): {said}{more}");
        Self { kind: Kind::Away, message, after: None }
    }

    /// From an unsuccessful answer.
    pub(super) fn of_answer(what: &str, code: u16, body: &[u8], after: Option<Duration>) -> Self {
        // Answers of a proxy, or of priority and fairness, are plain text or other JSON.
        let own = serde_json::from_slice::<Status>(body).ok().filter(|status| status.code == code);
        let judges = own.is_some() && what.starts_with("POST ");
        let status =
            own.unwrap_or_else(|| Status::failure(String::from_utf8_lossy(body).trim(), "").with_code(code));
        let after = after.or_else(|| {
            let details = status.details.as_ref().filter(|details| details.retry_after_seconds > 0)?;
            Some(Duration::from_secs(details.retry_after_seconds.into()))
        });
        let kind = kind(code, &status, judges);
        let said = if status.message.is_empty() { &status.reason } else { &status.message };
        let message = match kind {
            Kind::Forbidden if code == 401 => format!(
                "the API server does not take the token ({what}): {said}; a renewed one is read within a minute"
            ),
            Kind::Forbidden => format!(
                "the API server forbids it ({what}): {said}; the dispatcher's Role needs jobs create/get/list/watch/patch/delete \
                 and pods list in this namespace"
            ),
            Kind::Away | Kind::Throttled => {
                format!("the API server is not able to do it now ({what}): {code} {said}")
            }
            Kind::Waiting => said.clone(),
            _ => format!("the API server answered {what} with {code}: {said}"),
        };
        Self { kind, message, after }
    }

    /// Whether to repeat the call silently, for as long as it takes.
    pub(super) const fn passes(&self) -> bool {
        matches!(self.kind, Kind::Away | Kind::Throttled | Kind::Conflict)
    }

    /// Whether this answer to a creation means that no Job at all can be made in that namespace.
    pub(super) const fn stops_all_creation(&self) -> bool {
        matches!(self.kind, Kind::Forbidden | Kind::Missing | Kind::Terminating)
    }

    /// The outcome of the Job whose call failed.
    pub(super) fn ran(self) -> Ran {
        match self.kind {
            Kind::Refused => Ran::refused(FailureClass::ConfigurationError, self.message),
            Kind::QuotaExceeded => Ran::postponed(FailureClass::QuotaExceeded, self.message),
            Kind::NotNow => Ran::postponed(FailureClass::BackendError, self.message),
            _ => Ran::postponed(FailureClass::BackendFailing, self.message),
        }
    }

    /// The error for commands and checks.
    pub(super) fn error(self) -> Error {
        match self.kind {
            Kind::Refused => Error::input(self.message),
            Kind::Forbidden => Error::configuration(self.message),
            _ => Error::unavailable(self.message),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `judges`: the API server itself answers about an object that it was asked to create.
fn kind(code: u16, status: &Status, judges: bool) -> Kind {
    let caused_by = |reason: &str| {
        status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
    };
    let says = |text: &str| status.message.contains(text);
    match code {
        409 if status.is_already_exists() => Kind::Exists,
        409 => Kind::Conflict,
        404 => Kind::Missing,
        429 => Kind::Throttled,
        403 if caused_by("NamespaceTerminating") || says("is being terminated") => Kind::Terminating,
        403 if says("exceeded quota") => Kind::QuotaExceeded,
        403 if says("admission webhook")
            || says("denied the request")
            || says("ValidatingAdmissionPolicy") =>
        {
            if judges {
                Kind::Refused
            } else {
                Kind::NotNow
            }
        }
        // An expired token is read again, and a permission may still be granted.
        401 | 403 => Kind::Forbidden,
        502..=504 => Kind::Away,
        // If the server's store cannot take the object, repeating does not make it smaller.
        500 if judges && says("request is too large") => Kind::Refused,
        500..=599 => Kind::Failing,
        400 | 413 | 422 if judges => Kind::Refused,
        400 if says("is waiting to start") => Kind::Waiting,
        _ => Kind::NotNow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u16, body: &str) -> ApiError {
        ApiError::of_answer("POST jobs", code, body.as_bytes(), None)
    }

    #[test]
    fn every_answer_says_whether_to_ask_again() {
        let terminating = r#"{"code":403,"reason":"Forbidden","message":"unable to create new content in namespace x because it is being terminated","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        let quota = r#"{"code":403,"reason":"Forbidden","message":"jobs.batch \"a\" is forbidden: exceeded quota: q"}"#;
        let webhook =
            r#"{"code":403,"reason":"Forbidden","message":"admission webhook \"w\" denied the request: no"}"#;
        let role = r#"{"code":403,"reason":"Forbidden","message":"jobs.batch is forbidden: User \"u\" cannot create resource \"jobs\""}"#;
        let table = [
            (
                409,
                r#"{"code":409,"reason":"AlreadyExists","message":"jobs.batch \"a\" already exists"}"#,
                Kind::Exists,
            ),
            (
                409,
                r#"{"code":409,"reason":"Conflict","message":"Operation cannot be fulfilled"}"#,
                Kind::Conflict,
            ),
            (
                404,
                r#"{"code":404,"reason":"NotFound","message":"namespaces \"x\" not found"}"#,
                Kind::Missing,
            ),
            (429, "Too many requests, please try again later.", Kind::Throttled),
            (403, terminating, Kind::Terminating),
            (403, quota, Kind::QuotaExceeded),
            (403, webhook, Kind::Refused),
            (403, role, Kind::Forbidden),
            (401, r#"{"code":401,"reason":"Unauthorized","message":"Unauthorized"}"#, Kind::Forbidden),
            (422, r#"{"code":422,"reason":"Invalid","message":"Job is invalid"}"#, Kind::Refused),
            (
                400,
                r#"{"code":400,"reason":"BadRequest","message":"strict decoding error: unknown field"}"#,
                Kind::Refused,
            ),
            (
                500,
                r#"{"code":500,"reason":"InternalError","message":"failed calling webhook"}"#,
                Kind::Failing,
            ),
            (
                500,
                r#"{"code":500,"reason":"InternalError","message":"etcdserver: request is too large"}"#,
                Kind::Refused,
            ),
            (503, "", Kind::Away),
            (504, r#"{"code":504,"reason":"Timeout","message":"request timed out"}"#, Kind::Away),
            (400, "<html>400 Bad Request</html>", Kind::NotNow),
            (400, r#"{"error":"no such upstream"}"#, Kind::NotNow),
            (408, "", Kind::NotNow),
            (307, "", Kind::NotNow),
            (421, "", Kind::NotNow),
            (425, "", Kind::NotNow),
            (413, r#"{"code":413,"message":"Request entity too large: limit is 3145728"}"#, Kind::Refused),
        ];
        for (code, body, expected) in table {
            assert_eq!(fault(code, body).kind, expected, "{code} {body}");
        }
    }

    #[test]
    fn only_what_the_server_says_of_a_new_object_is_for_good() {
        let denied =
            r#"{"code":403,"reason":"Forbidden","message":"admission webhook \"w\" denied the request: no"}"#;
        let invalid = r#"{"code":422,"reason":"Invalid","message":"Job is invalid"}"#;
        for (code, body) in [(403, denied), (422, invalid)] {
            for (what, expected) in [
                ("POST jobs", Kind::Refused),
                ("GET job", Kind::NotNow),
                ("LIST jobs", Kind::NotNow),
                ("PATCH job", Kind::NotNow),
                ("DELETE job", Kind::NotNow),
            ] {
                let kind = ApiError::of_answer(what, code, body.as_bytes(), None).kind;
                assert_eq!(kind, expected, "{what} {code}");
            }
        }
    }

    #[test]
    fn a_missing_permission_names_verb_resource_and_what_the_role_needs() {
        let body = r#"{"code":403,"reason":"Forbidden","message":"jobs.batch is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"jobs\" in API group \"batch\" in the namespace \"default\""}"#;
        let said = fault(403, body).message;
        assert!(said.contains("cannot create resource \"jobs\""), "{said}");
        assert!(said.contains("Role needs"), "{said}");
    }

    #[test]
    fn the_wait_that_the_server_wants_is_taken_from_the_header_or_from_the_body() {
        let body = br#"{"code":429,"details":{"retryAfterSeconds":7}}"#;
        assert_eq!(ApiError::of_answer("x", 429, body, None).after, Some(Duration::from_secs(7)));
        let header = Some(Duration::from_secs(2));
        assert_eq!(ApiError::of_answer("x", 429, body, header).after, header);
        assert_eq!(fault(429, "").after, None);
    }
}
