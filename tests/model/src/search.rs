//! Visits every state.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    Action, Config, World,
    promise::{Promise, is_settled},
    world::Next,
};

/// One step of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What happened.
    pub action: Action,
    /// What came of it; replicas keep their names along a trace.
    pub after: World,
}

/// What a search found.
#[derive(Debug)]
pub struct Explored {
    /// States, replicas that are alike counted as one.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Steps on the longest of the shortest ways.
    pub depth: usize,
    /// States in which the grant is latched as dead.
    pub dead: usize,
    /// The first broken promise and the shortest way to it.
    pub broken: Option<(Promise, Vec<Step>)>,
}

/// Visits all states of `config`, up to the first broken promise.
///
/// # Panics
///
/// When there are 2³² states or more.
#[must_use]
pub fn explore(config: &Config) -> Explored {
    let mut search = Search::new(World::new());
    let mut found = Vec::with_capacity(64);
    let mut dead = 0;
    let mut at = 0;
    let mut broken = None;
    'search: while at < search.states.len() {
        let world = search.states[at];
        dead += usize::from(world.row.dead.is_some());
        world.next(config, &mut found);
        for (action, after, breaks) in &found {
            let to = search.visit(after.canonical(), at);
            search.edges += 1;
            if action.is_certain() {
                search.certain.push((to, index(at)));
            }
            if let Some(promise) = breaks {
                broken = Some((*promise, search.trace(config, at, Some((*promise, *action)))));
                break 'search;
            }
        }
        at += 1;
    }
    if broken.is_none()
        && let Some(stuck) = search.stuck()
    {
        broken = Some((Promise::Progress, search.trace(config, stuck, None)));
    }
    let depth = search.depth();
    Explored { states: search.states.len(), steps: search.edges, depth, dead, broken }
}

/// The shortest way to a state that `wanted` names, over steps that `allowed` names.
#[must_use]
pub fn shortest_way(
    config: &Config,
    allowed: fn(Action) -> bool,
    wanted: fn(&World) -> bool,
) -> Option<Vec<Step>> {
    let mut search = Search::new(World::new());
    let mut found = Vec::with_capacity(64);
    let mut at = 0;
    while at < search.states.len() {
        let world = search.states[at];
        if wanted(&world) {
            return Some(search.trace(config, at, None));
        }
        world.next(config, &mut found);
        for (action, after, _) in &found {
            if allowed(*action) {
                search.visit(after.canonical(), at);
            }
        }
        at += 1;
    }
    None
}

struct Search {
    states: Vec<World>,
    parents: Vec<u32>,
    known: HashMap<World, u32, BuildHasherDefault<Mix>>,
    edges: usize,
    /// Steps that happen by themselves, (to, from).
    certain: Vec<(u32, u32)>,
}

#[expect(clippy::expect_used, reason = "documented at `explore`")]
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 states")
}

impl Search {
    fn new(first: World) -> Self {
        let mut search = Self {
            states: Vec::new(),
            parents: Vec::new(),
            known: HashMap::default(),
            edges: 0,
            certain: Vec::new(),
        };
        search.visit(first.canonical(), 0);
        search
    }

    fn visit(&mut self, world: World, from: usize) -> u32 {
        let next = index(self.states.len());
        match self.known.entry(world) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                free.insert(next);
                self.states.push(world);
                self.parents.push(index(from));
                next
            }
        }
    }

    /// A state from which no settled one can be reached by steps that happen by themselves, the first found.
    ///
    /// In a finite space this is as good as "eventually": whoever keeps taking possible steps without preferring any
    /// arrives, unless there is a set of states that cannot be left and has no settled one in it. Such a set would be found.
    fn stuck(&mut self) -> Option<usize> {
        self.certain.sort_unstable();
        let mut reaches = vec![false; self.states.len()];
        let mut queue: Vec<usize> =
            (0..self.states.len()).filter(|at| is_settled(&self.states[*at])).collect();
        for at in &queue {
            reaches[*at] = true;
        }
        while let Some(at) = queue.pop() {
            let to = index(at);
            let first = self.certain.partition_point(|(known, _)| *known < to);
            for (_, from) in self.certain[first..].iter().take_while(|(known, _)| *known == to) {
                let from = *from as usize;
                if !reaches[from] {
                    reaches[from] = true;
                    queue.push(from);
                }
            }
        }
        reaches.iter().position(|reaches| !reaches)
    }

    fn way(&self, mut at: usize) -> Vec<usize> {
        let mut way = vec![at];
        while at > 0 {
            at = self.parents[at] as usize;
            way.push(at);
        }
        way.reverse();
        way
    }

    fn depth(&self) -> usize {
        // Breadth first: the last state found is one of the farthest.
        self.way(self.states.len() - 1).len() - 1
    }

    /// The way to a state, walked again with replicas that keep their names.
    fn trace(&self, config: &Config, to: usize, last: Option<(Promise, Action)>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut world = World::new();
        let mut found: Vec<Next> = Vec::new();
        for at in &self.way(to)[1..] {
            world.next(config, &mut found);
            if let Some((action, after, _)) =
                found.iter().find(|(_, after, _)| after.canonical() == self.states[*at])
            {
                steps.push(Step { action: *action, after: *after });
                world = *after;
            }
        }
        if let Some((promise, _)) = last {
            world.next(config, &mut found);
            if let Some((action, after, _)) = found.iter().find(|(_, _, breaks)| *breaks == Some(promise)) {
                steps.push(Step { action: *action, after: *after });
            }
        }
        steps
    }
}

/// A fast hash for small states; nobody chooses them to collide.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(7) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
