//! How domain values look in columns, and statements with typed parameters.
//!
//! Every statement is unnamed and says the types of its parameters: nothing stays prepared on the server between
//! transactions, so `PgBouncer` in transaction mode may hand each of them to another server connection.

use bytes::BytesMut;
use jiff::Timestamp;
use tokio_postgres::{
    Client, Row,
    error::SqlState,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
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

type Fault = Box<dyn std::error::Error + Sync + Send>;
/// A parameter and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A value whose column type is known.
pub(super) trait Typed: ToSql + Sync {
    const TYPE: Type;
}

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Typed> Typed for &T {
    const TYPE: Type = T::TYPE;
}

macro_rules! typed {
    ($($name:ty = $kind:ident)+) => {$( impl Typed for $name { const TYPE: Type = Type::$kind; } )+};
}

typed! {
    bool = BOOL
    i16 = INT2
    i32 = INT4
    i64 = INT8
    String = TEXT
    &str = TEXT
    &[u8] = BYTEA
    Vec<i16> = INT2_ARRAY
    Vec<GrantId> = UUID_ARRAY
    Vec<&[u8]> = BYTEA_ARRAY
}

pub(super) fn parameter<T: Typed>(value: &T) -> Parameter<'_> {
    (value, T::TYPE)
}

macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::postgres::columns::parameter(&$value)),*] };
}
pub(super) use params;

/// Rows of a query.
pub(super) async fn rows(sql: &Client, text: &str, params: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
    Ok(sql.query_typed(text, params).await?)
}

/// The first row of a query, if there is one.
pub(super) async fn maybe_row(
    sql: &Client,
    text: &str,
    params: &[Parameter<'_>],
) -> Result<Option<Row>, StoreError> {
    Ok(rows(sql, text, params).await?.into_iter().next())
}

/// Runs a statement and answers how many rows it touched.
pub(super) async fn execute(sql: &Client, text: &str, params: &[Parameter<'_>]) -> Result<u64, StoreError> {
    Ok(sql.execute_typed(text, params).await?)
}

/// Reads a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        StoreError::Corrupt(format!("{error}{}", cause.unwrap_or_default()))
    })
}

macro_rules! id_columns {
    ($($name:ident)+) => {$(
        impl Typed for $name {
            const TYPE: Type = Type::UUID;
        }

        impl ToSql for $name {
            fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
                out.extend_from_slice(self.bytes());
                Ok(IsNull::No)
            }

            fn accepts(kind: &Type) -> bool {
                *kind == Type::UUID
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                Ok(Self::from_uuid(uuid::Uuid::from_slice(raw)?))
            }

            fn accepts(kind: &Type) -> bool {
                *kind == Type::UUID
            }
        }
    )+};
}

/// A UUID that has no type of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlainId(uuid::Uuid);

impl PlainId {
    pub(super) const fn from_uuid(id: uuid::Uuid) -> Self {
        Self(id)
    }

    pub(super) const fn uuid(self) -> uuid::Uuid {
        self.0
    }

    const fn bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

id_columns! { AppId KeyId AgentId UserId GrantId SecretId TokenGeneration AuditId RunId ActorId PlainId JobId SessionId WebhookId }

macro_rules! number_columns {
    ($($name:ident { $($variant:ident = $number:literal),+ })+) => {$(
        impl Typed for $name {
            const TYPE: Type = Type::INT2;
        }

        impl ToSql for $name {
            fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
                let number: i16 = match self { $(Self::$variant => $number,)+ };
                number.to_sql(kind, out)
            }

            fn accepts(kind: &Type) -> bool {
                *kind == Type::INT2
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
                match i16::from_sql(kind, raw)? {
                    $($number => Ok(Self::$variant),)+
                    other => Err(format!("{other} is no state that this program knows").into()),
                }
            }

            fn accepts(kind: &Type) -> bool {
                *kind == Type::INT2
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

impl Typed for ProviderId {
    const TYPE: Type = Type::TEXT;
}

impl ToSql for ProviderId {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        self.as_str().to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for ProviderId {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(<&str>::from_sql(kind, raw)?.parse()?)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT
    }
}

impl Typed for Sealed {
    const TYPE: Type = Type::BYTEA;
}

impl ToSql for Sealed {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        self.as_bytes().to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Sealed {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self::from_bytes(raw.to_vec()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA
    }
}

/// An instant, in microseconds.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// Reads an instant that must be there.
pub(super) fn instant(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    maybe_instant(row, column)?.ok_or_else(|| StoreError::Corrupt("an instant is missing".to_owned()))
}

/// Reads an instant that may be missing.
pub(super) fn maybe_instant(row: &Row, column: usize) -> Result<Option<Timestamp>, StoreError> {
    let number: Option<i64> = get(row, column)?;
    let read = |number| {
        Timestamp::from_microsecond(number)
            .map_err(|_| StoreError::Corrupt(format!("{number} is not an instant")))
    };
    number.map(read).transpose()
}

/// Reads a number that cannot be negative.
pub(super) fn count(row: &Row, column: usize) -> Result<u64, StoreError> {
    let number: i64 = get(row, column)?;
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} where a count should be")))
}

/// Reads a small number that cannot be negative.
pub(super) fn small(row: &Row, column: usize) -> Result<Option<u32>, StoreError> {
    let number: Option<i64> = get(row, column)?;
    number
        .map(u32::try_from)
        .transpose()
        .map_err(|_| StoreError::Corrupt("a number is out of its range".to_owned()))
}

/// Reads a hash.
pub(super) fn hash(row: &Row, column: usize) -> Result<[u8; 32], StoreError> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash is not 32 bytes long".to_owned()))
}

/// A number for a column. Generations and places count single events, so they stay far below the limit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The two columns of a principal.
pub(super) fn principal_columns(principal: &Principal) -> (i16, &[u8]) {
    match principal {
        Principal::User(id) => (0, id.bytes()),
        Principal::Group(name) => (1, name.as_bytes()),
        Principal::System => (2, &[]),
        Principal::Agent(id) => (3, id.bytes()),
    }
}

/// Reads a principal from two neighbouring columns.
pub(super) fn principal(row: &Row, column: usize) -> Result<Principal, StoreError> {
    let wrong = || StoreError::Corrupt("a grant's principal cannot be read".to_owned());
    let bytes: &[u8] = get(row, column + 1)?;
    let id = || uuid::Uuid::from_slice(bytes).map_err(|_| wrong());
    match get::<i16>(row, column)? {
        0 => Ok(Principal::User(UserId::from_uuid(id()?))),
        1 => Ok(Principal::Group(str::from_utf8(bytes).map_err(|_| wrong())?.to_owned())),
        2 => Ok(Principal::System),
        3 => Ok(Principal::Agent(AgentId::from_uuid(id()?))),
        _ => Err(wrong()),
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

/// The database's own error, if it answered.
pub(super) fn state(error: &StoreError) -> Option<&SqlState> {
    let StoreError::Unavailable { source, .. } = error else { return None };
    source.downcast_ref::<tokio_postgres::Error>()?.code()
}

/// A statement met a row that a unique index does not allow twice.
pub(super) fn taken(error: StoreError, text: impl FnOnce() -> String) -> StoreError {
    if state(&error) == Some(&SqlState::UNIQUE_VIOLATION) { StoreError::Conflict(text()) } else { error }
}

/// The same, with an error of the caller's.
pub(super) fn taken_as(error: StoreError, other: impl FnOnce() -> StoreError) -> StoreError {
    if state(&error) == Some(&SqlState::UNIQUE_VIOLATION) { other() } else { error }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            // A NUL character: PostgreSQL's texts cannot hold one.
            Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE | &SqlState::UNTRANSLATABLE_CHARACTER) => {
                Self::Invalid("a text holds a NUL character: leave it out".to_owned())
            }
            Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => {
                Self::Invalid("a name is longer than the database can look up".to_owned())
            }
            _ => Self::Unavailable { what: "a statement", source: Box::new(error) },
        }
    }
}
