//! Many users at once: nobody ever sees another's data, and a revocation counts for the very next call.

pub(crate) mod frameworks;
mod revocation;
