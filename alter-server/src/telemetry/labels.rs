//! Labels whose values come from data, and how many of them a process may have.
//!
//! Each value of a label is a time series in every system that collects them. Providers are named by operators, so one with
//! thousands of apps could make thousands: beyond a limit the rest counts together.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::SharedString;

/// Values of one label in one process.
pub(super) const MOST: usize = 200;
/// What all others count as. A provider of that name counts with them once the places are taken.
pub(super) const OTHER: &str = "other";

/// The values that have a time series of their own: the first [`MOST`] that were seen.
#[derive(Debug, Default)]
pub(super) struct Values(RwLock<Option<HashSet<Arc<str>>>>);

impl Values {
    pub(super) const fn new() -> Self {
        Self(RwLock::new(None))
    }

    pub(super) fn of(&self, value: &str) -> SharedString {
        let known = |set: &Option<HashSet<Arc<str>>>| {
            let set = set.as_ref()?;
            let own = set.get(value).cloned().map(SharedString::from_shared);
            own.or_else(|| (set.len() >= MOST).then(|| SharedString::const_str(OTHER)))
        };
        if let Some(known) = known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return known;
        }
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&set) {
            return known;
        }
        let own: Arc<str> = value.into();
        set.get_or_insert_default().insert(Arc::clone(&own));
        SharedString::from_shared(own)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_first_two_hundred_have_their_own_and_the_rest_counts_together() {
        let values = Values::new();
        for n in 0..10_000 {
            let name = format!("p{n}");
            assert_eq!(*values.of(&name), *if n < MOST { name.as_str() } else { OTHER });
        }
        assert_eq!(&*values.of("p0"), "p0");
    }

    #[test]
    fn threads_that_come_first_together_do_not_go_beyond_the_limit() {
        let values = Values::new();
        thread::scope(|scope| {
            for thread in 0..8 {
                let values = &values;
                scope.spawn(move || (0..MOST).for_each(|n| drop(values.of(&format!("{thread}-{n}")))));
            }
        });
        assert_eq!(values.0.read().unwrap().as_ref().unwrap().len(), MOST);
    }
}
