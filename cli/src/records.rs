//! `records put`, `get`, `list` and `delete`.
//!
//! Values are copied in bounded memory, and lists are printed as they are read. `put` opens the
//! vault before it reads standard input, so that a locked vault is reported at once.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Read};
use std::ops::Bound;

use serde_json::json;
use strongroom::records::{RECORD_KEY_BYTES_MAX, Record};
use strongroom::{
    Error, ErrorKind, LongCall, Result as VaultResult, Snapshot, Staged, Value, Vault,
};

use crate::args::{Address, Page, Records};
use crate::exit::{Failure, Outcome};
use crate::hint::CliReason;
use crate::output::{Output, add_bytes, key_json, print_json, text, unhex};
use crate::session::{Session, usage};

/// Longest value in bytes that `records get --json` puts into a document: 16 MiB.
const JSON_VALUE_BYTES_MAX: u64 = 16 << 20;

/// Number of bytes of a value printed at a time.
const COPY_BYTES: usize = 64 << 10;

pub(crate) fn run(session: &Session<'_>, command: &Records) -> Result<Outcome, Failure> {
    match command {
        Records::Put { address, empty: true, .. } => put(session, address, Some(OsStr::new("")))?,
        Records::Put { address, value, .. } => {
            let value = value.as_deref().filter(|&value| value != "-");
            if value.is_some_and(OsStr::is_empty) {
                return Err(empty_value());
            }
            put(session, address, value)?;
        }
        Records::Get { address } => get(session, address)?,
        Records::List { namespace, page, .. } => match namespace {
            Some(namespace) => list(session, namespace, page)?,
            None => list_namespaces(session)?,
        },
        Records::Delete { address } => delete(session, address)?,
    }
    Ok(Outcome::Done)
}

fn put(session: &Session<'_>, address: &Address, value: Option<&OsStr>) -> Result<(), Failure> {
    let (namespace, key) = (&address.namespace, key(&address.key, address.hex_key)?);
    if value.is_none() && session.origin().is_stdin() {
        return Err(usage("the secret and the value cannot both come from standard input"));
    }
    let vault = session.open("records put")?;
    // Validates the name before a long value is read.
    vault.read()?.count(namespace)?;
    let staged = match value {
        Some(value) => vault.stage(value.as_encoded_bytes()),
        None => stage_stdin(session, &vault),
    }?;
    let len = staged.len();
    // An input that another program failed to write is empty too.
    if len == 0 && value.is_none() {
        return Err(empty_value());
    }
    let replaced = vault.write(|tx| {
        let replaced = tx.contains(namespace, &key)?;
        tx.insert(namespace, &key, staged)?;
        Ok::<_, Error>(replaced)
    })?;
    session.close(vault)?;
    if session.json() {
        print_json(&json!({
            "namespace": namespace,
            "key": key_json(&key),
            "len": len,
            "replaced": replaced,
        }))?;
    }
    Ok(())
}

fn empty_value() -> Failure {
    let error = Error::new(ErrorKind::Invalid, "put record").with_detail("the value is empty");
    CliReason::ValueEmpty.failure(error)
}

fn stage_stdin(session: &Session<'_>, vault: &Vault) -> VaultResult<Staged> {
    if io::stdin().is_terminal() {
        session.say("note: reading the value from the terminal; end it with Ctrl-D");
    }
    let bar = session.bytes_bar(None);
    let progress = |done, _| bar.set_position(done);
    let staged = vault.stage_with(io::stdin().lock(), LongCall::new().progress(&progress));
    bar.finish_and_clear();
    staged
}

fn get(session: &Session<'_>, address: &Address) -> Result<(), Failure> {
    let (namespace, key) = (&address.namespace, key(&address.key, address.hex_key)?);
    let vault = session.open("records get")?;
    let value =
        vault.read()?.get(namespace, &key)?.ok_or_else(|| no_record("get record", namespace))?;
    if session.json() {
        print_value_json(namespace, &key, &value)?;
    } else {
        print_value(session, value)?;
    }
    session.close(vault)
}

fn print_value(session: &Session<'_>, value: Value) -> Result<(), Failure> {
    let bar = session.output_bar(value.len());
    let mut output = Output::new();
    let mut reader = value.into_reader();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = reader.read(&mut buffer);
        let taken = read.map_err(|e| Error::io("read value", e))?;
        if taken == 0 {
            break;
        }
        output.bytes(&buffer[..taken])?;
        bar.inc(taken as u64);
    }
    bar.finish_and_clear();
    output.finish()
}

fn print_value_json(namespace: &str, key: &[u8], value: &Value) -> Result<(), Failure> {
    let len = value.len();
    if len > JSON_VALUE_BYTES_MAX {
        let detail = format!(
            "value has {len} bytes, the limit of --json is {JSON_VALUE_BYTES_MAX}: \
             get it without --json"
        );
        return Err(invalid("get record", detail).into());
    }
    let mut document = json!({ "namespace": namespace, "key": key_json(key), "len": len });
    let object = document.as_object_mut().expect("made as an object");
    add_bytes(object, "value", &value.bytes()?);
    print_json(&document)
}

fn delete(session: &Session<'_>, address: &Address) -> Result<(), Failure> {
    let (namespace, key) = (&address.namespace, key(&address.key, address.hex_key)?);
    let vault = session.open("records delete")?;
    let deleted = vault.write(|tx| tx.delete(namespace, &key))?;
    session.close(vault)?;
    if !deleted {
        return Err(no_record("delete record", namespace));
    }
    if session.json() {
        print_json(&json!({
            "namespace": namespace,
            "key": key_json(&key),
            "deleted": true,
        }))?;
    }
    Ok(())
}

fn list_namespaces(session: &Session<'_>) -> Result<(), Failure> {
    let vault = session.open("records list")?;
    let namespaces = vault.read()?.namespaces()?;
    session.close(vault)?;
    if session.json() {
        let rows = namespaces.iter().map(|n| json!({ "name": n.name, "records": n.records }));
        return print_json(&json!({ "namespaces": rows.collect::<Vec<_>>() }));
    }
    let mut output = Output::new();
    for namespace in namespaces {
        output.line(format_args!("{}\t{}", namespace.name, namespace.records))?;
    }
    output.finish()
}

fn list(session: &Session<'_>, namespace: &str, page: &Page) -> Result<(), Failure> {
    let prefix = page.prefix.as_deref().map(|p| key(p, page.hex_key));
    let after = page.after.as_deref().map(|k| key(k, page.hex_key));
    let prefix = prefix.transpose()?.unwrap_or_default();
    let span = span(&prefix, after.transpose()?, page.reverse);
    let vault = session.open("records list")?;
    let snapshot = vault.read()?;
    expect_namespace(&snapshot, namespace)?;
    let records = snapshot.range(namespace, span)?;
    let mut records: Box<dyn Iterator<Item = VaultResult<Record>>> =
        if page.reverse { Box::new(records.rev()) } else { Box::new(records) };
    let mut output = Output::new();
    if session.json() {
        let name = json!(namespace);
        output.piece(format_args!("{{\"namespace\":{name},\"records\":["))?;
    }
    let mut listed = 0;
    let more = loop {
        let Some(record) = records.next().transpose()? else {
            break false;
        };
        if page.limit == Some(listed) {
            break true;
        }
        let (key, len) = (record.key(), record.value().len());
        if session.json() {
            let comma = if listed == 0 { "" } else { "," };
            let record = json!({ "key": key_json(key), "len": len });
            output.piece(format_args!("{comma}{record}"))?;
        } else {
            output.line(format_args!("{}\t{len}", text(key)))?;
        }
        listed += 1;
    };
    if session.json() {
        output.line(format_args!("],\"more\":{more}}}"))?;
    }
    output.finish()?;
    drop((records, snapshot));
    session.close(vault)
}

/// Returns the bounds of the listing: keys with `prefix`, past `after` in its direction.
fn span(prefix: &[u8], after: Option<Vec<u8>>, reverse: bool) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut upper = prefix.to_vec();
    while upper.pop_if(|last| *last == u8::MAX).is_some() {}
    let upper = match upper.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(upper)
        }
        None => Bound::Unbounded,
    };
    let lower = Bound::Included(prefix.to_vec());
    match after {
        None => (lower, upper),
        Some(after) if reverse => match &upper {
            Bound::Excluded(end) if *end <= after => (lower, upper),
            _ => (lower, Bound::Excluded(after)),
        },
        Some(after) if after.as_slice() < prefix => (lower, upper),
        Some(after) => (Bound::Excluded(after), upper),
    }
}

/// Returns an error for a missing namespace, instead of an empty list.
fn expect_namespace(snapshot: &Snapshot, namespace: &str) -> Result<(), Failure> {
    if snapshot.count(namespace)? > 0 || snapshot.namespaces()?.iter().any(|n| n.name == namespace)
    {
        return Ok(());
    }
    let error = Error::new(ErrorKind::NotFound, "list records")
        .with_detail("there is no such namespace")
        .with_subject(namespace);
    Err(CliReason::NamespaceMissing.failure(error))
}

/// Parses a key from the command line.
fn key(typed: &OsStr, hex: bool) -> VaultResult<Vec<u8>> {
    let typed = typed.as_encoded_bytes();
    let key = if hex {
        let wrong = || invalid("read key", "--hex-key needs hex digits, two for each byte");
        unhex(typed).ok_or_else(wrong)?
    } else {
        typed.to_vec()
    };
    if key.len() > RECORD_KEY_BYTES_MAX {
        let len = key.len();
        let detail = format!("key has {len} bytes, the limit is {RECORD_KEY_BYTES_MAX}");
        return Err(invalid("read key", detail));
    }
    Ok(key)
}

fn invalid(operation: &'static str, detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, operation).with_detail(detail)
}

/// Returns the error without the key, which is the user's secret.
fn no_record(operation: &'static str, namespace: &str) -> Failure {
    let error = Error::new(ErrorKind::NotFound, operation)
        .with_detail("there is no record of that key in the namespace")
        .with_subject(namespace);
    CliReason::RecordMissing.failure(error)
}
