//! Folders and commits as lists of files: what is in them, what is not, and what is refused.

#[path = "source/git.rs"]
mod git;
#[path = "source/tree.rs"]
mod tree;
#[path = "source/upload.rs"]
mod upload;
#[path = "source/zip_writer.rs"]
mod zip_writer;
