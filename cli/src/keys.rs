//! `keys`: the keys that open the vault.
//!
//! A key is removed only with another key, so the user has shown that another key works. The costs
//! of a password never fall unless the user asks for that.

use serde_json::{Value as Json, json};
use strongroom::keys::{KeyId, KeyInfo, KeyKind, NewKey, PasswordCosts};
use strongroom::{Error, ErrorKind, LongCall, Reason, Vault};

use crate::args::{Costs, Keys, NewSecret};
use crate::exit::{Failure, Outcome};
use crate::output::{Output, print_json, time};
use crate::secret::{NEW_PASSWORD_VARIABLE, Origin, Prompt, SecretOptions, Source, generate};
use crate::session::{Opened, Session, expect_password_for, usage};

pub(crate) fn run(session: &Session<'_>, command: &Keys) -> Result<Outcome, Failure> {
    match command {
        Keys::List { .. } => list(session)?,
        Keys::Add { label, new, costs, .. } => {
            add(session, label.as_deref().unwrap_or_default(), new, costs)?;
        }
        Keys::Remove { id, .. } => remove(session, KeyId(*id))?,
        Keys::Replace { id, new, costs, .. } => replace(session, id.map(KeyId), new, costs)?,
        Keys::Rewrap { costs, .. } => rewrap(session, costs)?,
        Keys::Rotate { drop_others, label, new, costs, .. } => {
            rotate(session, *drop_others, label.as_deref(), new, costs)?;
        }
        Keys::Generate { file } => {
            session.expect_no_opening_options()?;
            generate(file)?;
            let path = file.display().to_string();
            let text = format!("key file {path} created; it is the only copy of this key");
            session.answer(&json!({ "file": path }), text)?;
        }
    }
    Ok(Outcome::Done)
}

fn list(session: &Session<'_>) -> Result<(), Failure> {
    let Opened { vault, source } = session.open_with("keys list", PasswordCosts::default())?;
    let in_use = vault.keys().find(&source)?;
    let keys = vault.keys().list();
    session.close(vault)?;
    if session.json() {
        let with_use = |key: &KeyInfo| {
            let mut document = key_json(key);
            document["in_use"] = json!(key.id == in_use);
            document
        };
        return print_json(&json!({ "keys": keys.iter().map(with_use).collect::<Vec<_>>() }));
    }
    let mut output = Output::new();
    for key in &keys {
        let time = time(key.created_unix_millis);
        let mark = if key.id == in_use { "in use" } else { "-" };
        output.line(format_args!("{}\t{}\t{time}\t{mark}\t{}", key.id, kind(key), key.label))?;
    }
    output.finish()
}

fn add(session: &Session<'_>, label: &str, new: &NewSecret, costs: &Costs) -> Result<(), Failure> {
    let origin = new_origin(session, new)?.unwrap_or(Origin::TERMINAL);
    expect_password_for(costs, &origin)?;
    let Opened { vault, .. } = session.open_with("keys add", costs.costs())?;
    let id = vault.keys().add(&NewKey::new(&new_source(session, origin)).label(label))?;
    let key = info(&vault, id)?;
    session.close(vault)?;
    session.answer(&key_json(&key), format!("key {id} added: {}", kind(&key)))
}

fn remove(session: &Session<'_>, id: KeyId) -> Result<(), Failure> {
    let Opened { vault, source } = session.open_with("keys remove", PasswordCosts::default())?;
    // For the last key, the engine returns its own error.
    if vault.keys().list().len() > 1 && vault.keys().find(&source)? == id {
        return Err(Error::new(ErrorKind::Invalid, "remove key")
            .with_detail("the key is in use; open the vault with another key to remove it")
            .with_subject(id)
            .into());
    }
    vault.keys().delete(id)?;
    session.close(vault)?;
    warn_of_copies(session);
    session.answer(&json!({ "id": id.0, "removed": true }), format!("key {id} removed"))
}

fn replace(
    session: &Session<'_>,
    id: Option<KeyId>,
    new: &NewSecret,
    costs: &Costs,
) -> Result<(), Failure> {
    let origin = new_origin(session, new)?.unwrap_or(Origin::TERMINAL);
    expect_password_for(costs, &origin)?;
    let Opened { vault, source } = session.open_with("keys replace", costs.costs())?;
    let id = match id {
        Some(id) => id,
        None => vault.keys().find(&source)?,
    };
    let present = info(&vault, id)?;
    if !matches!(origin, Origin::KeyFile(_)) {
        refuse_cheaper(&present, costs)?;
    }
    vault.keys().replace(id, &new_source(session, origin))?;
    let key = info(&vault, id)?;
    session.close(vault)?;
    warn_of_copies(session);
    session.answer(&key_json(&key), format!("key {id} replaced: {}", kind(&key)))
}

fn rewrap(session: &Session<'_>, costs: &Costs) -> Result<(), Failure> {
    expect_password_for(costs, session.origin())?;
    let Opened { vault, source } = session.open_with("keys rewrap", costs.costs())?;
    let id = vault.keys().find(&source)?;
    refuse_cheaper(&info(&vault, id)?, costs)?;
    vault.keys().rewrap(&source)?;
    let key = info(&vault, id)?;
    session.close(vault)?;
    session.answer(&key_json(&key), format!("key {id} rewrapped: {}", kind(&key)))
}

fn rotate(
    session: &Session<'_>,
    drop_others: bool,
    label: Option<&str>,
    new: &NewSecret,
    costs: &Costs,
) -> Result<(), Failure> {
    let origin = new_origin(session, new)?;
    expect_password_for(costs, origin.as_ref().unwrap_or(session.origin()))?;
    let Opened { vault, source } = session.open_with("keys rotate", costs.costs())?;
    let in_use = info(&vault, vault.keys().find(&source)?)?;
    let others: Vec<KeyInfo> =
        vault.keys().list().into_iter().filter(|k| k.id != in_use.id).collect();
    if !others.is_empty() && !drop_others {
        let others = others.iter().map(name).collect::<Vec<_>>().join(", ");
        return Err(Error::new(ErrorKind::Invalid, "rotate keys")
            .with_detail("the vault's other keys would be removed; allow that with --drop-others")
            .with_subject(others)
            .into());
    }
    if !matches!(origin, Some(Origin::KeyFile(_))) {
        refuse_cheaper(&in_use, costs)?;
    }
    let source = origin.map_or(source, |origin| new_source(session, origin));
    let key = NewKey::new(&source).label(label.unwrap_or(&in_use.label));
    let bar = session.spinner("{spinner} {pos} rows resealed");
    let progress = |done, _| bar.set_position(done);
    let rotated = vault.keys().rotate_with(&[key], LongCall::new().progress(&progress));
    bar.finish_and_clear();
    rotated?;
    let generation = vault.info()?.key_generation;
    let keys = vault.keys().list();
    let key = keys.first().expect("a vault has a key");
    session.close(vault)?;
    let dropped: Vec<_> = others.iter().map(|key| key.id.0).collect();
    let document =
        json!({ "key": key_json(key), "key_generation": generation, "dropped": dropped });
    session.answer(&document, format!("keys rotated; only key {} opens the vault", name(key)))
}

/// Returns a new secret's source, if options or environment give one.
fn new_origin(session: &Session<'_>, new: &NewSecret) -> Result<Option<Origin>, Failure> {
    let options = SecretOptions {
        password_file: new.new_password_file.as_deref(),
        key_file: new.new_key_file.as_deref(),
        variable: NEW_PASSWORD_VARIABLE,
    };
    let origin = options.origin()?;
    if session.origin().is_stdin() && origin.as_ref().is_some_and(Origin::is_stdin) {
        return Err(usage("the old secret and the new one cannot both come from standard input"));
    }
    Ok(origin)
}

fn new_source(session: &Session<'_>, origin: Origin) -> Source {
    Source::new(origin, Prompt::New, session.path(), session.notes())
}

fn info(vault: &Vault, id: KeyId) -> Result<KeyInfo, Failure> {
    let found = vault.keys().list().into_iter().find(|key| key.id == id);
    Ok(found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find key")
            .with_reason(Reason::KeyMissing)
            .with_detail("the vault has no key of that number")
            .with_subject(id)
    })?)
}

/// Returns `Invalid` if the password's costs would fall without an explicit option.
fn refuse_cheaper(present: &KeyInfo, costs: &Costs) -> Result<(), Failure> {
    let KeyKind::Password(present_costs) = present.kind else {
        return Ok(());
    };
    let next = costs.costs();
    let cheaper = (costs.memory_mib.is_none() && next.memory_kib < present_costs.memory_kib)
        || (costs.passes.is_none() && next.passes < present_costs.passes);
    if !cheaper {
        return Ok(());
    }
    Err(usage(format!(
        "key {} costs {}, and would cost {}: give --memory-mib and --passes",
        present.id,
        costs_text(present_costs),
        costs_text(next)
    )))
}

fn warn_of_copies(session: &Session<'_>) {
    session.say(
        "note: with it, and an older copy of the vault's files, the vault can still be read, until \
         `strongroom keys rotate`",
    );
}

fn key_json(key: &KeyInfo) -> Json {
    let mut document = json!({
        "id": key.id.0,
        "kind": "other",
        "created_unix_millis": key.created_unix_millis,
        "label": key.label,
    });
    match key.kind {
        KeyKind::Password(PasswordCosts { memory_kib, passes, lanes }) => {
            document["kind"] = json!("password");
            document["memory_kib"] = json!(memory_kib);
            document["passes"] = json!(passes);
            document["lanes"] = json!(lanes);
        }
        KeyKind::Key => document["kind"] = json!("key"),
        _ => {}
    }
    document
}

fn kind(key: &KeyInfo) -> String {
    match key.kind {
        KeyKind::Password(costs) => format!("password, {}", costs_text(costs)),
        KeyKind::Key => "key".into(),
        _ => "other".into(),
    }
}

pub(crate) fn costs_text(costs: PasswordCosts) -> String {
    let PasswordCosts { memory_kib, passes, lanes } = costs;
    // This program sets whole MiB. Another host may have set other values.
    let memory = if memory_kib % 1024 == 0 {
        format!("{} MiB", memory_kib / 1024)
    } else {
        format!("{memory_kib} KiB")
    };
    format!("{memory}, {passes} passes, {lanes} lanes")
}

/// Formats the number and the label.
fn name(key: &KeyInfo) -> String {
    if key.label.is_empty() { key.id.to_string() } else { format!("{} ({})", key.id, key.label) }
}
