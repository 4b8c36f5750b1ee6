//! The null-space attack: linear algebra on the columns of slots.
//!
//! The values of one slot are a column, with one value for each chunk. A chunk has three
//! coefficients. So where the same slots serve all chunks, the columns of shares are in a space of
//! three dimensions. The columns of random values are in no such space. Linear relations between
//! columns are therefore relations between shares.
//!
//! With x unknown, the attack needs about as many chunks as there are slots. With x known, each
//! chunk gives six equations instead of one. They are for the polynomials f x^m with m = 0 to 5,
//! whose degree is at most 7. A relation between the nine columns of shares has eight conditions,
//! one for each coefficient, so one relation is left. 84 chunks are enough among 500 slots. This is
//! decoding an interleaved Reed-Solomon code beyond half its distance (Bleichenbacher, Kiayias and
//! Yung, 2003).

use crate::numbers::Number;

/// Number of powers of x that multiply a chunk.
///
/// The powers are used where x is the slot's number.
const POWERS: usize = 6;

/// Returns the slots that take part in relations, counted from 0.
pub(crate) fn slots(values: &[Vec<Number>], x_is_slot: bool) -> Vec<usize> {
    let mut rows = Vec::new();
    for row in values {
        let mut row = row.clone();
        rows.push(row.clone());
        for _ in 1..if x_is_slot { POWERS } else { 1 } {
            for (x, value) in (1..).zip(&mut row) {
                *value = value.scaled(x);
            }
            rows.push(row.clone());
        }
    }
    support(rows)
}

/// Returns the columns where some kernel vector of `rows` is not zero.
fn support(mut rows: Vec<Vec<Number>>) -> Vec<usize> {
    let columns = rows[0].len();
    // The column of the pivot of each row so far.
    let mut pivots: Vec<usize> = Vec::new();
    let mut free = Vec::new();
    for column in 0..columns {
        let rank = pivots.len();
        let Some(pivot) = (rank..rows.len()).find(|&row| !rows[row][column].is_zero()) else {
            free.push(column);
            continue;
        };
        rows.swap(rank, pivot);
        let (above, below) = rows.split_at_mut(rank + 1);
        let pivot = &above[rank];
        let inverse = pivot[column].inverse();
        for row in below {
            let factor = row[column].times(&inverse).negative();
            for (value, pivot) in row[column..].iter_mut().zip(&pivot[column..]) {
                *value = value.plus(&pivot.times(&factor));
            }
        }
        pivots.push(column);
    }
    let mut taking_part = vec![false; columns];
    for &free in &free {
        // The relation in which this column has weight one, solved from the last pivot backwards.
        let mut relation = vec![Number::ZERO; columns];
        relation[free] = Number::small(1);
        for (row, &column) in pivots.iter().enumerate().rev() {
            let mut sum = Number::ZERO;
            for later in column + 1..columns {
                if !relation[later].is_zero() {
                    sum = sum.plus(&rows[row][later].times(&relation[later]));
                }
            }
            relation[column] = sum.times(&rows[row][column].inverse()).negative();
        }
        for (taking_part, part) in taking_part.iter_mut().zip(&relation) {
            *taking_part |= !part.is_zero();
        }
    }
    (0..columns).filter(|&column| taking_part[column]).collect()
}
