//! How domain values look in columns.

use jiff::Timestamp;
use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef},
};

use crate::{
    domain::{
        ActorId, AgentId, AgentStatus, AppId, AppStatus, AuditId, GrantId, GrantKind, GrantStatus, JobId,
        KeyId, KeyStatus, Principal, ProviderId, ProviderKind, RunId, SecretId, SessionId, SessionKind,
        TokenGeneration, UserId, UserStatus, WebhookId,
    },
    seal::Sealed,
    store::StoreError,
};

macro_rules! id_columns {
    ($($name:ident)+) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.bytes())))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let bytes: [u8; 16] = value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)?;
                Ok(Self::from_uuid(uuid::Uuid::from_bytes(bytes)))
            }
        }
    )+};
}

id_columns! { AppId KeyId AgentId UserId GrantId SecretId TokenGeneration AuditId RunId ActorId JobId SessionId WebhookId }

macro_rules! number_columns {
    ($($name:ident { $($variant:ident = $number:literal),+ })+) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let number: i64 = match self { $(Self::$variant => $number,)+ };
                Ok(ToSqlOutput::Owned(Value::Integer(number)))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_i64()? {
                    $($number => Ok(Self::$variant),)+
                    other => Err(FromSqlError::OutOfRange(other)),
                }
            }
        }
    )+};
}

number_columns! {
    AppStatus { Active = 0, Suspended = 1 }
    AgentStatus { Active = 0, Inactive = 1, Revoked = 2 }
    KeyStatus { Active = 0, Deprecated = 1, Revoked = 2 }
    GrantStatus { Active = 0, Revoked = 1, Deleted = 2 }
    GrantKind { OAuth = 0, ManagedSecret = 1 }
    ProviderKind { OAuth = 0, ManagedSecret = 1 }
    SessionKind { Connect = 0, SignIn = 1 }
    UserStatus { Active = 0, Suspended = 1, Deleted = 2 }
}

impl ToSql for ProviderId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.as_str().as_bytes())))
    }
}

impl FromSql for ProviderId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

impl ToSql for Sealed {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

impl FromSql for Sealed {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self::from_bytes(value.as_blob()?.to_vec()))
    }
}

/// An instant, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Micros(pub(super) Timestamp);

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(self.0.as_microsecond())))
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        Timestamp::from_microsecond(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Reads an instant that must be there.
pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, Micros>(column).map(|value| value.0)
}

/// Reads an instant that may be missing.
pub(super) fn maybe_instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<Micros>>(column).map(|value| value.map(|value| value.0))
}

/// Reads a number that cannot be negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// A number for a column. Generations and places count single events, so they stay far below the limit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The two columns of a principal.
pub(super) fn principal_columns(principal: &Principal) -> (i64, &[u8]) {
    match principal {
        Principal::User(id) => (0, id.bytes()),
        Principal::Group(name) => (1, name.as_bytes()),
        Principal::System => (2, &[]),
        Principal::Agent(id) => (3, id.bytes()),
    }
}

/// Reads a principal from two neighbouring columns.
pub(super) fn principal(row: &Row<'_>, column: usize) -> rusqlite::Result<Principal> {
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, error);
    match row.get::<_, i64>(column)? {
        0 => row.get(column + 1).map(Principal::User),
        1 => {
            let bytes = row.get_ref(column + 1)?.as_blob()?;
            let name = std::str::from_utf8(bytes).map_err(|error| wrong(Box::new(error)))?;
            Ok(Principal::Group(name.to_owned()))
        }
        2 => Ok(Principal::System),
        3 => row.get(column + 1).map(Principal::Agent),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, other)),
    }
}

/// Scopes in one text column. A scope has no control characters (spec/01 §5.1), so a line end separates them.
pub(super) fn scopes_text(scopes: &[String]) -> String {
    scopes.join("\n")
}

/// Reads what [`scopes_text`] wrote.
pub(super) fn scopes(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => Self::Corrupt(error.to_string()),
            other => Self::Unavailable { what: "a statement", source: Box::new(other) },
        }
    }
}
