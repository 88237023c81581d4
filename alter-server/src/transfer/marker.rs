//! The mark of a vault that is being moved: neither side of an unfinished move may be served, nor a source afterwards.

use jiff::Timestamp;

/// The table that holds it; there only while it is needed.
pub(crate) const TABLE: &str = "alter_moves";

/// What the vault is in the move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The source, while it is copied.
    Moving,
    /// The source, once everything is at the target.
    Moved,
    /// The target, until everything is there.
    Filling,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Moving => "moving",
            Self::Moved => "moved",
            Self::Filling => "filling",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Moving, Self::Moved, Self::Filling].into_iter().find(|role| role.as_str() == text)
    }
}

/// The mark. Both sides of a move have the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) id: String,
    pub(crate) role: Role,
    /// The other side, without a password.
    pub(crate) peer: String,
    /// When the move was begun, UTC.
    pub(crate) at: Timestamp,
}

impl Marker {
    /// Why the vault is not opened.
    pub(crate) fn refusal(&self) -> String {
        let Self { peer, at, .. } = self;
        match self.role {
            Role::Moving => format!(
                "this vault is being moved to {peer} since {at}: run the same `alter-server migrate` again to finish, or \
                 `alter-server reopen` to give the move up"
            ),
            Role::Moved => format!(
                "this vault was moved to {peer} on {at}: serve it there. (`alter-server reopen` opens this one again, if that \
                 one will not be used any more)"
            ),
            Role::Filling => format!(
                "this is an unfinished copy of {peer}, begun {at}: run the same `alter-server migrate` or `alter-server import` \
                 again to finish it"
            ),
        }
    }
}
