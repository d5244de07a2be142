//! The command line, tested as a process on a tiny workbook.

mod bad_input;
mod grade;
mod left_overs;
mod machines;
mod rogues;
mod servers;
mod verify;
mod workbook;
