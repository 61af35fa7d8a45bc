//! The inference gateway: rows in, classes out, every answer captured before it leaves.
//!
//! The modules stand in reading order, along the way of a request: the server accepts, a route is found, the
//! invocation reads its body into [`rows::Rows`], the endpoint's classifier judges them, the answer is encoded and
//! captured. What goes wrong anywhere is a [`problem::Problem`].

pub mod limits;
pub mod problem;

pub mod rows;

pub mod csv_rows;
pub mod json_reader;
pub mod json_rows;

pub mod media;

pub mod endpoint;

pub mod answer;

pub mod invocation;

pub mod pace;
pub mod server;
