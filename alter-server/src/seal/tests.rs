use std::{fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use uuid::Uuid;

use super::*;
use crate::domain::AppId;

const FIELDS: [Field; 6] = [
    Field::KeySigning,
    Field::ProviderClientSecret,
    Field::SecretMaterial,
    Field::GrantAccessToken,
    Field::GrantRefreshToken,
    Field::AuditBodies,
];

fn any_context() -> impl Strategy<Value = SealContext> {
    // Few distinct values, so that equal and nearly equal contexts are common.
    let row = prop_oneof![prop::collection::vec(0_u8..3, 0..4), prop::collection::vec(any::<u8>(), 16),];
    (0_u128..3, 0..FIELDS.len(), row, 0_u64..4).prop_map(|(app, field, row, generation)| SealContext {
        app_id: AppId::from_uuid(Uuid::from_u128(app)),
        field: FIELDS[field],
        row,
        generation,
    })
}

fn secret(bytes: &[u8]) -> SecretSlice<u8> {
    SecretSlice::from(bytes.to_vec())
}

fn entry(name: &str, byte: u8) -> String {
    use base64::Engine;
    format!("{name}:{}", base64::engine::general_purpose::STANDARD.encode([byte; 32]))
}

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(&SecretString::from(text)).unwrap()
}

proptest! {
    #[test]
    fn two_contexts_have_the_same_encoding_only_if_they_are_equal(a in any_context(), b in any_context()) {
        prop_assert_eq!(a == b, a.encode() == b.encode());
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else(
        plain in prop::collection::vec(any::<u8>(), 0..3000),
        here in any_context(),
        there in any_context(),
    ) {
        let envelope = Envelope::new(ring(&entry("a", 1)));
        let sealed = envelope.seal(&here, &secret(&plain)).unwrap();
        let opened = envelope.open(&SealedField { context: here.clone(), sealed: sealed.clone() }).unwrap();
        prop_assert_eq!(opened.expose_secret(), &plain[..]);
        let elsewhere = envelope.open(&SealedField { context: there.clone(), sealed });
        prop_assert_eq!(elsewhere.is_ok(), here == there);
    }

    #[test]
    fn a_changed_value_never_opens(place in any::<prop::sample::Index>(), flip in 1_u8..=255, here in any_context()) {
        let envelope = Envelope::new(ring(&entry("a", 1)));
        let mut bytes = envelope.seal(&here, &secret(b"token")).unwrap().as_bytes().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        let field = SealedField { context: here, sealed: Sealed::from_bytes(bytes) };
        prop_assert!(envelope.open(&field).is_err());
    }

    #[test]
    fn junk_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), here in any_context()) {
        let envelope = Envelope::new(ring(&entry("a", 1)));
        for head in [vec![], vec![1, 1, b'a']] {
            let sealed = Sealed::from_bytes([head, bytes.clone()].concat());
            let _ = (sealed.content(), sealed.key_name(), envelope.rewrap(&sealed));
            let field = SealedField { context: here.clone(), sealed };
            prop_assert!(envelope.open(&field).is_err());
        }
    }
}

fn context() -> SealContext {
    SealContext::of(AppId::random(), Field::GrantAccessToken, Uuid::new_v4(), 1)
}

#[test]
fn every_sealing_looks_different_and_shows_nothing() {
    let envelope = Envelope::new(ring(&entry("a", 1)));
    let context = context();
    let one = envelope.seal(&context, &secret(b"the-access-token")).unwrap();
    let two = envelope.seal(&context, &secret(b"the-access-token")).unwrap();
    assert_ne!(one, two);
    assert!(!one.as_bytes().windows(6).any(|part| part == b"access"));
    assert!(!format!("{one:?} {envelope:?}").contains("access-token"));
}

#[test]
fn keys_rotate_without_touching_the_content() {
    let envelope = Envelope::new(ring(&entry("old", 1)));
    let context = context();
    let old = envelope.seal(&context, &secret(b"token")).unwrap();
    envelope.replace_ring(ring(&format!("{}\n{}", entry("new", 2), entry("old", 1))));
    let open =
        |sealed: &Sealed| envelope.open(&SealedField { context: context.clone(), sealed: sealed.clone() });
    assert_eq!(open(&old).unwrap().expose_secret(), b"token");
    let new = envelope.rewrap(&old).unwrap().expect("another key writes now");
    assert_eq!((old.key_name(), new.key_name()), (Ok("old"), Ok("new")));
    assert_eq!(old.content(), new.content());
    assert_eq!(envelope.rewrap(&new).unwrap(), None);
    envelope.replace_ring(ring(&entry("new", 2)));
    assert_eq!(open(&new).unwrap().expose_secret(), b"token");
    assert_eq!(open(&old).unwrap_err(), SealError::UnknownKey("old".to_owned()));
    // The same name with another key is noticed.
    envelope.replace_ring(ring(&entry("new", 3)));
    assert_eq!(open(&new).unwrap_err(), SealError::Refused);
}

#[test]
fn ring_entries_are_checked_and_never_repeated_in_errors() {
    let parse = |text: &str| KeyRing::parse(&SecretString::from(text));
    let good = entry("a", 1);
    assert!(parse(&format!("# comment\n\n {good} ,\n")).is_ok());
    assert!(parse(good.trim_end_matches('=')).is_ok());
    assert!(matches!(parse("# nothing"), Err(KeyRingError::Empty)));
    assert!(matches!(parse(&format!("{good},{}", entry("a", 2))), Err(KeyRingError::Duplicate(_))));
    for bad in ["SECRETSECRET", "a:SECRETSECRET", "b d:AAAA", ":AAAA", &format!("{good}AAAA"), &entry("ä", 1)]
    {
        let error = parse(bad).unwrap_err();
        assert!(matches!(error, KeyRingError::Entry(1)), "{bad}");
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
}

#[test]
fn a_key_file_is_made_once_and_only_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    let first = KeyRing::from_file_or_generate(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{first:?}").contains(text.trim().split_once(':').unwrap().1));
    KeyRing::from_file_or_generate(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(KeyRing::from_file(&path), Err(KeyRingError::Permissions { .. })));
    }
    assert!(matches!(KeyRing::from_file(&folder.path().join("none")), Err(KeyRingError::File { .. })));
}

#[test]
fn several_first_starts_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    let names: Vec<String> = std::thread::scope(|scope| {
        let start = || Envelope::new(KeyRing::from_file_or_generate(&path).unwrap()).writing_key();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[test]
fn keys_that_are_added_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    KeyRing::from_file_or_generate(&path).unwrap();
    let here = context();
    let sealed: Vec<_> = std::thread::scope(|scope| {
        let rotate = || {
            let envelope = Envelope::new(KeyRing::add_key_to_file(&path).unwrap());
            envelope.seal(&here, &secret(b"value")).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(rotate)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let envelope = Envelope::new(KeyRing::from_file(&path).unwrap());
    for sealed in sealed {
        envelope.open(&SealedField { context: here.clone(), sealed }).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap().lines().filter(|line| !line.is_empty()).count(), 9);
}
