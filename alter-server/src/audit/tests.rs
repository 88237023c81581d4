use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::{ActorId, AgentId, AppId, AuditId, GrantId, KeyId, RunId, TokenGeneration, UserId};

fn id(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

fn run() -> RunId {
    RunId::from_uuid(id(9))
}

fn app() -> AppId {
    AppId::from_uuid(id(8))
}

/// A chain of `length` rows with every field set.
fn chain(length: u8) -> (Vec<AuditRow>, ChainRecord) {
    let mut head = ChainHead::genesis(app(), run());
    let mut scratch = Vec::new();
    let text = |text: &str| Some(text.to_owned());
    let rows = (0..length)
        .map(|number| {
            let at = Timestamp::from_second(1_767_225_600 + i64::from(number)).unwrap();
            let mut row = AuditRow::draft(app(), at, Action::TokenReleased, Outcome::Allowed);
            row.chain = run();
            row.code = text("code");
            row.key_id = Some(KeyId::from_uuid(id(1)));
            row.key_prefix = text("alter_rk_abcd");
            row.caller = text("caller");
            row.caller_type = text("service");
            row.actor_id = Some(ActorId::from_uuid(id(2)));
            row.agent_id = Some(AgentId::from_uuid(id(3)));
            row.principal = text("system");
            row.app_user_id = Some(UserId::from_uuid(id(4)));
            row.grant_id = Some(GrantId::from_uuid(id(5)));
            row.provider = text("google");
            row.account = text("a@x");
            row.method = text("GET");
            row.url = text("https://h/");
            row.status = Some(200);
            row.latency_ms = Some(12);
            row.reason = text("because");
            row.context = text("{}");
            row.token_generation = Some(TokenGeneration::from_uuid(id(6)));
            row.request_id = Some(id(7));
            row.trace_parent = text("00-1-1-00");
            row.remote = text("127.0.0.1");
            row.detail = text("detail");
            row.bodies_digest = Some([3; 32]);
            head.append(&mut row, &mut scratch);
            row
        })
        .collect();
    (rows, ChainRecord { app_id: app(), chain: run(), head, closed: true })
}

fn verify(rows: &[AuditRow], record: ChainRecord) -> VerifyReport {
    let mut verifier = Verifier::new([record], []);
    for row in rows {
        verifier.push(row);
    }
    verifier.finish()
}

type Change = fn(&mut AuditRow);

/// One change for each field there is.
const CHANGES: [(&str, Change); 33] = [
    ("id", |row| row.id = AuditId::from_uuid(id(0))),
    ("app_id", |row| row.app_id = AppId::from_uuid(id(0))),
    ("chain", |row| row.chain = RunId::from_uuid(id(0))),
    ("seq", |row| row.seq += 1),
    ("at", |row| row.at = Timestamp::from_microsecond(row.at.as_microsecond() + 1).unwrap()),
    ("action", |row| row.action = Action::TokenRefused),
    ("outcome", |row| row.outcome = Outcome::Refused),
    ("code", |row| row.code = None),
    ("key_id", |row| row.key_id = None),
    ("key_prefix", |row| row.key_prefix = None),
    ("caller", |row| row.caller = Some(String::new())),
    ("caller_type", |row| row.caller_type = None),
    ("actor_id", |row| row.actor_id = None),
    ("agent_id", |row| row.agent_id = None),
    ("principal", |row| row.principal = Some("systen".to_owned())),
    ("app_user_id", |row| row.app_user_id = None),
    ("grant_id", |row| row.grant_id = None),
    ("provider", |row| row.provider = None),
    ("account", |row| row.account = None),
    ("method", |row| row.method = Some("PUT".to_owned())),
    ("url", |row| row.url = Some("https://h".to_owned())),
    ("status", |row| row.status = Some(201)),
    ("latency_ms", |row| row.latency_ms = None),
    ("reason", |row| row.reason = None),
    ("context", |row| row.context = None),
    ("token_generation", |row| row.token_generation = None),
    ("request_id", |row| row.request_id = None),
    ("trace_parent", |row| row.trace_parent = None),
    ("remote", |row| row.remote = None),
    ("detail", |row| row.detail = Some(String::new())),
    ("bodies_digest", |row| row.bodies_digest = None),
    ("prev_hash", |row| row.prev_hash[0] ^= 1),
    ("hash", |row| row.hash[31] ^= 1),
];

#[test]
fn an_untouched_chain_verifies() {
    for length in [0, 1, 2, 20] {
        let (rows, record) = chain(length);
        let report = verify(&rows, record);
        assert!(report.ok(), "{report:?}");
        assert_eq!((report.rows(), report.chains[0].closed), (u64::from(length), true));
    }
}

proptest! {
    #[test]
    fn every_tampering_is_found(kind in 0..5_usize, a in 0..12_usize, b in 0..12_usize, field in 0..33_usize) {
        let (mut rows, record) = chain(12);
        let place = match kind {
            0 => { CHANGES[field].1(&mut rows[a]); a }
            1 => { rows.remove(a); a }
            2 => { prop_assume!(a != b); rows.swap(a, b); a.min(b) }
            3 => { rows.truncate(a); a }
            _ => { let copy = rows[a].clone(); rows.insert(b, copy); b.min(a + 1) }
        };
        let report = verify(&rows, record);
        prop_assert!(!report.ok(), "kind {} field {}", kind, CHANGES[field].0);
        let fault = report.chains.iter().find(|c| c.chain == run() && c.app_id == app()).unwrap().fault.as_ref();
        // The chain itself is at fault, and not before the place that was touched.
        prop_assert!(fault.is_some_and(|fault| fault.seq > place as u64));
    }

    /// A writer who may compute hashes but not the recorded end cannot replace the last rows unnoticed.
    #[test]
    fn rows_written_anew_do_not_reach_the_recorded_end(a in 0..12_usize) {
        let (mut rows, record) = chain(12);
        let mut head = match a {
            0 => ChainHead::genesis(app(), run()),
            _ => ChainHead { seq: rows[a - 1].seq, hash: rows[a - 1].hash },
        };
        for row in &mut rows[a..] {
            row.reason = Some("forged".to_owned());
            head.append(row, &mut Vec::new());
        }
        prop_assert!(!verify(&rows, record).ok());
    }
}

#[test]
fn a_row_of_an_unknown_chain_is_found() {
    let (rows, record) = chain(3);
    let mut verifier = Verifier::new([], []);
    verifier.push(&rows[0]);
    assert!(!verifier.finish().ok());
    let mut verifier = Verifier::new([record], []);
    verifier.push_unreadable(app(), run(), "unknown action");
    assert!(!verifier.finish().ok());
}

#[test]
fn texts_are_cut_before_they_are_hashed() {
    let (mut rows, _) = chain(1);
    let mut row = rows.remove(0);
    row.reason = Some("é".repeat(4000));
    let mut head = ChainHead::genesis(app(), run());
    head.append(&mut row, &mut Vec::new());
    assert_eq!(row.reason.as_deref().map(str::len), Some(2048));
    assert_eq!(row.hash, row.computed_hash(&mut Vec::new()));
}

#[test]
fn the_debug_form_of_a_report_shows_nothing_that_a_client_sent_along() {
    let canary = || Some("s3cret".to_owned());
    let report = super::CallReport {
        url: "https://u:s3cret@h.example/?token=s3cret".to_owned(),
        request_headers: canary(),
        request_body: canary(),
        response_headers: canary(),
        response_body: canary(),
        ..super::CallReport::default()
    };
    let facts = crate::store::RequestFacts::new("GET", &report.url);
    let shown = format!("{report:?} {:?} {facts:?}", report.bodies());
    assert!(!shown.contains("s3cret"), "{shown}");
}
