//! Each reason has its hint, and its own code.

use std::collections::BTreeSet;

use super::*;

const OWN: [CliReason; 7] = [
    CliReason::NoPasswordGiven,
    CliReason::NoPartitionPasswordGiven,
    CliReason::NoPartitionKeyGiven,
    CliReason::PartitionsNotNamed,
    CliReason::NamespaceMissing,
    CliReason::RecordMissing,
    CliReason::FileExists,
];

fn hint_for(kind: ErrorKind, reason: Reason) -> String {
    let error = Error::new(kind, "open vault").with_reason(reason);
    hint(&error, Path::new("v")).unwrap_or_default()
}

#[test]
fn codes_of_this_program_are_none_of_the_engine() {
    let own: BTreeSet<_> = OWN.map(CliReason::as_str).into();
    assert_eq!(own.len(), OWN.len());
    assert!(Reason::ALL.iter().all(|reason| !own.contains(reason.as_str())));
}

#[test]
fn documented_reasons_are_those_with_a_hint() {
    let document = include_str!("../../../docs/cli.md");
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
fn reason_of_a_damaged_row_has_the_hint_of_damage() {
    assert_eq!(hint_for(ErrorKind::Corrupt, Reason::RowDamaged), RESTORE);
}

/// What only a store that others can reach brings about.
#[test]
fn reasons_of_a_shared_store_have_their_hints() {
    for (kind, reason, told) in [
        (ErrorKind::Invalid, Reason::ContentInFolder, "leave --backend"),
        (ErrorKind::Invalid, Reason::ContentOnStore, "name the store"),
        (ErrorKind::Locked, Reason::OwnedByOtherSession, "use --take-over"),
        (ErrorKind::Denied, Reason::StateSuperseded, "with --take-over"),
        (ErrorKind::Closed, Reason::ContentTakenOver, "another session has the content"),
        (ErrorKind::NotFound, Reason::OwnerRefMissing, "look at --backend"),
        (ErrorKind::Corrupt, Reason::RefDamaged, "--take-over puts another there"),
        (ErrorKind::Conflict, Reason::RefContended, "repeat the command"),
        (ErrorKind::Denied, Reason::StoreCredentialsMissing, "credentials"),
    ] {
        let hint = hint_for(kind, reason);
        assert!(hint.contains(told), "{reason}: {hint}");
    }
}

#[test]
fn what_is_uncertain_is_looked_at_whatever_the_reason() {
    let hint = hint_for(ErrorKind::Uncertain, Reason::StorageFull);
    assert!(hint.starts_with("look whether it happened"), "{hint}");
}

#[test]
fn an_error_without_a_reason_has_the_hint_of_its_kind() {
    let hint_of = |kind| hint(&Error::new(kind, "open vault"), Path::new("v"));
    assert_eq!(hint_of(ErrorKind::Corrupt).as_deref(), Some(RESTORE));
    assert!(hint_of(ErrorKind::Locked).is_some() && hint_of(ErrorKind::Full).is_some());
    assert_eq!(hint_of(ErrorKind::Conflict), None);
}

#[test]
fn a_reason_of_this_program_survives_the_way_through_the_engine() {
    let error =
        Error::new(ErrorKind::Invalid, "ask for password").with_source(CliReason::NoPasswordGiven);
    assert_eq!(CliReason::carried_by(&error), Some(CliReason::NoPasswordGiven));
    assert_eq!(CliReason::carried_by(&Error::new(ErrorKind::Invalid, "read options")), None);
}
