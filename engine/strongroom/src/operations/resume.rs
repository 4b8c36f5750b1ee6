//! Resuming by a callback, lane by lane.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use strongroom_base::Error;

use super::lane::Lane;
use super::room::Operations;
use super::status::{LaneStatus, OperationStatus};

impl Operations {
    /// Resumes an operation, and hands each lane that is not complete to `work`, with its last
    /// checkpoint, in order of their names.
    ///
    /// `Ok` of `work` completes the lane, if it has not done so itself; the last lane completes the
    /// operation. An error of it ends this try: the operation is failed with the error's text, which
    /// is returned; lanes that were not reached are for the next try. So does a panic, which goes
    /// on. Other errors as those of [`resume`](Self::resume).
    ///
    /// ```
    /// # fn main() -> strongroom::Result<()> {
    /// # let folder = tempfile::tempdir().expect("a temporary folder");
    /// # use strongroom::operations::{Checkpoint, OperationState};
    /// # use strongroom::{Batch, SecretPassword, Vault};
    /// # let path = folder.path().join("vault");
    /// # let vault = Vault::options(SecretPassword::new("correct horse battery")).create(&path)?;
    /// drop(vault.operations().begin("import-7", ["a", "b"])?); // and then the process dies
    /// let status = vault.operations().resume_with("import-7", |lane, stands| {
    ///     for item in stands.decode::<u32>()?.unwrap_or(0)..10 {
    ///         let mut batch = Batch::new();
    ///         batch.insert("items", format!("{} {item}", lane.name()), "done");
    ///         lane.commit(batch, Checkpoint::encode(&(item + 1))?)?;
    ///     }
    ///     Ok::<_, strongroom::Error>(())
    /// })?;
    /// assert_eq!(status.state, OperationState::Completed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_with<E: From<Error> + fmt::Display>(
        &self,
        id: &str,
        mut work: impl FnMut(&Lane, &LaneStatus) -> Result<(), E>,
    ) -> Result<OperationStatus, E> {
        let operation = self.resume(id)?;
        let stands = operation.status()?;
        for lane in stands.lanes.iter().filter(|lane| !lane.complete) {
            let handle = operation.lane(&lane.name)?;
            let outcome = match catch_unwind(AssertUnwindSafe(|| work(&handle, lane))) {
                Ok(Ok(())) if handle.status()?.complete => continue,
                Ok(Ok(())) => handle.complete().map_err(E::from),
                Ok(Err(error)) => Err(error),
                Err(panic) => {
                    // The panic is what the caller must learn of.
                    operation.fail(panic_text(&*panic)).ok();
                    resume_unwind(panic)
                }
            };
            if let Err(error) = outcome {
                // That one is told; if this fails too, the operation stays as after a crash.
                operation.fail(&error).ok();
                return Err(error);
            }
        }
        Ok(operation.status()?)
    }
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "panicked".into(), |text| format!("panicked: {text}"))
}
