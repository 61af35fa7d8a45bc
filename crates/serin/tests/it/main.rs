//! The program as a user meets it: one binary, one file a story.
