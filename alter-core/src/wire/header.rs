//! Header names of the protocol (spec/01 §1.6, §2.2, §3, §8).

use http::HeaderName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    /// The API key, in clear beside the signature.
    API_KEY = "x-api-key";
    /// Unix seconds, decimal, of the moment of signing.
    TIMESTAMP = "x-alter-timestamp";
    /// 32 lower-case hex digits, never used twice.
    NONCE = "x-alter-nonce";
    /// Lower-case hex SHA-256 of the body bytes.
    CONTENT_SHA256 = "x-alter-content-sha256";
    /// Lower-case hex HMAC-SHA256 of the string to sign.
    SIGNATURE = "x-alter-signature";
    /// The same digest again, present exactly when an actor header is present.
    SIGNATURE_V2 = "x-alter-signature-v2";
    /// Scopes that narrow this request, joined with commas.
    SCOPE_CONSTRAINTS = "x-alter-scope-constraints";
    /// A rule that narrows this request, base64url JSON.
    REQUEST_RULE = "x-alter-request-rule";
    /// Who calls: a free label, or the UUID of a managed agent.
    CALLER = "x-alter-caller";
    /// `service` or `agent`.
    CALLER_TYPE = "x-alter-caller-type";
    /// The vault's stable id for a caller; sent by the vault, echoed by the client.
    ACTOR_ID = "x-alter-actor-id";
    /// Compact ASCII JSON object of strings that goes into the audit row.
    CONTEXT = "x-alter-context";
    /// `true` on every answer to a deprecated key.
    KEY_DEPRECATED = "x-alter-key-deprecated";
    /// Ceiling of the binding rate limit.
    RATE_LIMIT = "x-ratelimit-limit";
    /// Calls left in the window.
    RATE_REMAINING = "x-ratelimit-remaining";
    /// Unix seconds at which the window starts anew.
    RATE_RESET = "x-ratelimit-reset";
    /// The vault's id for one request, for support.
    REQUEST_ID = "x-request-id";
    /// W3C trace context; not signed.
    TRACEPARENT = "traceparent";
}
