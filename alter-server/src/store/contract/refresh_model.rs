//! The rules of the refresh model's store (`tests/model/src/row.rs`), played against the real one: random sequences of
//! operations, each answer compared. What the exhaustive search shows of the rules is so far true of this store.

use std::time::{Duration, Instant};

use alter_refresh_model::{
    Broken, Config,
    provider::Manners,
    row::{self, Death, Lease, Row},
};
use uuid::Uuid;

use super::*;
use crate::{
    domain::{CredentialVersion, FailureCode, RefreshFailure},
    store::refresh::{BeginRefresh, Begun, FinishRefresh, Finished, LeaseRef, RefreshEnd},
};

/// A lease that is over when it is taken.
const OVER: Duration = Duration::from_micros(1);
/// A lease and a pause that outlast the test.
const LONG: Duration = Duration::from_secs(3600);
/// How much two clocks of one machine can be apart.
const SLACK: Duration = Duration::from_millis(5);

/// One operation. Numbers choose among what is there.
#[derive(Debug, Clone, Copy)]
enum Operation {
    /// One of three owners asks for the lease of the present generation, or of the one before.
    Begin {
        owner: usize,
        stale: bool,
        over: bool,
        despite_backoff: bool,
    },
    /// An owner is killed and comes back under another name.
    Rename {
        owner: usize,
    },
    /// The holder of one of the last leases renews it.
    Renew {
        lease: usize,
    },
    /// The last lease's time is over.
    RunOut,
    /// The holder of one of the last leases ends its refresh.
    Finish {
        lease: usize,
        how: u32,
    },
    Import,
    Revoke,
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % sides
    }

    fn operation(&mut self) -> Operation {
        let owner = self.roll(3) as usize;
        let lease = self.roll(3) as usize;
        match self.roll(100) {
            0..40 => Operation::Begin {
                owner,
                stale: self.roll(8) == 0,
                over: self.roll(2) == 0,
                despite_backoff: self.roll(4) > 0,
            },
            40..46 => Operation::Rename { owner },
            46..58 => Operation::Renew { lease },
            58..68 => Operation::RunOut,
            68..93 => Operation::Finish { lease, how: self.roll(12) },
            93..99 => Operation::Import,
            _ => Operation::Revoke,
        }
    }
}

#[derive(Clone, Copy)]
struct Owner {
    name: Uuid,
    /// Fence and length of the last lease in this name.
    last: u8,
    asked_for: Duration,
}

impl Owner {
    fn new() -> Self {
        Self { name: Uuid::new_v4(), last: 0, asked_for: LONG }
    }
}

/// The real grant and the model's.
struct Both<'a> {
    world: &'a World,
    config: Config,
    row: Row,
    /// The provider's newest pair.
    newest: u8,
    version: CredentialVersion,
    owners: [Owner; 3],
    leases: Vec<(LeaseRef, u8, u8)>,
    /// Before and after the note was first written.
    noted: Option<(Instant, Instant)>,
}

impl Both<'_> {
    async fn import(&mut self, app_id: AppId) -> CredentialVersion {
        let owner = ImportOwner::Identity(identity("u1"));
        let import = self.world.import_of(app_id, owner, "a@x", &self.newest.to_string());
        let grant = self.world.store.import_grant(self.world.operator(), import).await.unwrap().grant;
        CredentialVersion { app_id, grant_id: grant.facts.id, generation: grant.generation }
    }

    async fn play(&mut self, operation: Operation) -> Result<(), String> {
        match operation {
            Operation::Begin { owner, stale, over, despite_backoff } => {
                self.begin(owner, stale, over, despite_backoff).await?;
            }
            Operation::Rename { owner } => self.owners[owner] = Owner::new(),
            Operation::Renew { lease } => self.renew(lease, LONG).await?,
            Operation::RunOut => self.renew(0, Duration::ZERO).await?,
            Operation::Finish { lease, how } => self.finish(lease, how).await?,
            Operation::Import if !self.row.revoked => {
                self.newest += 1;
                self.row.import(self.newest);
                self.version = self.import(self.version.app_id).await;
            }
            Operation::Import => {}
            Operation::Revoke => {
                self.row.revoked = true;
                let CredentialVersion { app_id, grant_id, .. } = self.version;
                let by = self.world.operator();
                self.world.store.revoke_grant_as_operator(by, app_id, grant_id, None).await.unwrap();
            }
        }
        let CredentialVersion { app_id, grant_id, .. } = self.version;
        let health = self.world.store.grant_health(app_id, grant_id).await.unwrap();
        let found = (health.generation, health.needs_reconnect);
        same("generation and latch", &(u64::from(self.row.generation), self.row.dead.is_some()), &found)
    }

    async fn begin(
        &mut self,
        owner: usize,
        stale: bool,
        over: bool,
        despite_backoff: bool,
    ) -> Result<(), String> {
        let asker = self.owners[owner];
        let generation = self.row.generation - u8::from(stale && self.row.generation > 1);
        let own = asker.last == self.row.fence && self.row.lease != Lease::Free;
        // PostgreSQL lets a holder live for a lease's time after its own start, counted by the lease that is asked for.
        let lease = match self.row.lease {
            _ if own => asker.asked_for,
            Lease::RunOut => OVER,
            _ if over => OVER,
            _ => LONG,
        };
        let before = Instant::now();
        let version = CredentialVersion { generation: generation.into(), ..self.version };
        let begin = BeginRefresh { version, owner: asker.name, lease, despite_backoff };
        let found = self.world.store.begin_refresh(begin).await.unwrap();
        let after = Instant::now();

        let pause = self.row.pause;
        self.row.pause = pause && !despite_backoff;
        let expected = self.row.begin(&self.config, generation, asker.last);
        self.row.pause = pause;
        let row::Begun::Taken(taken) = expected else {
            let found = match found {
                Begun::Taken(_) => "taken",
                Begun::Moved => "moved",
                Begun::Held { .. } => "held",
                Begun::Pause { .. } => "pause",
                Begun::Impossible(_) => "impossible",
            };
            let expected = match expected {
                row::Begun::Moved => "moved",
                row::Begun::Held => "held",
                row::Begun::Pause => "pause",
                row::Begun::Taken(_) | row::Begun::Impossible => "impossible",
            };
            return same("begin", expected, found);
        };
        let Begun::Taken(lease_found) = found else {
            return Err(format!("begin: the model takes the lease, the store says {found:?}"));
        };
        if lease == OVER {
            self.row.lease = Lease::RunOut;
        }
        self.owners[owner] = Owner { last: taken.fence, asked_for: lease, ..asker };
        self.leases.push((lease_found.name(), generation, taken.fence));
        same("fence", &u64::from(taken.fence), &lease_found.fence)?;
        same("rotates", &taken.rotates, &lease_found.seen_rotating)?;
        let opened = self.world.envelope.open(&lease_found.refresh_token).unwrap();
        let opened = String::from_utf8(opened.expose_secret().to_vec()).unwrap();
        same("refresh token", &format!("refresh-{}", taken.refresh_token), &opened)?;
        same("doubt", &taken.doubt, &lease_found.unresolved_since.is_some())?;
        match (lease_found.unresolved_since, self.noted) {
            (Some(since), Some((from, until))) => {
                let (least, most) = (before.duration_since(until), after.duration_since(from));
                if since + SLACK < least || since > most + SLACK {
                    return Err(format!(
                        "the note is {since:?} old, and was written {least:?} to {most:?} ago"
                    ));
                }
            }
            _ => self.noted = Some((before, after)),
        }
        Ok(())
    }

    async fn renew(&mut self, lease: usize, lasts: Duration) -> Result<(), String> {
        let Some(&(name, generation, fence)) = self.leases.iter().rev().nth(lease) else {
            return Ok(());
        };
        let found = self.world.store.renew_refresh(name, lasts).await.unwrap();
        let expected = self.row.renew(generation, fence);
        if expected && lasts.is_zero() {
            self.row.lease = Lease::RunOut;
        }
        same("renew", &expected, &found)
    }

    async fn finish(&mut self, lease: usize, how: u32) -> Result<(), String> {
        let Some(&(name, generation, fence)) = self.leases.iter().rev().nth(lease) else {
            return Ok(());
        };
        let failed = |unresolved| {
            let failure = RefreshFailure::new(FailureCode::Misconfigured, "said the provider");
            let end = RefreshEnd::Failed { failure, retry_after: Some(LONG), unresolved };
            (end, row::End::Failed { unresolved })
        };
        let dead = |code, death| {
            (RefreshEnd::Dead { failure: RefreshFailure::new(code, "for good") }, row::End::Dead(death))
        };
        let (end, expected) = match how {
            0..6 => {
                self.newest += 1;
                let rotates = how < 4;
                let next = if rotates { self.newest } else { self.row.refresh_token };
                let text = rotates.then(|| format!("refresh-{next}"));
                let fresh = self.world.fresh(&format!("access-{}", self.newest), text.as_deref(), 3600);
                (RefreshEnd::Renewed(Box::new(fresh)), row::End::Renewed { pair: self.newest, next })
            }
            6..8 => failed(false),
            8..10 => failed(true),
            10 => dead(FailureCode::InvalidGrant, Death::Refused),
            _ => dead(FailureCode::RotationOutcomeUnknown, Death::Unknown),
        };
        let finish = FinishRefresh { lease: name, at: self.world.clock.now(), end };
        let found = self.world.store.finish_refresh(finish).await.unwrap();
        let expected = if self.row.finish(&self.config, generation, fence, expected) {
            Finished::Written { generation: self.row.generation.into() }
        } else {
            Finished::Overtaken
        };
        same("finish", &expected, &found)
    }
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: the model says {expected:?}, the store says {found:?}"))
}

/// Plays one sequence on a grant of its own.
async fn play(world: &World, seed: u32, broken: Option<Broken>) -> Result<(), String> {
    let config = Config {
        name: "",
        provider: Manners { rotates: true, window: false, detects: false },
        recovery: |_, _| false,
        faults: 0,
        generations: 0,
        revoke: false,
        import: false,
        report: false,
        never_dead: false,
        broken,
    };
    let app_id = world.app(&format!("model-{seed}-{broken:?}")).await.id;
    world.put_refreshing(app_id, "google").await;
    let version = CredentialVersion { app_id, grant_id: GrantId::random(), generation: 1 };
    let owners = [Owner::new(), Owner::new(), Owner::new()];
    let mut both =
        Both { world, config, row: Row::new(), newest: 1, version, owners, leases: Vec::new(), noted: None };
    both.version = both.import(app_id).await;
    let mut dice = Dice(u64::from(seed));
    let mut played = Vec::new();
    for _ in 0..40 {
        let operation = dice.operation();
        played.push(operation);
        both.play(operation).await.map_err(|difference| format!("seed {seed}: {difference}\n{played:#?}"))?;
    }
    Ok(())
}

/// Sequences that the store and the model are compared on.
const SEQUENCES: u32 = 24;

pub(crate) async fn the_model_says_what_the_store_does(world: &World) {
    for seed in 0..SEQUENCES {
        if let Err(difference) = play(world, seed, None).await {
            panic!("{difference}");
        }
    }
}

pub(crate) async fn a_model_of_another_store_is_told_apart(world: &World) {
    for broken in [
        Broken::NoFence,
        Broken::NoGeneration,
        Broken::DeathUnchecked,
        Broken::NoNote,
        Broken::DeadNotLatched,
        Broken::RevocationUnchecked,
    ] {
        let mut told = false;
        for seed in 0..4 * SEQUENCES {
            if play(world, seed, Some(broken)).await.is_err() {
                told = true;
                break;
            }
        }
        assert!(told, "nothing tells the store from one in which {}", broken.title());
    }
}
