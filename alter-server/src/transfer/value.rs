//! A value of a column, the same whichever store it came from.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value as Json;

use super::tables::Table;

/// What kind of value a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 16 bytes.
    Uuid,
    Bytes,
    /// 64 bits, signed.
    Int,
    Text,
    Bool,
}

impl Kind {
    /// As it is called in a file.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Bytes => "bytes",
            Self::Int => "int",
            Self::Text => "text",
            Self::Bool => "bool",
        }
    }
}

/// A value. The order is that of both stores: bytes and texts by their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uuid([u8; 16]),
    Text(String),
    Bytes(Vec<u8>),
}

/// Shows no content: rows hold what users are called.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(value) => write!(f, "Bool({value})"),
            Self::Int(value) => write!(f, "Int({value})"),
            Self::Uuid(value) => write!(f, "Uuid({})", uuid::Uuid::from_bytes(*value)),
            Self::Text(value) => write!(f, "Text({} bytes)", value.len()),
            Self::Bytes(value) => write!(f, "Bytes({} bytes)", value.len()),
        }
    }
}

/// A row: its values in the order of the table's columns.
pub(crate) type Row = Vec<Value>;

impl Value {
    /// As JSON; which kind it is, the column says.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uuid(value) => Json::from(uuid::Uuid::from_bytes(*value).to_string()),
            Self::Text(value) => Json::from(value.as_str()),
            Self::Bytes(value) => Json::from(BASE64.encode(value)),
        }
    }

    /// Reads what [`Self::to_json`] wrote.
    pub(crate) fn from_json(json: Json, kind: Kind) -> Option<Self> {
        Some(match (json, kind) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(value), Kind::Bool) => Self::Bool(value),
            (Json::Number(value), Kind::Int) => Self::Int(value.as_i64()?),
            (Json::String(value), Kind::Uuid) => Self::Uuid(value.parse::<uuid::Uuid>().ok()?.into_bytes()),
            (Json::String(value), Kind::Text) => Self::Text(value),
            (Json::String(value), Kind::Bytes) => Self::Bytes(BASE64.decode(value).ok()?),
            _ => return None,
        })
    }

    /// Appends it so that no two sequences of values have the same bytes: a tag, and the length where it varies.
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, bytes): (u8, &[u8]) = match self {
            Self::Null => return out.push(0),
            Self::Bool(value) => return out.extend_from_slice(&[1, u8::from(*value)]),
            Self::Int(value) => {
                out.push(2);
                return out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Uuid(value) => {
                out.push(3);
                return out.extend_from_slice(value);
            }
            Self::Text(value) => (4, value.as_bytes()),
            Self::Bytes(value) => (5, value),
        };
        out.push(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    }
}

/// SHA-256 over the rows of a table, in the order of its key.
pub(crate) struct TableDigest {
    context: digest::Context,
    scratch: Vec<u8>,
    pub(crate) rows: u64,
}

impl TableDigest {
    pub(crate) fn new(table: &Table) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"alter-table-v1\n");
        context.update(table.name.as_bytes());
        for column in table.columns {
            context.update(b"\n");
            context.update(column.name.as_bytes());
        }
        context.update(b"\n\n");
        Self { context, scratch: Vec::new(), rows: 0 }
    }

    pub(crate) fn add(&mut self, row: &[Value]) {
        self.scratch.clear();
        for value in row {
            value.encode(&mut self.scratch);
        }
        self.context.update(&self.scratch);
        self.rows += 1;
    }

    pub(crate) fn finish(self) -> String {
        hex::encode(self.context.finish())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = (Value, Kind)> {
        prop_oneof![
            any::<bool>().prop_map(|value| (Value::Bool(value), Kind::Bool)),
            any::<i64>().prop_map(|value| (Value::Int(value), Kind::Int)),
            any::<[u8; 16]>().prop_map(|value| (Value::Uuid(value), Kind::Uuid)),
            any::<String>().prop_map(|value| (Value::Text(value), Kind::Text)),
            any::<Vec<u8>>().prop_map(|value| (Value::Bytes(value), Kind::Bytes)),
            Just((Value::Null, Kind::Text)),
        ]
    }

    proptest! {
        #[test]
        fn a_value_comes_back_from_a_file((value, kind) in values()) {
            let line = serde_json::to_string(&value.to_json()).unwrap();
            prop_assert!(!line.contains('\n'));
            let back = Value::from_json(serde_json::from_str(&line).unwrap(), kind);
            prop_assert_eq!(back, Some(value));
        }

        #[test]
        fn rows_that_differ_are_encoded_differently(
            a in prop::collection::vec(values().prop_map(|(value, _)| value), 0..4),
            b in prop::collection::vec(values().prop_map(|(value, _)| value), 0..4),
        ) {
            let encode = |row: &[Value]| {
                let mut out = Vec::new();
                row.iter().for_each(|value| value.encode(&mut out));
                out
            };
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }
    }

    #[test]
    fn what_users_are_called_is_not_shown() {
        let row = vec![Value::Text("canary".to_owned()), Value::Bytes(b"canary".to_vec())];
        assert!(!format!("{row:?}").contains("canary"));
    }
}
