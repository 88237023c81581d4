//! The ways in which a token endpoint misbehaves.

use std::str::FromStr;

use serde::Serialize;

/// How the token endpoint misbehaves.
///
/// What matters to whoever holds a refresh token is whether the request was carried out, that is, whether a
/// rotating token has been spent: [`TokenFault::carries_out`] says so for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenFault {
    /// It does not.
    #[default]
    None,

    /// 400 `invalid_grant`, whatever was presented. Nothing is carried out.
    InvalidGrant,
    /// 401 `invalid_client`, whatever was presented: somebody changed the application's secret. Nothing is
    /// carried out.
    InvalidClient,
    /// 500 with a JSON error. Nothing is carried out.
    ServerError,
    /// 503 with the JSON error `temporarily_unavailable`, and `Retry-After` if [`Faults::retry_after`] is set.
    /// Nothing is carried out.
    ///
    /// [`Faults::retry_after`]: crate::Faults::retry_after
    TemporarilyUnavailable,
    /// 429 with a JSON error, and `Retry-After` if [`Faults::retry_after`] is set. Nothing is carried out.
    ///
    /// [`Faults::retry_after`]: crate::Faults::retry_after
    TooManyRequests,
    /// 200 with `{"ok":false,"error":…}`, as Slack answers; the text is [`Faults::ok_error`]. Nothing is carried
    /// out.
    ///
    /// [`Faults::ok_error`]: crate::Faults::ok_error
    OkWithError,
    /// A firewall in front of the provider answers 403 with an HTML page. Nothing is carried out.
    Html403,
    /// Something in front of the provider answers 200 with an HTML page. Nothing is carried out.
    HtmlOk,
    /// The connection is closed before a byte of an answer. Nothing is carried out, which the caller, who
    /// sees the same as with [`TokenFault::Drop`], cannot know.
    CutHeaders,

    /// The request is carried out, a refresh token spent and rotated, and then the connection is closed
    /// without an answer.
    Drop,
    /// The request is carried out, the head of the answer is sent, and the connection is closed before its body.
    CutBody,
    /// The request is carried out; the answer is cut in the middle, its `Content-Length` that of the cut.
    Truncated,
    /// The request is carried out; the answer is 200 and `application/json`, and its bytes are not even text.
    Garbage,
    /// The request is carried out; ten million bytes of JSON stand before the tokens, without a
    /// `Content-Length`.
    Huge,
    /// The request is carried out; 4,096 spaces, which JSON allows, come before the answer, one every
    /// [`Faults::trickle_ms`].
    ///
    /// [`Faults::trickle_ms`]: crate::Faults::trickle_ms
    Trickle,

    /// The request is carried out; the answer has no `expires_in` (RFC 6749 §5.1 only recommends it).
    NoExpiry,
    /// The request is carried out; `expires_in` is a string of digits.
    ExpiresInString,
    /// The request is carried out; the answer has no `refresh_token`. Without rotation the one that was
    /// presented stays good, as with Google; with rotation the new one is lost.
    NoRefreshToken,
    /// The request is carried out; `refresh_token` is the empty string. What is good is as with
    /// [`TokenFault::NoRefreshToken`].
    EmptyRefreshToken,
}

impl TokenFault {
    /// Every one of them, [`TokenFault::None`] first.
    pub const ALL: [Self; 20] = [
        Self::None,
        Self::InvalidGrant,
        Self::InvalidClient,
        Self::ServerError,
        Self::TemporarilyUnavailable,
        Self::TooManyRequests,
        Self::OkWithError,
        Self::Html403,
        Self::HtmlOk,
        Self::CutHeaders,
        Self::Drop,
        Self::CutBody,
        Self::Truncated,
        Self::Garbage,
        Self::Huge,
        Self::Trickle,
        Self::NoExpiry,
        Self::ExpiresInString,
        Self::NoRefreshToken,
        Self::EmptyRefreshToken,
    ];

    /// The name on the control endpoint.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::TooManyRequests => "too_many_requests",
            Self::OkWithError => "ok_with_error",
            Self::Html403 => "html403",
            Self::HtmlOk => "html_ok",
            Self::CutHeaders => "cut_headers",
            Self::Drop => "drop",
            Self::CutBody => "cut_body",
            Self::Truncated => "truncated",
            Self::Garbage => "garbage",
            Self::Huge => "huge",
            Self::Trickle => "trickle",
            Self::NoExpiry => "no_expiry",
            Self::ExpiresInString => "expires_in_string",
            Self::NoRefreshToken => "no_refresh_token",
            Self::EmptyRefreshToken => "empty_refresh_token",
        }
    }

    /// Whether the endpoint does what it was asked before it misbehaves: with rotation the refresh token is
    /// then spent, whatever the caller gets to read.
    #[must_use]
    pub fn carries_out(self) -> bool {
        match self {
            Self::InvalidGrant
            | Self::InvalidClient
            | Self::ServerError
            | Self::TemporarilyUnavailable
            | Self::TooManyRequests
            | Self::OkWithError
            | Self::Html403
            | Self::HtmlOk
            | Self::CutHeaders => false,
            Self::None
            | Self::Drop
            | Self::CutBody
            | Self::Truncated
            | Self::Garbage
            | Self::Huge
            | Self::Trickle
            | Self::NoExpiry
            | Self::ExpiresInString
            | Self::NoRefreshToken
            | Self::EmptyRefreshToken => true,
        }
    }
}

impl FromStr for TokenFault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.as_str() == name);
        known.ok_or_else(|| format!("token_fault is one of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::TokenFault;

    #[test]
    fn every_fault_goes_by_one_name_everywhere() {
        for fault in TokenFault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }
}
