//! The agents' work: files of functions in postfix notation, one a line, with tests.
//!
//! ```text
//! # area of a rectangle
//! area = $1 $2 *
//! ```
//!
//! A check reports for every line whether it is well-formed. A test calls a function and compares.

use std::fmt::Write;

/// Functions of a new file.
const FUNCTIONS: u64 = 120;
/// Longest line without a warning, in bytes.
const LINE_BYTES_MAX: usize = 40;

/// Returns the file at the beginning of a task.
pub(crate) fn new_file(task: u64) -> String {
    let mut text = format!("# functions of task {task}\n");
    for number in 0..FUNCTIONS {
        let (a, b) = (number % 7 + task, number * task % 11 + 1);
        let _ = writeln!(text, "# number {number}\nf{number} = $1 {a} * $2 {b} + -");
    }
    text
}

/// A file after a step of a task.
pub(crate) struct Step {
    pub(crate) summary: &'static str,
    pub(crate) text: String,
}

/// Returns the steps of a task, each editing the file before. The second adds a mistake, the third
/// corrects it.
pub(crate) fn steps(task: u64, first: &str) -> Vec<Step> {
    let added = format!("{first}# area of a rectangle\narea = $1 $2 *\n");
    let wrong = added.replace("area = $1 $2 *", "area = $1 $2 +");
    let right = wrong.replace("area = $1 $2 +", "# each side is there twice\narea = $2 $1 *");
    let other = format!("f{} =", 10 * task + 5);
    let moved = right.replace(
        &other,
        &format!("# the next one is slow for an unknown reason, measured twice\n{other}"),
    );
    let shorter: String =
        moved.split_inclusive('\n').filter(|line| !line.contains("number 9")).collect();
    let texts = [
        ("add a function", added),
        ("simplify it", wrong),
        ("mend it", right),
        ("explain another", moved),
        ("drop some comments", shorter),
    ];
    texts.map(|(summary, text)| Step { summary, text }).into()
}

/// Steps of a task.
pub(crate) const STEPS: u64 = 5;
/// Steps that leave a failing test.
pub(crate) const STEPS_THAT_FAIL: u64 = 1;

/// Checks a file: one line for each of its lines, and a count.
pub(crate) fn check(text: &str) -> String {
    let (mut log, mut warnings, mut functions) = (String::new(), 0, 0);
    for (number, line) in (1..).zip(text.lines()) {
        let verdict = match line.split_once(" = ") {
            _ if line.len() > LINE_BYTES_MAX => Err("too long"),
            None if line.starts_with("# ") => Ok("comment"),
            None => Err("neither comment nor function"),
            Some((_, body)) => match evaluate(body, &[1, 1]) {
                Some(_) => Ok("function"),
                None => Err("not well-formed"),
            },
        };
        functions += u64::from(verdict == Ok("function"));
        warnings += u64::from(verdict.is_err());
        let finding = verdict.map_or_else(|e| format!("warning: {e}"), ToOwned::to_owned);
        let _ = writeln!(log, "line {number}: {finding}");
    }
    let _ = writeln!(log, "{functions} functions, {warnings} warnings");
    log
}

/// Runs all tests of a task; returns a line for each, and the number of failures.
pub(crate) fn test(task: u64, text: &str) -> (String, u64) {
    let (mut results, mut failed) = (String::new(), 0);
    let mut tests = vec![("area".to_owned(), [3, 4], 12), ("area".to_owned(), [2, 2], 4)];
    for number in [0, 17, FUNCTIONS - 1] {
        let (a, b) = (number % 7 + task, number * task % 11 + 1);
        tests.push((format!("f{number}"), [5, 6], int(5 * a) - int(6 + b)));
    }
    for (name, [x, y], expected) in tests {
        let found = call(text, &name, &[x, y]);
        let is_right = found == Some(expected);
        failed += u64::from(!is_right);
        let verdict = if is_right { "passed" } else { "FAILED" };
        let found = found.map_or_else(|| "nothing".to_owned(), |number| number.to_string());
        let _ = writeln!(results, "{verdict} {name} {x} {y}: {found}, expected {expected}");
    }
    (results, failed)
}

fn int(number: u64) -> i64 {
    i64::try_from(number).expect("tests have small numbers")
}

fn call(text: &str, name: &str, arguments: &[i64]) -> Option<i64> {
    let body = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
    evaluate(body, arguments)
}

/// Evaluates a function; `None` if it is not well-formed.
fn evaluate(body: &str, arguments: &[i64]) -> Option<i64> {
    let mut stack: Vec<i64> = Vec::new();
    for word in body.split(' ') {
        let value = match (word, word.strip_prefix('$')) {
            (_, Some(number)) => *arguments.get(number.parse::<usize>().ok()?.checked_sub(1)?)?,
            ("+" | "-" | "*", None) => {
                let (right, left) = (stack.pop()?, stack.pop()?);
                match word {
                    "+" => left.checked_add(right)?,
                    "-" => left.checked_sub(right)?,
                    _ => left.checked_mul(right)?,
                }
            }
            (number, None) => number.parse().ok()?,
        };
        stack.push(value);
    }
    let value = stack.pop()?;
    stack.is_empty().then_some(value)
}
