//! Tests that each reason has its own hint and code.

use std::collections::BTreeSet;

use super::*;

const OWN: [CliReason; 8] = [
    CliReason::NoPasswordGiven,
    CliReason::NoPartitionPasswordGiven,
    CliReason::NoPartitionKeyGiven,
    CliReason::PartitionsNotNamed,
    CliReason::NamespaceMissing,
    CliReason::RecordMissing,
    CliReason::ValueEmpty,
    CliReason::FileExists,
];

fn hint_for(kind: ErrorKind, reason: Reason) -> String {
    let error = Error::new(kind, "open vault").with_reason(reason);
    hint(&error, Path::new("v")).unwrap_or_default()
}

#[test]
fn cli_codes_differ_from_engine_codes() {
    let own: BTreeSet<_> = OWN.map(CliReason::as_str).into();
    assert_eq!(own.len(), OWN.len());
    assert!(Reason::ALL.iter().all(|reason| !own.contains(reason.as_str())));
}

#[test]
fn documented_reasons_are_those_with_a_hint() {
    let document = include_str!("../../../docs/guides/command-line.md");
    let (_, table) = document.split_once("| reason | exit code |").expect("a table of reasons");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<_> = rows.map(|row| row.split('`').nth(1).expect("a code")).collect();
    let error = Error::new(ErrorKind::Invalid, "open vault");
    let with_hint = |reason: &&Reason| of_reason(**reason, &error, Path::new("v")).is_some();
    let of_engine = Reason::ALL.iter().filter(with_hint).map(|reason| reason.as_str());
    let hinted: BTreeSet<_> = of_engine.chain(OWN.map(CliReason::as_str)).collect();
    assert_eq!(documented, hinted);
}

#[test]
fn damaged_row_has_hint_of_damage() {
    assert_eq!(hint_for(ErrorKind::Corrupt, Reason::RowDamaged), RESTORE);
}

/// Covers reasons that only a shared store can cause.
#[test]
fn shared_store_reasons_have_hints() {
    for (kind, reason, part) in [
        (ErrorKind::Invalid, Reason::ContentInFolder, "omit --backend"),
        (ErrorKind::Invalid, Reason::ContentOnStore, "name the store"),
        (ErrorKind::Locked, Reason::OwnedByOtherSession, "use --take-over"),
        (ErrorKind::Denied, Reason::StateSuperseded, "with --take-over"),
        (ErrorKind::Closed, Reason::ContentTakenOver, "another session took the content over"),
        (ErrorKind::Conflict, Reason::CommitsSuperseded, "repeat the command"),
        (ErrorKind::NotFound, Reason::OwnerRefMissing, "check --backend"),
        (ErrorKind::Corrupt, Reason::RefDamaged, "--take-over replaces"),
        (ErrorKind::Conflict, Reason::RefContended, "repeat the command"),
        (ErrorKind::Denied, Reason::StoreCredentialsMissing, "credentials"),
    ] {
        let hint = hint_for(kind, reason);
        assert!(hint.contains(part), "{reason}: {hint}");
    }
}

#[test]
fn uncertain_error_has_the_same_hint_for_every_reason() {
    let hint = hint_for(ErrorKind::Uncertain, Reason::StorageFull);
    assert!(hint.starts_with("check whether the change happened"), "{hint}");
}

#[test]
fn error_without_reason_has_hint_of_its_kind() {
    let hint_of = |kind| hint(&Error::new(kind, "open vault"), Path::new("v"));
    assert_eq!(hint_of(ErrorKind::Corrupt).as_deref(), Some(RESTORE));
    assert!(hint_of(ErrorKind::Locked).is_some() && hint_of(ErrorKind::Full).is_some());
    assert_eq!(hint_of(ErrorKind::Conflict), None);
}

#[test]
fn cli_reason_passes_through_the_engine() {
    let error =
        Error::new(ErrorKind::Invalid, "ask for password").with_source(CliReason::NoPasswordGiven);
    assert_eq!(CliReason::carried_by(&error), Some(CliReason::NoPasswordGiven));
    assert_eq!(CliReason::carried_by(&Error::new(ErrorKind::Invalid, "read options")), None);
}
